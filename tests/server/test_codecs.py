# SPDX-License-Identifier: MIT
"""Decoder and encoder by themselves: every codec we offer, exact times, odd sizes, bad data."""

import os
import subprocess
import sys

import av
import numpy as np
import pytest
from vireo_media.description import StreamDescription
from vireo_media.testing import numbered_clip, read_number

UNKNOWN = -(2**63)


def decoded(description, packets):
    from vireo_server.decoder import Decoder

    decoder = Decoder(description, threads=1)
    pictures = [picture for packet in packets for picture in decoder.decode(*packet)]
    return pictures + decoder.flush()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=30, size=(160, 96), gop=10, bframes=2)
    return path


def test_every_picture_comes_out_once_in_order_with_its_time(demuxed, clip):
    description, packets = demuxed(clip)
    pictures = decoded(description, packets)
    assert [read_number(picture.frame) for picture in pictures] == list(range(30))
    assert [picture.pts for picture in pictures] == sorted(int(timing[0]) for _, timing in packets)
    assert {picture.duration for picture in pictures} == {int(packets[0][1][2])}


def test_pictures_marked_discard_are_decoded_but_not_given(demuxed, clip):
    description, packets = demuxed(clip)
    first = min(int(timing[0]) for _, timing in packets)
    marked = [(data, timing | np.array([0, 0, 0, 4 * int(timing[0] == first)])) for data, timing in packets]
    assert [read_number(picture.frame) for picture in decoded(description, marked)] == list(range(1, 30))


def test_a_missing_packet_is_an_error_with_the_time_it_happened(demuxed, clip):
    from vireo_server.errors import BadInput

    description, packets = demuxed(clip)
    broken = [*packets[:12], (b"\x00\x00\x00\x02garbage", packets[12][1]), *packets[13:]]
    with pytest.raises(BadInput, match=r"decode at 00:00:00\.\d+: .*(mend or re-encode the source)"):
        decoded(description, broken)


def test_a_packet_after_the_flush_is_refused(demuxed, clip):
    from vireo_server.decoder import Decoder
    from vireo_server.errors import BadInput

    description, packets = demuxed(clip)
    decoder = Decoder(description, threads=1)
    decoder.decode(*packets[0])
    decoder.flush()
    assert decoder.flush() == []
    with pytest.raises(BadInput, match="a packet came after the flush"):
        decoder.decode(*packets[1])


@pytest.mark.parametrize(
    ("pixel_format", "layout"),
    [("yuv420p", "nv12"), ("yuv422p", "nv12"), ("yuv444p", "nv12"), ("yuv420p10le", "p010"), ("yuv422p10le", "p010")],
)
def test_every_pixel_format_becomes_nv12_or_p010(demuxed, pixel_format, layout, tmp_path):
    from vireo_server.decoded_picture import layout_of, write_row
    from vireo_server.formats import frame_shape

    path = tmp_path / "clip.mkv"
    numbered_clip(str(path), frames=2, size=(98, 66), codec="ffv1", pixel_format=pixel_format)
    picture, _ = decoded(*demuxed(path))
    assert layout_of(picture.frame.format.name)[0] == layout
    row = np.empty(frame_shape(width=98, height=66, pixel_format=layout), np.uint8)
    write_row(picture.frame, row)
    samples = np.uint16 if layout == "p010" else np.uint8
    plane = picture.frame.planes[0]
    expected = np.frombuffer(plane, samples).reshape(66, -1)[:, :98]
    luma = row.view(samples)[:66, :98] >> (6 if layout == "p010" else 0)
    assert np.array_equal(luma, expected)
    chroma = row.view(samples)[66:] >> (6 if layout == "p010" else 0)
    assert np.unique(chroma).tolist() == [512 if layout == "p010" else 128], "numbered clips have neutral chroma"


def encode_gray(codec, *, width=64, height=48, frames=5, pixel_format="nv12", noise=False, **options):
    from vireo_media.encoder_options import EncoderOptions
    from vireo_server.encoder import Encoder
    from vireo_server.formats import Format
    from vireo_server.tags import resolve

    color = resolve({}, width=width, height=height, codec=codec)
    format = Format(width=width, height=height, pixel_format=pixel_format, time_base=(1, 90000), color=color)
    encoder = Encoder(
        format,
        EncoderOptions(codec=codec, **options),
        width=width,
        height=height,
        frame_rate=(30, 1),
        sample_aspect_ratio=None,
    )
    done = []
    for n in range(frames):
        picture = gray_picture(n, width=width, height=height, pixel_format=pixel_format, noise=noise)
        done += encoder.encode(picture, pts=3000 * n + (n > 2) * 7, duration=3000)
    return encoder, done + encoder.finish()


def gray_picture(number, *, width, height, pixel_format, noise):
    """A row of FRAMES: grey, brighter with each number, or the same noise for the same number."""
    from vireo_server.formats import frame_shape

    deep = pixel_format == "p010"
    rows, size = frame_shape(width=width, height=height, pixel_format=pixel_format)
    random, scale = np.random.default_rng(number), 4 if deep else 1
    shape = rows, size // 2 if deep else size
    samples = random.integers(16, 236, shape) if noise else np.full(shape, 60 + 20 * number)
    return (samples.astype(np.uint16) * scale << 6).view(np.uint8) if deep else samples.astype(np.uint8)


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [(codec, layout) for codec in ("h264", "hevc", "av1", "ffv1") for layout in ("nv12", "p010")] + [("vp9", "nv12")],
)
def test_every_encoder_keeps_every_picture_and_its_exact_time(codec, pixel_format):
    encoder, done = encode_gray(codec, pixel_format=pixel_format)
    assert sorted(times[0] for _, times in done) == [0, 3000, 6000, 9007, 12007]
    assert {times[2] for _, times in done} == {3000}
    description = StreamDescription(
        codec=codec, time_base=(1, 90000), width=64, height=48, extradata=encoder.extradata if codec != "av1" else b""
    )
    pictures = decoded(description, [(data, np.array(times)) for data, times in done])
    bits = 10 if pixel_format == "p010" else 8
    levels = [float(picture.frame.reformat(format="gray16le").to_ndarray().mean()) / 257 for picture in pictures]
    assert len(levels) == 5
    assert np.all(np.diff(levels) > 10), (bits, levels)
    assert ("10" in pictures[0].frame.format.name) == (pixel_format == "p010")


