# SPDX-License-Identifier: MIT
"""Clips whose times are unusual."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from vireo_media.testing import numbered_clip

from .case import SIZE, Case
from .remuxing import remuxed

GROUP = "times"


def _wraps(path: Path, frames: int) -> None:
    """The clock of a transport stream has 33 bits; here it passes 0 after 5 frames, so the start is before time 0."""

    def earlier(packet: Any, place: int) -> Any:
        shift = round(Fraction(5, 25) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    options = {"avoid_negative_ts": "disabled", "mpegts_copyts": "1"}
    remuxed(path, frames, earlier, via="mp4", bframes=0, options=options)


def _duplicate_times(path: Path, frames: int) -> None:
    """Frames 10 and 11 have one time, and so have 20 and 21."""

    def change(packet: Any, place: int) -> Any:
        if place in (11, 21):
            packet.pts = packet.dts = packet.pts - 40
        return packet

    remuxed(path, frames, change, via="matroska", bframes=0)


def _duplicated(count: int) -> list[Fraction]:
    return [Fraction(40 * i - (39 if i in (11, 21) else 0), 1000) for i in range(count)]


def _without_times(path: Path, frames: int) -> None:
    """Every third picture from the fifth on has no times: the flags of its PES header say so (ISO/IEC 13818-1),
    and stuffing stands in their place."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mpegts")
    data, picture = bytearray(raw.getvalue()), 0
    for start in range(0, len(data), 188):
        packet = data[start : start + 188]
        header = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if packet[1] & 0x40 and packet[header : header + 4] == b"\0\0\1\xe0":
            if picture >= 5 and picture % 3 == 2:
                data[start + header + 7] &= 0x3F
                first = start + header + 9
                length = packet[header + 8]
                data[first : first + length] = b"\xff" * length
            picture += 1
    path.write_bytes(data)


def _late_sound(path: Path, frames: int) -> None:
    """The sound begins 11537 samples after the picture, which is no whole number of milliseconds."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, audio="aac", container="mp4")
    raw.seek(0)
    with (
        av.open(raw) as reader,
        av.open(str(path), "w", container_options={"movie_timescale": "48000"}) as writer,
    ):
        copies = [writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams]
        for packet in reader.demux():
            if not packet.size:
                continue
            if packet.stream_index == 1:
                packet.pts, packet.dts = packet.pts + 11537, packet.dts + 11537
            packet.stream = copies[packet.stream_index]
            writer.mux(packet)


def jitter(count: int) -> list[int]:
    return [40 * i + (i * i) % 37 for i in range(count)]


CASES = (
    Case(name="vfr", group=GROUP, comes="a variable frame rate", suffix=".mkv",
         clip={"pts": jitter(30), "time_base": Fraction(1, 1000)},
         times=lambda count: [Fraction(t, 1000) for t in jitter(count)]),
    Case(name="ntsc", group=GROUP, comes="24000/1001 frames a second", suffix=".mp4",
         clip={"fps": Fraction(24000, 1001)}, times=lambda count: [Fraction(1001 * i, 24000) for i in range(count)]),
    Case(name="negative", group=GROUP, comes="a start before time 0 (MPEG-TS whose clock wraps)",
         gives="moved to 0 with the sound (said)", suffix=".ts", make=_wraps, notes=("before time 0",)),
    Case(name="duplicate_pts", group=GROUP, comes="two frames with one time",
         gives="both, the second one tick later (said)", suffix=".mkv", make=_duplicate_times, times=_duplicated,
         notes=("one time",)),
    Case(name="missing_pts", group=GROUP, comes="MPEG-TS, pictures without times among them",
         gives="those evenly timed, the others exact", suffix=".ts", make=_without_times),
    Case(name="late_sound", group=GROUP, comes="sound that starts later", gives="the same offset, to the sample",
         suffix=".mp4", make=_late_sound),
    Case(name="one_frame", group=GROUP, comes="one frame", gives="one frame", suffix=".mp4", frames=1),
    Case(name="one_frame_ts", group=GROUP, comes="one frame, to MPEG-TS", gives="one frame", suffix=".mp4", frames=1,
         output=".ts"),
    Case(name="one_frame_from_ts", group=GROUP, comes="one frame in MPEG-TS of a few packets", gives="one frame",
         suffix=".ts", frames=1, clip={"codec": "mpeg2video"}),
    Case(name="two_frames_hevc", group=GROUP, comes="two frames, to HEVC", gives="two frames", suffix=".mp4",
         frames=2, options={"codec": "hevc"}),
)  # fmt: skip
