# SPDX-License-Identifier: MIT
"""Which streams NVDEC decodes, and what becomes of its pictures: a software decoder stands in for it, whose pictures
come as NVDEC's do, in two planes through DLPack."""

import json
from types import SimpleNamespace

import av
import numpy as np
import pytest
from vireo_media.description import StreamDescription
from vireo_media.testing import numbered_clip
from vireo_server.decoded_picture import write_row
from vireo_server.decoder import Decoder
from vireo_server.decoding import DecodeStage
from vireo_server.errors import BadInput
from vireo_server.formats import frame_shape
from vireo_server.nvdec import DevicePicture, Nvdec
from vireo_server.sequences import Streams
from vireo_server.settings import DecodeSettings
from vireo_server.side import Border
from vireo_server.wire import Request

GPUS = {"T4": "7.5", "A100": "8.0", "A10": "8.6", "L4": "8.9", "H100": "9.0", "H200": "9.0", "B200": "10.0"}


class Surface:
    """A frame as NVDEC gives it: `format` says cuda, `sw_format` what it is."""

    def __init__(self, frame, layout, uncropped):
        self._frame = frame.reformat(format=layout)
        self.width, self.height = frame.width + uncropped, frame.height
        self.format, self.sw_format = SimpleNamespace(name="cuda"), self._frame.format

    def __getattr__(self, name):
        return getattr(self._frame, name)


class Hardware:
    """A codec context that decodes in software; `gives` is the layout, None where libav fell back by itself, as it
    `leaves` after so many pictures. Of interlaced pictures only those shown at `fields` are marked, if it is given."""

    def __init__(self, codec, *, gives, fails_at=None, uncropped=0, leaves=None, fields=None):
        name = {"av1": "libdav1d"}.get(codec, codec)
        self.__dict__.update(
            _real=av.CodecContext.create(name, "r"), _gives=gives, _fails_at=fails_at, _count=0, _uncropped=uncropped
        )
        self.__dict__.update(_leaves=leaves, _fields=fields, _given=0)

    def __setattr__(self, name, value):
        setattr(self._real, name, value)

    def open(self):
        assert self._real.thread_count == 1, "more threads would hold more of NVDEC's surfaces"
        self._real.open()

    def decode(self, packet):
        self.__dict__["_count"] += 1
        if self._count == self._fails_at:
            raise av.error.InvalidDataError(1094995529, "NVDEC says no")
        return [self._as_given(frame) for frame in self._real.decode(packet)]

    def _as_given(self, frame):
        self.__dict__["_given"] += 1
        if self._gives is None or (self._leaves is not None and self._given > self._leaves):
            return frame
        surface = Surface(frame, self._gives, self._uncropped)
        if self._fields is not None:
            surface.interlaced_frame = frame.pts // 512 in self._fields  # 25 a second, of 12800
        return surface


@pytest.fixture
def machine(stand_in):
    """What is tried here needs hardware that is made up."""
    return stand_in


@pytest.fixture
def border(machine, side):
    """The border of a stage on the GPU."""
    return Border(side, stage="decode")


@pytest.fixture
def hardware(monkeypatch, machine):
    """`hardware(gives="nv12", capability="8.9")`: what NVDEC is."""

    def make(*, gives="nv12", capability="8.9", **nature):
        device = SimpleNamespace(compute_capability=capability.replace(".", ""))
        machine.cuda.Device = lambda number: type("D", (machine.device,), vars(device))()
        monkeypatch.setattr(Nvdec, "create", lambda self, codec: Hardware(codec, gives=gives, **nature))

    return make


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=10, size=(98, 66), gop=5, bframes=2)
    return path


def decoded(clip, *, nvdec=None):
    description, packets = clip
    decoder = Decoder(description, threads=2, nvdec=nvdec)
    return decoder, [picture for packet in packets for picture in decoder.decode(*packet)] + decoder.flush()


def row_of(picture):
    if isinstance(picture.frame, DevicePicture):
        return picture.frame.row._values
    shape = frame_shape(width=picture.frame.width, height=picture.frame.height, pixel_format=picture.layout)
    row = np.empty(shape, np.uint8)
    write_row(picture.frame, row)
    return row


