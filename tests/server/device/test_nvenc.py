# SPDX-License-Identifier: MIT
"""NVENC is taken where a caller asks for it and the GPU has it: an encoder of libav's on the host stands in for it,
which is given its pictures as NVENC is, in two planes through DLPack."""

from dataclasses import replace

import av
import numpy as np
import pytest
from vireo_media import encoder_options
from vireo_media.encoder_options import EncoderOptions
from vireo_server import nvenc
from vireo_server.encoder import Encoder
from vireo_server.encoders import ENCODERS, NVENC, encoder_kind
from vireo_server.errors import BadInput
from vireo_server.formats import Format, frame_shape
from vireo_server.side import HOST
from vireo_server.tags import resolve


@pytest.fixture
def machine(stand_in):
    """What is tried here needs hardware that is made up."""
    return stand_in


@pytest.fixture
def hardware(monkeypatch):
    """`hardware("hevc", "yuv420p10le")`: that codec's encoder for pictures of the device, one that runs here."""

    def make(codec, takes):
        made = replace(ENCODERS[codec], device_format=takes)
        monkeypatch.setitem(NVENC, codec, made)
        monkeypatch.setitem(encoder_options.NVENC, codec, encoder_options.ENCODERS[codec])
        monkeypatch.setattr(nvenc, "_imported", lambda planes, layout, number: imported(planes, layout))
        nvenc._fault.cache_clear()

    yield make
    nvenc._fault.cache_clear()


def imported(planes, layout):
    given = tuple(np.ascontiguousarray(plane._values) for plane in planes)
    frame = av.VideoFrame.from_dlpack(given, format=layout)
    # In one thread: of several, libav's conversion of P010 lets one overwrite what another wrote.
    return frame.reformat(format="yuv420p10le", threads=1) if layout == "p010le" else frame


def pictures(width, height, pixel_format):
    shape = frame_shape(width=width, height=height, pixel_format=pixel_format)
    rows = np.random.default_rng(2).integers(0, 256, (5, *shape), np.uint8)
    return rows if pixel_format == "nv12" else (rows.view(np.uint16) & 0xFFC0).view(np.uint8)


def encoded(rows, options, *, width, height, pixel_format="nv12", side=HOST):
    color = resolve({}, width=width, height=height, codec=options.codec)
    format = Format(width=width, height=height, pixel_format=pixel_format, time_base=(1, 25), color=color)
    encoder = Encoder(
        format, options, width=width, height=height, frame_rate=(25, 1), sample_aspect_ratio=None, side=side
    )
    packets = [packet for place, row in enumerate(rows) for packet in encoder.encode(row, pts=place, duration=1)]
    return encoder, packets + encoder.finish()


@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
@pytest.mark.parametrize(
    ("codec", "pixel_format", "takes"), [("h264", "nv12", "nv12"), ("hevc", "p010", "yuv420p10le")]
)
def test_pictures_reach_the_encoder_from_the_device_as_they_are(
    hardware, machine, side, codec, pixel_format, takes, size
):
    hardware(codec, takes)
    given = {"width": size[0], "height": size[1], "pixel_format": pixel_format}
    rows = pictures(**given)
    _, expected = encoded(rows, EncoderOptions(codec=codec, preset="ultrafast"), **given)
    chosen = EncoderOptions(codec=codec, preset="ultrafast", nvenc="on")
    encoder, packets = encoded(machine.wrapped(rows), chosen, **given, side=side)
    assert packets == expected
    assert (encoder.on_device, bool(encoder.extradata)) == (True, True)
    assert (encoder.coded_width, encoder.coded_height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert machine.crossed == {"to_device": 0, "to_host": 0}


def test_a_row_of_tritons_may_be_gone_when_it_is_encoded(hardware, machine, side):
    hardware("h264", "nv12")
    rows = pictures(64, 48, "nv12")
    options = EncoderOptions(preset="ultrafast", nvenc="on")
    size = {"width": 64, "height": 48}
    _, expected = encoded(machine.wrapped(rows), options, **size, side=side)
    given = machine.wrapped(rows.copy())
    frame = nvenc.device_frame(given[0], **size, pixel_format="nv12", side=side)
    given[...] = 0
    assert np.frombuffer(frame.planes[0], np.uint8)[: 64 * 48].tolist() == rows[0, :48].reshape(-1).tolist()
    assert expected


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
def test_nvenc_finds_chroma_where_one_pitch_says(machine, side, monkeypatch, pixel_format):
    monkeypatch.setattr(nvenc, "_imported", lambda planes, layout, number: planes)
    rows = machine.wrapped(pictures(65, 47, pixel_format))
    luma, chroma = nvenc.device_frame(rows[0], width=65, height=47, pixel_format=pixel_format, side=side)
    assert (luma.shape, chroma.shape) == ((48, 66), (24, 66))
    assert luma.strides == chroma.strides
    assert luma.strides[0] % 256 == 0
    assert chroma.data.ptr - luma.data.ptr == 48 * luma.strides[0]


def test_a_server_without_nvenc_refuses_and_never_takes_another_encoder(machine, side, monkeypatch):
    monkeypatch.setattr(nvenc, "_imported", lambda planes, layout, number: imported(planes, layout))
    nvenc._fault.cache_clear()
    rows = pictures(64, 48, "nv12")
    with pytest.raises(BadInput, match=r"nvenc is 'on', and this server cannot encode h264 so: .*; leave it out, or"):
        encoded(machine.wrapped(rows), EncoderOptions(nvenc="on"), width=64, height=48, side=side)
    with pytest.raises(BadInput, match="its encode stage does not work on a GPU"):
        encoded(rows, EncoderOptions(nvenc="on"), width=64, height=48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "vp9", "nvenc": "on"}, "'vp9' with nvenc 'on'; allowed is 'h264', 'hevc', 'av1'"),
        ({"nvenc": "maybe"}, "'nvenc' cannot be 'maybe'; allowed is 'off', 'on'"),
        ({"nvenc": "on", "preset": "veryfast"}, "'veryfast' with codec 'h264' and nvenc 'on'; allowed is 'p1', 'p2'"),
    ],
)
def test_what_nvenc_cannot_do_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        EncoderOptions(**options)


def test_what_nvenc_is_told():
    chosen = EncoderOptions(codec="hevc", nvenc="on", crf=19, maxrate=2_000_000, keyint=2, latency="low")
    color = resolve({}, width=64, height=48, codec="hevc")
    told = encoder_kind(chosen).options(chosen, color=color, size=(64, 48))
    assert told == {
        "rc": "vbr", "cq": "19", "preset": "p4", "forced-idr": "1", "strict_gop": "1", "maxrate": "2000000",
        "bufsize": "4000000", "no-scenecut": "1", "tune": "ll", "zerolatency": "1", "delay": "0", "bf": "0",
    }  # fmt: skip
    lossless = EncoderOptions(nvenc="on", crf=0, latency="low")
    assert encoder_kind(lossless).options(lossless, color=color, size=(64, 48))["tune"] == "lossless"
    known = {option.name for option in av.CodecContext.create("hevc_nvenc", "w").supported_options.private}
    generic = {"maxrate", "bufsize", "bf"}
    assert told.keys() - generic <= known
