# SPDX-License-Identifier: MIT
"""Every stage on a device gives the bytes that it gives on the host, and nothing crosses without a word."""

import json
from dataclasses import replace

import av
import numpy as np
import pytest
from vireo_media.description import StreamDescription
from vireo_media.testing import numbered_clip
from vireo_server.decode_preprocess import DecodePreprocessStage
from vireo_server.decoding import DecodeStage
from vireo_server.encoding import EncodeStage
from vireo_server.formats import SOURCE, Format, frame_shape
from vireo_server.interpolating import InterpolationStage
from vireo_server.likeness import Look
from vireo_server.preprocessing import PreprocessStage
from vireo_server.sequences import Streams
from vireo_server.settings import (
    DecodePreprocessSettings,
    DecodeSettings,
    EncodeSettings,
    PreprocessSettings,
    ToneMappingSettings,
)
from vireo_server.side import HOST, Border
from vireo_server.tags import resolve
from vireo_server.tone_mapping import ToneMappingStage
from vireo_server.wire import Request

NOTHING = {"to_device": 0, "to_host": 0}


@pytest.fixture
def answer(request_of):
    """What a stage answers to one request, through Triton's tensors."""

    def run(stage, tensors, *, start=True, end=True):
        fake = request_of(tensors, chunk=0, start=start, end=end)
        request = Request(fake, stage="test")
        stage.listen(request)
        if start:
            stage.open(request)
        request.answer(stage.step(request))
        return fake.wait().tensors

    return run


@pytest.fixture
def frames_of(text, machine):
    """FRAMES, TIMING and FORMAT of random pictures, on a side."""

    def make(side, *, count=4, width=64, height=48, pixel_format="nv12", transfer="bt709", **more):
        color = resolve({"transfer": transfer}, width=width, height=height, codec="hevc")
        format = Format(
            width=width, height=height, pixel_format=pixel_format, time_base=(1, 25), frame_rate=(25, 1), color=color
        )
        shape = frame_shape(width=width, height=height, pixel_format=pixel_format)
        frames = np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)
        timing = np.array([[place, 1, SOURCE, -2] for place in range(count)], np.int64)
        placed = frames if side.is_host else machine.wrapped(frames)
        return {"FRAMES": placed, "TIMING": timing, "FORMAT": text(replace(format, **more).to_json())}

    return make


def report_of(tensors):
    return json.loads(tensors["FORMAT"][0])["report"]


@pytest.fixture
def check_same(machine):
    """Equal tensors, those with pixels on the device."""

    def check(host, device):
        assert host.keys() == device.keys()
        for name in host.keys() - {"FORMAT"}:
            np.testing.assert_array_equal(machine.look(device[name]), host[name], err_msg=name)
        on_device = {name for name, value in device.items() if not isinstance(value, np.ndarray)}
        assert on_device == host.keys() & {"FRAMES", "INPUT", "OUTPUT"}

    return check


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({}, {}),
        ({}, {"width": 21, "height": 13}),
        ({"bits": 16}, {"pixel_format": "p010"}),
        ({"layout": "interleaved"}, {}),
        ({"size": "32x32", "fit": "crop", "rotation": "upright"}, {"rotation": 90}),
        ({"size": "24x20", "fit": "letterbox"}, {}),
        ({"channels": "luma", "size": "16x16"}, {"pixel_format": "p010"}),
        ({"channels": "luma"}, {}),
        ({"size": "16x16", "window": 3, "stride": 2}, {}),
        ({"size": "16x16", "window": 3, "picked": "middle"}, {}),
        ({"condition": ("strength=1",), "skip": ("strength<=0",)}, {}),
        ({"ten_bit": "untouched"}, {"pixel_format": "p010"}),
    ],
)
def test_preprocess(check_same, answer, frames_of, machine, side, settings, given):
    settings = PreprocessSettings(**settings)
    host = answer(PreprocessStage(settings), frames_of(HOST, **given))
    device = answer(PreprocessStage(settings, side), frames_of(side, **given))
    check_same(host, device)
    assert report_of(device)["crossed"] == {"preprocess": NOTHING}
    assert "crossed" not in report_of(host)
    assert machine.crossed == NOTHING


def test_preprocess_takes_only_the_rows_it_needs_over_the_border(check_same, answer, frames_of, machine, side):
    tensors = frames_of(HOST)
    tensors["TIMING"][1:3, 2] = 1
    host = answer(PreprocessStage(PreprocessSettings()), tensors)
    device = answer(PreprocessStage(PreprocessSettings(), side), tensors)
    check_same(host, device)
    crossed = {"to_device": tensors["FRAMES"][:2].nbytes, "to_host": 0}
    assert report_of(device)["crossed"] == {"preprocess": crossed} == {"preprocess": machine.crossed}