def check_same(expected, pictures):
    assert [(one.pts, one.duration, one.layout) for one in pictures] == [
        (one.pts, one.duration, one.layout) for one in expected
    ]
    for one, other in zip(expected, pictures, strict=True):
        np.testing.assert_array_equal(row_of(other), row_of(one))


def stream(codec="h264", **more):
    return StreamDescription(codec=codec, time_base=(1, 25), width=1920, height=1080, **more)


@pytest.mark.parametrize("gpu", GPUS)
def test_what_each_gpu_is_asked_to_decode(hardware, border, gpu):
    hardware(capability=GPUS[gpu])
    nvdec = Nvdec(border)
    asked = {
        codec for codec in ("h264", "hevc", "vp9", "av1", "mpeg2video", "prores") if not nvdec.unfit(stream(codec))
    }
    av1 = {"av1"} if gpu in ("A10", "L4", "B200") else set()
    assert asked == {"h264", "hevc", "vp9"} | av1
    if not av1:
        assert nvdec.unfit(stream("av1")) == f"GPUs of compute capability {GPUS[gpu]} do not decode av1"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"decoder": {"on_corrupt": "conceal"}}, "NVDEC does not say which pictures are damaged"),
        ({"decoder": {"nvdec": "off"}}, "nvdec=off"),
        ({"field_order": "tt"}, "interlaced"),
        ({"field_order": "tt", "decoder": {"deinterlace": "off"}}, ""),
        ({"field_order": "progressive"}, ""),
    ],
)
def test_what_a_stream_asks_for_may_need_the_software(hardware, border, more, why):
    hardware()
    assert why in (found := Nvdec(border).unfit(stream(**more)))
    assert bool(found) == bool(why)


def test_a_picture_with_an_odd_side_is_decoded_in_software(hardware, border):
    hardware()
    odd = StreamDescription(codec="vp9", time_base=(1, 25), width=101, height=66)
    assert "101x66" in Nvdec(border).unfit(odd)


def test_pictures_of_the_gpu_are_the_softwares_and_stay_there(demuxed, hardware, border, machine, clip):
    hardware()
    _, expected = decoded(demuxed(clip))
    waits = machine.waits
    decoder, pictures = decoded(demuxed(clip), nvdec=Nvdec(border))
    assert all(isinstance(picture.frame, DevicePicture) for picture in pictures)
    assert machine.waits - waits == len(pictures), "NVDEC's surface goes back only when it was copied"
    check_same(expected, pictures)
    assert (decoder.why_software, machine.crossed) == ("", {"to_device": 0, "to_host": 0})


def test_ten_bits(demuxed, hardware, border, tmp_path):
    numbered_clip(str(tmp_path / "a.mp4"), frames=4, size=(98, 66), codec="libx265", pixel_format="yuv420p10le")
    hardware(gives="p010le")
    clip = demuxed(tmp_path / "a.mp4")
    _, pictures = decoded(clip, nvdec=Nvdec(border))
    assert {picture.layout for picture in pictures} == {"p010"}
    check_same(decoded(clip)[1], pictures)


@pytest.mark.parametrize(
    ("nature", "why"),
    [
        ({"gives": None}, "NVDEC of this GPU does not take it (yuv420p)"),
        ({"gives": "yuv444p"}, "NVDEC gives it as yuv444p; FRAMES are 4:2:0 of 8 or 10 bit"),
        ({"uncropped": 2}, "the stream crops its pictures at the left or at the top, which is done in software"),
        ({"fails_at": 1}, "NVDEC failed: NVDEC says no"),
        ({"fails_at": 3}, "NVDEC failed: NVDEC says no"),
    ],
)
def test_what_nvdec_does_not_begin_well_the_software_decodes_from_the_first_packet(
    demuxed, hardware, border, clip, nature, why
):
    hardware(**nature)
    decoder, pictures = decoded(demuxed(clip), nvdec=Nvdec(border))
    assert decoder.why_software == why
    check_same(decoded(demuxed(clip))[1], pictures)


def test_what_fails_later_is_the_streams_fault(demuxed, hardware, border, clip):
    hardware(fails_at=9)
    with pytest.raises(BadInput, match="decoding a packet of h264 failed: NVDEC says no"):
        decoded(demuxed(clip), nvdec=Nvdec(border))


