# SPDX-License-Identifier: MIT
"""What only a GPU can show: NVDEC's pictures are the software's, NVENC's are near what they were given."""

import io

import av
import numpy as np
import pytest
from vireo_media.container import MediaSource
from vireo_media.encoder_options import EncoderOptions
from vireo_media.probing import probe
from vireo_media.segments import read_packets
from vireo_media.testing import numbered_clip
from vireo_server.decoded_picture import write_row
from vireo_server.decoder import Decoder
from vireo_server.encoder import Encoder
from vireo_server.encoders import NVENC
from vireo_server.formats import Format, frame_shape
from vireo_server.nvdec import DevicePicture, Nvdec
from vireo_server.nvenc import fault
from vireo_server.side import Border, Side
from vireo_server.tags import resolve

pytestmark = pytest.mark.gpu


@pytest.fixture
def side(gpu):
    """The side of a stage on the first GPU."""
    from vireo_kernels.devices import Device

    found = Side(device=Device(0))
    found.enter()
    return found


def decoded(path, *, nvdec=None):
    source = MediaSource(str(path))
    description = probe(source).description
    decoder = Decoder(description, threads=1, nvdec=nvdec)
    packets = [(packet.data, np.array(packet[1:], np.int64)) for packet in read_packets(source)]
    pictures = [picture for packet in packets for picture in decoder.decode(*packet)] + decoder.flush()
    return decoder, [(picture.pts, row_of(picture)) for picture in pictures]


def row_of(picture):
    if isinstance(picture.frame, DevicePicture):
        return picture.frame.row.get()
    frame = picture.frame
    row = np.empty(frame_shape(width=frame.width, height=frame.height, pixel_format=picture.layout), np.uint8)
    write_row(frame, row)
    return row


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [("libx264", "yuv420p"), ("libx265", "yuv420p"), ("libx265", "yuv420p10le"), ("libvpx-vp9", "yuv420p")],
)
def test_nvdec_gives_the_bits_of_the_software(side, tmp_path, codec, pixel_format):
    path = tmp_path / "clip.mp4"
    numbered_clip(str(path), frames=24, size=(322, 242), codec=codec, pixel_format=pixel_format)
    decoder, pictures = decoded(path, nvdec=Nvdec(Border(side, stage="decode")))
    assert decoder.why_software == ""
    _, expected = decoded(path)
    assert [pts for pts, _ in pictures] == [pts for pts, _ in expected]
    for (_, one), (_, other) in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("pixel_format", ["yuv422p10le", "yuv444p"])
def test_what_nvdec_or_frames_cannot_hold_is_decoded_in_software(side, tmp_path, pixel_format):
    path = tmp_path / "clip.mp4"
    numbered_clip(str(path), frames=8, size=(322, 242), pixel_format=pixel_format)
    decoder, pictures = decoded(path, nvdec=Nvdec(Border(side, stage="decode")))
    assert "NVDEC" in decoder.why_software
    for (_, one), (_, other) in zip(pictures, decoded(path)[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("codec", NVENC)
def test_nvenc_codes_what_it_is_given(side, codec):
    if why := fault(NVENC[codec].name, NVENC[codec].device_format, side):
        pytest.skip(f"this GPU has no {NVENC[codec].name}: {why}")
    width, height = 322, 241
    color = resolve({}, width=width, height=height, codec=codec)
    format = Format(width=width, height=height, pixel_format="nv12", time_base=(1, 25), color=color)
    encoder = Encoder(
        format, EncoderOptions(codec=codec, crf=10, nvenc="on"), width=width, height=height, frame_rate=(25, 1),
        sample_aspect_ratio=None, side=side,
    )  # fmt: skip
    y, x = np.mgrid[: height + (height + 1) // 2, :width]
    rows = [(((x + 3 * place) // 2 + y) % 200 + 20).astype(np.uint8) for place in range(12)]
    packets = []
    for place, row in enumerate(rows):
        packets += encoder.encode(side.xp.asarray(row), pts=place, duration=1)
    packets += encoder.finish()
    assert sorted(times[0] for _, times in packets) == list(range(12))
    stream = io.BytesIO()
    with av.open(stream, "w", format="matroska") as container:
        track = container.add_mux_stream(codec, width=encoder.coded_width, height=encoder.coded_height)
        track.codec_context.extradata = encoder.extradata
        for data, (pts, dts, *_) in packets:
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.time_base, packet.stream = pts, dts, encoder._time_base, track
            container.mux(packet)
    stream.seek(0)
    with av.open(stream) as container:
        for row, frame in zip(rows, container.decode(video=0), strict=True):
            luma = frame.reformat(format="gray").to_ndarray()[:height, :width].astype(int)
            assert np.abs(luma - row[:height]).mean() < 8