@pytest.mark.parametrize("slots", ["rows", "pairs"])
@pytest.mark.parametrize("size", [{}, {"width": 30, "height": 22}, {"pixel_format": "p010"}])
def test_interpolation(check_same, answer, frames_of, machine, side, slots, size):
    layout = {"rows": "interleaved", "pairs": "planar"}[slots]
    settings = PreprocessSettings(slots=slots, layout=layout, multiple=32 if slots == "pairs" else 1)
    given = {"options": {"ratio": 2, "cuts": "repeat"}, **size}
    host = answer(InterpolationStage(settings), frames_of(HOST, **given), end=False)
    device = answer(InterpolationStage(settings, side), frames_of(side, **given), end=False)
    check_same(host, device)
    crossed = report_of(device)["crossed"]["preprocess"]
    assert crossed == machine.crossed, "of each picture the means of its blocks"
    assert 0 < crossed["to_host"] < 4 * 64 * 48 / 30


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (8, 64), (7, 5)])
def test_a_picture_looks_the_same_from_the_device(machine, side, pixel_format, width, height):
    shape = frame_shape(width=width, height=height, pixel_format=pixel_format)
    frame = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    size = {"width": width, "height": height, "pixel_format": pixel_format, "border": Border(side, stage="preprocess")}
    host, device = Look.of(frame, **size), Look.of(machine.wrapped(frame), **size)
    np.testing.assert_array_equal(host.blocks, device.blocks)
    np.testing.assert_array_equal(host.thumbnail, device.thumbnail)


@pytest.mark.parametrize(("target", "transfer", "depth"), [("hdr10", "bt709", "nv12"), ("sdr", "smpte2084", "p010")])
def test_tone_mapping(check_same, answer, frames_of, machine, side, target, transfer, depth):
    given = {"pixel_format": depth, "transfer": transfer}
    settings = ToneMappingSettings(target=target)
    host = answer(ToneMappingStage(settings), frames_of(HOST, **given))
    device = answer(ToneMappingStage(settings, side), frames_of(side, **given))
    check_same(host, device)
    assert report_of(device)["crossed"] == {"tone_mapping": NOTHING}
    assert machine.crossed == NOTHING


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """STREAM and the packets of a clip of 12 pictures."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=12, size=(160, 96), gop=6, bframes=1)
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        timing = np.array([(one.pts, one.dts, one.duration, int(one.is_keyframe)) for one in packets], np.int64)
        base = stream.time_base
        description = StreamDescription(
            codec="h264",
            time_base=(base.numerator, base.denominator),
            width=160,
            height=96,
            extradata=stream.codec_context.extradata,
            frame_rate=(25, 1),
            decoder={"nvdec": "off"},
        )
    data = np.empty(len(packets), np.object_)
    data[:] = [bytes(packet) for packet in packets]
    return {"STREAM": description.to_json(), "PACKETS": data, "PACKET_TIMING": timing}


@pytest.fixture
def coded(answer, clip, text):
    """The clip through decode, preprocess, a network that does nothing, and encode: REPORT and what came out."""

    def run(side, *, network=lambda pictures: pictures, settings=PreprocessSettings(), progress=lambda: None):  # noqa: B008
        stream = {"STREAM": text(clip["STREAM"])}
        streams = Streams(lambda: None, name="decode", idle_seconds=9)
        decoded = answer(DecodeStage(DecodeSettings(), streams, side), {**clip, **stream})
        made = answer(PreprocessStage(settings, side), decoded)
        given = {name: made[name] for name in ("TIMING", "FORMAT")} | {"FRAMES": decoded["FRAMES"]} | stream
        out = answer(
            EncodeStage(EncodeSettings(), side, progress=progress), {**given, "OUTPUT": network(made["INPUT"])}
        )
        return json.loads(out["REPORT"][0]), out

    return run


def test_every_picture_and_every_one_that_the_encoder_held_is_progress(coded):
    seen = []
    _, out = coded(HOST, progress=lambda: seen.append(1))
    assert len(seen) > len(out["OUTPUT_TIMING"])


@pytest.mark.parametrize("layout", ["planar", "interleaved"])
def test_a_clip_crosses_once_as_frames_where_nothing_on_the_device_decodes_or_encodes(coded, machine, side, layout):
    settings = PreprocessSettings(layout=layout)
    report, host = coded(HOST, settings=settings)
    told, device = coded(side, settings=settings)
    for name in ("OUTPUT_PACKETS", "OUTPUT_TIMING"):
        np.testing.assert_array_equal(device[name], host[name])
    frames = 12 * 160 * (96 + 48)
    assert told.pop("crossed") == {
        "decode": {"to_device": frames, "to_host": 0},
        "preprocess": NOTHING,
        "encode": {"to_device": 0, "to_host": frames},
    }
    assert machine.crossed == {"to_device": frames, "to_host": frames}
    assert told.pop("decoder") == {"name": "software", "why": "nvdec=off"}
    assert told == report


def test_pictures_that_a_script_made_on_the_host_are_encoded_there(coded, machine, side):
    report, _ = coded(side, network=lambda pictures: machine.look(pictures).copy())
    assert report["crossed"]["encode"] == NOTHING
    assert machine.crossed["to_host"] == 0


def test_decode_and_preprocess_in_one_process(answer, clip, check_same, machine, side, text):
    settings = DecodePreprocessSettings(size="24x16", channels="luma")
    given = {**clip, "STREAM": text(clip["STREAM"])}
    streams = Streams(lambda: None, name="decode", idle_seconds=9)
    host = answer(DecodePreprocessStage(settings, streams), given)
    device = answer(DecodePreprocessStage(settings, streams, side), given)
    check_same(host, device)
    report = report_of(device)
    assert report["decoder"] == {"name": "software", "why": "nvdec=off"}
    assert report["crossed"]["preprocess"] == NOTHING
    assert report["crossed"]["decode"] == machine.crossed == {"to_device": 12 * 160 * 144, "to_host": 0}