def test_a_gpu_that_does_not_open_a_codec_leaves_it_to_the_software(demuxed, monkeypatch, hardware, border, clip):
    hardware()

    def refuse(self, codec):
        raise av.error.ExternalError(542398533, "no device")

    monkeypatch.setattr(Nvdec, "create", refuse)
    decoder, pictures = decoded(demuxed(clip), nvdec=Nvdec(border))
    assert decoder.why_software == "NVDEC cannot be opened: no device"
    check_same(decoded(demuxed(clip))[1], pictures)


def test_interlaced_pictures_that_were_not_announced_come_to_the_host(demuxed, hardware, border, machine, tmp_path):
    numbered_clip(str(tmp_path / "a.mp4"), frames=6, size=(96, 64), options={"x264-params": "tff=1"})
    clip = demuxed(tmp_path / "a.mp4")
    hardware()
    decoder, pictures = decoded(clip, nvdec=Nvdec(border))
    check_same(decoded(clip)[1], pictures)
    assert "deinterlaced" in " ".join(decoder.notes)
    assert border.told({})["crossed"]["decode"]["to_host"] == 6 * 96 * 64 * 3 // 2


@pytest.mark.parametrize("fields", [{0}, {2}, {4}, {1, 5}, {9}])
def test_where_some_pictures_are_interlaced_all_come_in_their_order(demuxed, hardware, border, tmp_path, fields):
    numbered_clip(str(tmp_path / "a.mp4"), frames=10, size=(96, 64), bframes=2, options={"x264-params": "tff=1"})
    clip = demuxed(tmp_path / "a.mp4")
    hardware(fields=fields)
    _, pictures = decoded(clip, nvdec=Nvdec(border))
    assert [picture.pts for picture in pictures] == [picture.pts for picture in decoded(clip)[1]]


def test_pictures_after_libav_left_nvdec_are_the_softwares(demuxed, hardware, border, clip):
    hardware(leaves=4)
    _, pictures = decoded(demuxed(clip), nvdec=Nvdec(border))
    assert [isinstance(picture.frame, DevicePicture) for picture in pictures].count(True) == 4
    check_same(decoded(demuxed(clip))[1], pictures)


@pytest.fixture
def step(demuxed, request_of, text, machine, side, clip):
    """The clip through the decode stage on the GPU: FRAMES and the report."""

    def run(**more):
        description, packets = demuxed(clip, **more)
        data = np.empty(len(packets), np.object_)
        data[:] = [one for one, _ in packets]
        tensors = {"STREAM": text(description.to_json()), "PACKETS": data}
        fake = request_of({**tensors, "PACKET_TIMING": np.array([row for _, row in packets])}, chunk=0)
        fake._flags = 3
        request = Request(fake, stage="decode")
        stage = DecodeStage(DecodeSettings(), Streams(lambda: None, name="decode", idle_seconds=9), side)
        stage.open(request)
        tensors = stage.step(request)
        return tensors, json.loads(tensors["FORMAT"])["report"]

    return run


def test_the_stage_says_who_decoded_and_that_nothing_crossed(demuxed, hardware, step, machine, clip):
    hardware()
    tensors, report = step()
    assert report["decoder"] == {"name": "nvdec"}
    assert report["crossed"] == {"decode": {"to_device": 0, "to_host": 0}}
    expected = [row_of(picture) for picture in decoded(demuxed(clip))[1]]
    np.testing.assert_array_equal(tensors["FRAMES"]._values, np.stack(expected))
    assert machine.crossed == {"to_device": 0, "to_host": 0}


def test_software_on_a_gpu_is_said_with_its_reason_and_logged_once(hardware, step, capsys):
    hardware()
    for _ in range(2):
        tensors, report = step(decoder={"nvdec": "off"})
    assert report["decoder"] == {"name": "software", "why": "nvdec=off"}
    assert report["crossed"]["decode"] == {"to_device": tensors["FRAMES"].nbytes, "to_host": 0}
    assert capsys.readouterr().out.count("in software instead of on the GPU: nvdec=off") <= 1
