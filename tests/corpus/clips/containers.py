# SPDX-License-Identifier: MIT
"""Clips in each container."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from vireo_media.testing import numbered_clip

from .case import HALF_MS, SIZE, Case
from .gops import PYRAMID
from .remuxing import remuxed

GROUP = "containers in"


def _paused(count: int) -> list[int]:
    return [i if i < 14 else i + 9 for i in range(count)]


def _pauses(count: int) -> list[Fraction]:
    return [Fraction(tick, 25) for tick in _paused(count)]


def _raw(path: Path, frames: int, *, format: str, codec: str) -> None:
    numbered_clip(str(path), frames=frames, size=SIZE, gop=12, codec=codec, bframes=0, container=format)


def _edit_list(path: Path, frames: int) -> None:
    """The first 5 frames before time 0: the mp4 muxer writes an edit list that hides them, and the demuxer marks their
    packets to be decoded and not shown."""

    def earlier(packet: Any, place: int) -> Any:
        shift = round(Fraction(5, 25) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    remuxed(path, frames, earlier, via="mp4", gop=30, options={"avoid_negative_ts": "disabled", "use_editlist": "1"})


def _decoding_times(path: Path, frames: int) -> None:
    """Every packet's time is when it is decoded, in place of when it is shown."""
    times = iter(range(0, 512 * frames, 512))

    def change(packet: Any, place: int) -> Any:
        packet.pts = packet.dts = next(times)
        return packet

    remuxed(path, frames, change, via="mp4", options={"video_track_timescale": "12800"})


def _packed(path: Path, frames: int) -> None:
    """As DivX and Xvid have it in AVI: a B-picture in the packet of the one it refers to, and then a packet that says
    "nothing new"; user data say that it is so. And a pause. A VOP begins with 00 00 01 B6 and two bits of its kind:
    0 I, 1 P, 2 B."""
    before: Any = None

    def kind(packet: Any) -> int:
        data = bytes(packet)
        return data[data.index(b"\0\0\1\xb6") + 4] >> 6

    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, codec="mpeg4", bframes=1, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        packets = [packet for packet in reader.demux(0) if packet.size]
        for place, (packet, at) in enumerate(zip(packets, _paused(frames), strict=True)):
            after = packets[place + 1] if place + 1 < len(packets) else None
            data = bytes(packet)
            if kind(packet) == 2:
                data = b"\0\0\1\xb6\x50\x4f"
            elif after is not None and kind(after) == 2:
                data += bytes(after)
            before = av.Packet(b"\0\0\1\xb2DivX503b1393p" + data if place == 0 else data)
            before.pts = before.dts = at
            before.time_base, before.stream, before.is_keyframe = Fraction(1, 25), copy, packet.is_keyframe
            writer.mux(before)


CASES = (
    Case(name="mkv", group=GROUP, comes="Matroska, Opus sound", suffix=".mkv", output=".mkv",
         clip={"audio": "libopus"}),
    Case(name="mov", group=GROUP, comes="QuickTime", suffix=".mov", output=".mov", clip={"audio": "aac"}),
    Case(name="ts", group=GROUP, comes="MPEG-TS, which starts at 1.4 s", gives="every frame, the start kept",
         suffix=".ts", output=".ts", clip={"audio": "aac"}),
    Case(name="avi", group=GROUP, comes="AVI: H.264 with B-frames and no presentation times",
         gives="every frame, evenly timed", suffix=".avi", clip={"audio": "mp3"},
         begins=Fraction(0)),
    Case(name="avi_gap", group=GROUP, comes="AVI with pictures left out by its recorder",
         gives="the others, each at its own time", suffix=".avi", frames=20,
         clip={"codec": "mpeg4", "bframes": 0, "pts": [*range(10), *range(15, 25)], "time_base": Fraction(1, 25)},
         times=lambda count: [Fraction(i if i < 10 else i + 5, 25) for i in range(count)]),
    *(
        Case(name=f"avi_gap_{codec}", group=GROUP, comes=f"the same with B-frames, {name}",
             gives="the others, each at its own time", suffix=".avi",
             clip={"codec": codec, "pts": _paused(30), "time_base": Fraction(1, 25), "options": options},
             times=_pauses)
        for codec, name, options in (("libx264", "H.264", PYRAMID), ("mpeg4", "MPEG-4", {}))
    ),
    Case(name="flv", group=GROUP, comes="FLV: H.264", suffix=".flv", clip={"audio": "aac"}, tolerance=HALF_MS),
    Case(name="fragmented_in", group=GROUP, comes="fragmented mp4", suffix=".mp4",
         clip={"audio": "aac", "container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    Case(name="packed", group=GROUP, comes="AVI: DivX or Xvid with packed B-frames",
         gives="every frame, each at its own time", suffix=".avi", frames=29, make=_packed, times=_pauses),
    Case(name="decoding_times", group=GROUP,
         comes="mp4 or asf whose times are those of decoding, as copied from AVI",
         gives="every frame, in the right order (said)", suffix=".mp4", make=_decoding_times,
         notes=("in which pictures are decoded",)),
    Case(name="elementary", group=GROUP, comes="a bare H.264 stream without times",
         gives="every frame, evenly timed", suffix=".h264",
         make=lambda path, frames: _raw(path, frames, format="h264", codec="libx264")),
    Case(name="edit_list", group=GROUP, comes="mp4 with an edit list that hides the first 5 frames",
         gives="the other frames, exact times (said)", suffix=".mp4", make=_edit_list, numbers=range(5, 30),
         notes=("edit list",)),
)  # fmt: skip