def test_ten_bit_is_never_flattened_in_silence():
    from vireo_server.errors import BadInput

    with pytest.raises(BadInput, match="vp9 cannot keep 10 bit here; choose codec h264, hevc, av1, ffv1"):
        encode_gray("vp9", pixel_format="p010")


def test_odd_sizes_are_kept_where_the_codec_can_and_padded_where_it_cannot():
    for codec, size in (("h264", (66, 50)), ("hevc", (66, 50)), ("av1", (65, 49)), ("vp9", (65, 49))):
        encoder, done = encode_gray(codec, width=65, height=49, frames=1)
        assert (encoder.coded_width, encoder.coded_height) == size
        assert len(done) == 1


@pytest.mark.parametrize(("codec", "runs"), [("h264", 30), ("hevc", 4), ("av1", 4), ("vp9", 4)])
def test_the_same_pictures_give_the_same_bytes_whatever_memory_held_before(codec, runs):
    """Encoders that read memory nobody wrote differ from run to run, but only once the heap is full of old data."""
    from vireo_media.encoder_options import EncoderOptions
    from vireo_server.encoder import Encoder
    from vireo_server.formats import Format
    from vireo_server.tags import resolve

    random = np.random.default_rng(0)
    format = Format(
        width=320,
        height=180,
        pixel_format="nv12",
        time_base=(1, 25),
        color=resolve({}, width=320, height=180, codec=codec),
    )
    # A texture that moves, so that rate control and prediction have something to decide.
    texture = np.repeat(np.repeat(random.integers(60, 200, (60, 120), dtype=np.uint8), 4, 0), 4, 1)
    results = set()
    for _ in range(runs):
        encoder = Encoder(
            format,
            EncoderOptions(codec=codec),
            width=320,
            height=180,
            frame_rate=(25, 1),
            sample_aspect_ratio=None,
        )
        done = []
        for n in range(45):
            garbage = [np.full(int(random.integers(1_000, 200_000)), random.integers(256), np.uint8) for _ in range(3)]
            picture = np.full((270, 320), 128, np.uint8)
            picture[:180] = texture[n : n + 180, 2 * n : 2 * n + 320]
            done += encoder.encode(picture, pts=n, duration=1)
            del garbage
        results.add(repr(done + encoder.finish()))
    assert len(results) == 1


def test_extradata_does_not_depend_on_the_length():
    for codec in ("h264", "hevc", "av1"):
        assert len({encode_gray(codec, frames=frames)[0].extradata for frames in (1, 2, 12)}) == 1


@pytest.mark.parametrize(("codec", "pixel_format"), [("h264", "nv12"), ("h264", "p010"), ("hevc", "p010")])
def test_crf_0_is_lossless_where_it_is_said_to_be(codec, pixel_format):
    encoder, packets = encode_gray(codec, pixel_format=pixel_format, noise=True, frames=2, crf=0)
    decoder = av.CodecContext.create(codec, "r")
    decoder.extradata = encoder.extradata
    frames = [frame for data, _ in packets for frame in decoder.decode(av.Packet(data))] + decoder.decode(None)
    for n, frame in enumerate(frames):
        expected = gray_picture(n, width=64, height=48, pixel_format=pixel_format, noise=True)
        samples = expected.view(np.uint16) >> 6 if pixel_format == "p010" else expected
        assert np.array_equal(frame.to_ndarray()[:48], samples[:48])
    assert len(frames) == 2


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_a_cap_on_the_rate_holds(codec):
    def rate(**options):
        _, packets = encode_gray(codec, width=160, height=96, noise=True, frames=60, crf=10, **options)
        return sum(len(data) for data, _ in packets) * 8 * 30 / 60

    assert rate(maxrate=500_000) < 1_000_000 < rate()


@pytest.mark.parametrize(
    ("codec", "width", "height", "threads"),
    [("hevc", 34, 16, 2), ("hevc", 48, 48, 2), ("av1", 16, 128, 2), ("av1", 128, 16, 4)],
)
def test_narrow_pictures_neither_kill_an_encoder_nor_hang_it(codec, width, height, threads):
    """In a process of its own, with the heap that x265 would write over checked at every call."""
    code = f"""
import numpy as np
from vireo_media.encoder_options import EncoderOptions
from vireo_server.encoder import Encoder
from vireo_server.formats import Format
from vireo_server.tags import resolve
color = resolve({{}}, width={width}, height={height}, codec={codec!r})
format = Format(width={width}, height={height}, pixel_format="nv12", time_base=(1, 25), color=color)
options = EncoderOptions(codec={codec!r}, threads={threads})
encoder = Encoder(format, options, width={width}, height={height}, frame_rate=(25, 1), sample_aspect_ratio=None)
rows = np.random.default_rng(0).integers(0, 256, (3, {height} * 3 // 2, {width}), np.uint8)
packets = [packet for n, row in enumerate(rows) for packet in encoder.encode(row, pts=n, duration=1)]
print(len(packets + encoder.finish()))
"""
    checked = {"LD_PRELOAD": "libc_malloc_debug.so.0", "GLIBC_TUNABLES": "glibc.malloc.check=3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **checked}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
