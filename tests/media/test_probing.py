# SPDX-License-Identifier: MIT
"""A picture is decoded only where something can be learnt from it."""

import io
import struct
from dataclasses import replace

import av
import pytest
from vireo_media import probing
from vireo_media.bitstream import has_own_headers
from vireo_media.container import MediaSource, read_packets
from vireo_media.mastering import insert_boxes
from vireo_media.parameter_sets import H264Parameters, has_frames_only, read_h264_set
from vireo_media.probing import probe
from vireo_media.testing import numbered_clip

TOLD_BY_HEADERS = {
    "plain.mp4": {},
    "tagged.mov": {"color": {"color_range": 2, "colorspace": 1, "color_trc": 1, "color_primaries": 1}},
    "coded.mp4": {
        "options": {"x264-params": "colorprim=bt470bg:transfer=bt470bg:colormatrix=bt470bg:range=tv:chromaloc=2"}
    },
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "four_four_four.mp4": {"pixel_format": "yuv444p"},
    "shaped.mp4": {"options": {"x264-params": "sar=4/3"}},
    "extended.mp4": {"options": {"x264-params": "sar=7/5"}},
    "no_rgb.mp4": {"options": {"x264-params": "colormatrix=GBR"}},
    "scaling_lists.mp4": {"options": {"x264-params": "cqm=jvt"}},
}
DECODED = {
    "turned.mp4": {"rotation": 90},
    "interlaced.mp4": {"options": {"x264-params": "interlaced=1"}},
    "plain.mkv": {},
    "plain.ts": {},
    "mpeg4.mp4": {"codec": "mpeg4", "bframes": 0},
}


@pytest.fixture
def decodes(monkeypatch):
    """How often a first picture was decoded."""
    asked, first = [], probing._first_picture
    monkeypatch.setattr(probing, "_first_picture", lambda *given: (asked.append(1), first(*given))[1])
    return asked


@pytest.mark.parametrize(("name", "choices"), [*TOLD_BY_HEADERS.items(), *DECODED.items()])
def test_for_numbers_the_description_is_the_same_and_seldom_needs_a_picture(tmp_path, decodes, name, choices):
    numbered_clip(str(tmp_path / name), frames=4, size=(98, 68), **choices)
    found = probe(MediaSource(tmp_path / name), for_numbers=True)
    assert len(decodes) == (name in DECODED)
    full = probe(MediaSource(tmp_path / name))
    assert replace(found, source=full.source) == full


def test_light_levels_are_in_side_data_and_so_still_found(tmp_path, decodes):
    numbered_clip(str(tmp_path / "plain.mp4"), frames=2, size=(96, 64))
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "turned.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(180)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert probe(MediaSource(tmp_path / "turned.mp4"), for_numbers=True).description.rotation in (180, -180)
    assert decodes


def test_headers_among_the_pictures_are_noticed(tmp_path):
    numbered_clip(str(tmp_path / "plain.mp4"), frames=2, size=(96, 64))
    source = MediaSource(tmp_path / "plain.mp4")
    extradata, key = probe(source).description.extradata, next(read_packets(source)).data
    assert not has_own_headers("h264", extradata, key)
    assert has_own_headers("h264", extradata, extradata[6:8].rjust(4, b"\0") + extradata[8:] + key)
    orientation = b"\x06\x2f\x02\x80\x40\x80"  # SEI, payload type 47, two bytes
    assert has_own_headers("h264", extradata, len(orientation).to_bytes(4, "big") + orientation + key)


def test_a_container_with_another_size_than_the_pictures_is_not_believed(tmp_path, decodes):
    numbered_clip(str(tmp_path / "clip.mp4"), frames=2, size=(98, 68))
    data = bytearray((tmp_path / "clip.mp4").read_bytes())
    place = data.index(b"avc1", data.index(b"stsd")) + 4 + 24  # ISO/IEC 14496-12, 12.1.3: VisualSampleEntry
    assert data[place : place + 4] == (98).to_bytes(2, "big") + (68).to_bytes(2, "big")
    data[place : place + 2] = (64).to_bytes(2, "big")
    assert probe(MediaSource(bytes(data), name="other"), for_numbers=True).description.width == 98
    assert decodes


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
def test_colours_that_only_the_container_says_hold(codec):
    """BT.2020 and PQ in the box `colr`, and nothing in the coded headers."""
    movie = io.BytesIO()
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    numbered_clip(movie, frames=8, size=(96, 64), container="mp4", codec=codec, bframes=0, options=options)
    plain = movie.getvalue().replace(b"colr", b"free")
    assert probe(MediaSource(plain)).description.color["transfer"] is None
    tagged = insert_boxes(plain, struct.pack(">I4s4s3HB", 19, b"colr", b"nclx", 9, 16, 9, 0))
    for for_numbers in (False, True):
        color = probe(MediaSource(tagged), for_numbers=for_numbers).description.color
        assert (color["primaries"], color["transfer"], color["matrix"]) == ("bt2020", "smpte2084", "bt2020nc")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_what_the_coded_headers_say_of_colours_is_before_the_container(codec):
    """As in libav's decoders, and with and without decoding."""
    movie = io.BytesIO()
    colors = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
    options = (
        {"x265-params": f"log-level=none:range=limited:{colors}"}
        if codec == "libx265"
        else {"x264-params": f"range=tv:{colors}"}
    )
    numbered_clip(movie, frames=8, size=(96, 64), container="mp4", codec=codec, bframes=0, options=options)
    plain = movie.getvalue().replace(b"colr", b"free")
    other = insert_boxes(plain, struct.pack(">I4s4s3HB", 19, b"colr", b"nclx", 9, 16, 9, 0x80))
    for for_numbers in (False, True):
        color = probe(MediaSource(other), for_numbers=for_numbers).description.color
        assert {color["primaries"], color["transfer"], color["matrix"]} == {"bt709"}
        assert color["range"] == "tv"


def parameter_set(*fields):
    """An H.264 sequence parameter set of High profile: of (value, bits), or numbers as ue(v)."""
    text = ""
    for field in fields:
        value, bits = field if isinstance(field, tuple) else (field + 1, 2 * (field + 1).bit_length() - 1)
        text += f"{value:0{bits}b}"
    text += "1" + "0" * (-(len(text) + 1) % 8)
    payload, escaped = int(text, 2).to_bytes(len(text) // 8, "big"), bytearray()
    for byte in payload:
        if escaped[-2:] == b"\0\0" and byte <= 3:
            escaped.append(3)
        escaped.append(byte)
    return b"\x67\x64\0\x1f" + bytes(escaped)


YES, NO = (1, 1), (0, 1)


def test_what_stands_before_the_size_is_skipped_as_it_is_coded():
    lists = [YES, 0, 16, *[NO] * 7]  # the first list: a step of 0, then one of -8, which ends it
    order = [1, NO, 1 << 28, 0, 2, 0, 0]  # picture order by cycles, with an offset of many zero bits
    sizes = [4, NO, 5, 3, YES, YES, YES, 0, 1, 0, 2]  # 96 x 64 less 2 x 1 and 2 x 2
    told = [YES, YES, (255, 8), (1, 16), (1, 16), NO, YES, (5, 3), YES, YES, (9, 8), (16, 8), (9, 8), YES, 2, 2]
    unit = parameter_set(0, 1, 0, 0, NO, YES, *lists, 0, *order, *sizes, *told)
    assert b"\0\0\3" in unit
    assert read_h264_set(unit) == H264Parameters(
        frames_only=True,
        size=(94, 60),
        chroma_format=1,
        aspect=(1, 1),
        frame_number_bits=4,
        separate_planes=False,
        full_range=True,
        color=(9, 16, 9),
        chroma=2,
    )


@pytest.mark.parametrize("extradata", [b"", b"\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f", b"\0\0\0\1\x67\x64"])
def test_headers_that_end_early_promise_nothing(extradata):
    assert not has_frames_only("h264", extradata)


def test_packets_are_the_same_without_a_look_at_the_pictures(tmp_path, monkeypatch):
    for name in ("clip.mp4", "clip.mkv", "clip.mov", "clip.ts"):
        numbered_clip(str(tmp_path / name), frames=30, size=(96, 64), bframes=3, audio="aac")
        quick = list(read_packets(MediaSource(tmp_path / name)))
        with monkeypatch.context() as patch:
            patch.setattr("vireo_media.container._QUICK_OPTIONS", {})
            assert list(read_packets(MediaSource(tmp_path / name))) == quick
