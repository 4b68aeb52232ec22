# SPDX-License-Identifier: MIT
"""Clips that are damaged, cut, or change in the middle."""

import io
import re
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from vireo_media.testing import numbered_clip

from .case import HALF_MS, SIZE, Case
from .gops import OPEN_X264
from .remuxing import copy_streams, remuxed

GROUP = "damaged or unusual"


def _two_sizes(path: Path, frames: int) -> None:
    parts = []
    for number, size in ((0, SIZE), (frames // 2, (192, 128))):
        raw = io.BytesIO()
        numbered_clip(raw, frames=frames // 2, size=size, gop=12, container="h264", first_number=number, bframes=0)
        parts.append(raw.getvalue())
    path.write_bytes(b"".join(parts))


def _joined(path: Path, frames: int) -> None:
    """Two recordings, one after the other in one file, as `cat` does it: the clock begins anew."""
    parts = []
    for number in (0, frames // 2):
        raw = io.BytesIO()
        numbered_clip(raw, frames=frames // 2, size=SIZE, gop=12, container="mpegts", first_number=number)
        parts.append(raw.getvalue())
    path.write_bytes(b"".join(parts))


def _two_sizes_remuxed(path: Path, frames: int) -> None:
    """The same, with the clock running on."""
    with av.open(str(path), "w") as writer:
        stream: Any = None
        for part, size in enumerate((SIZE, (192, 128))):
            raw, count = io.BytesIO(), frames // 2
            numbered_clip(raw, frames=count, size=size, gop=12, container="h264", first_number=part * count, bframes=0)
            raw.seek(0)
            with av.open(raw) as reader:
                stream = stream or writer.add_stream_from_template(reader.streams.video[0], opaque=True)
                for place, packet in enumerate(packet for packet in reader.demux(0) if packet.size):
                    packet.time_base, packet.stream = Fraction(1, 25), stream
                    packet.pts = packet.dts = part * count + place
                    writer.mux(packet)


def _damaged(path: Path, frames: int) -> None:
    """Noise over the last two thirds of packet 15, well inside its slice data."""
    noise = np.random.default_rng(4).bytes(1 << 16)

    def change(packet: Any, place: int) -> Any:
        if place == 15:
            data = bytes(packet)
            packet.update(data[: len(data) // 3] + noise[: len(data) - len(data) // 3])
        return packet

    remuxed(path, frames, change, via="mp4", codec="mpeg2video", bframes=0)


def _half_lost(path: Path, frames: int, codec: str) -> None:
    """Noise over the second half of packet 15, put there in the file, so that no muxer stumbles over it."""
    numbered_clip(path, frames=frames, size=SIZE, gop=12, codec=codec)
    with av.open(str(path)) as reader:
        packet = [bytes(packet) for packet in reader.demux(0)][15]
    data = path.read_bytes()
    assert data.count(packet) == 1
    half = len(packet) // 2
    noise = np.random.default_rng(4).bytes(len(packet) - half)
    path.write_bytes(data.replace(packet, packet[:half] + noise))


def _chunk_lost(path: Path, frames: int) -> None:
    """Rubbish in place of the head of AVI's 16th picture: 00dc and its length."""
    numbered_clip(path, frames=frames, size=SIZE, gop=12, codec="mpeg4", bframes=0)
    data = path.read_bytes()
    at = [match.start() for match in re.finditer(b"00dc", data[: data.index(b"idx1")])][15]
    path.write_bytes(data[:at] + bytes(range(1, 33)) + data[at + 32 :])


def _head_lost(path: Path, frames: int) -> None:
    """Rubbish in place of the head of the 16th picture: a block of Matroska, a tag of FLV."""
    numbered_clip(path, frames=frames, size=SIZE, gop=12, bframes=0)
    with av.open(str(path)) as reader:
        packet = [bytes(packet) for packet in reader.demux(0)][15]
    data = path.read_bytes()
    at = data.index(packet)
    path.write_bytes(data[: at - 16] + bytes(range(100, 116)) + data[at:])


def _index_damaged(path: Path, frames: int) -> None:
    """The table of chunks of an mp4 says that the last of them holds one picture fewer than there are."""
    numbered_clip(path, frames=frames, size=SIZE, gop=12, audio="aac")
    data = bytearray(path.read_bytes())
    at = data.index(b"stsc") + 8
    rows = int.from_bytes(data[at : at + 4], "big")
    held = at + 4 + 12 * (rows - 2) + 7
    data[held] -= 1
    path.write_bytes(data)


def _fragment_damaged(path: Path, frames: int) -> None:
    """The second fragment holds no track any more, but something that nobody knows."""
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    numbered_clip(path, frames=frames, size=SIZE, gop=12, container_options=flags)
    parts = path.read_bytes().split(b"traf")
    path.write_bytes(b"traf".join(parts[:2]) + b"trag" + b"traf".join(parts[2:]))


def _padded(path: Path, frames: int) -> None:
    """Zeros behind the last tag."""
    numbered_clip(path, frames=frames, size=SIZE, gop=12)
    path.write_bytes(path.read_bytes() + bytes(5000))


def _pes_lost(path: Path, frames: int) -> None:
    """Rubbish in place of the start code of the 15th picture's PES packet, the last of its GOP."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=15, container="mpegts", codec="mpeg2video", bframes=0)
    data = raw.getvalue()
    at = [match.start() for match in re.finditer(b"\0\0\1\xe0", data)][14]
    path.write_bytes(data[:at] + b"\1\2\3\4" + data[at + 4 :])


def _lost_on_the_way(path: Path, frames: int) -> None:
    """Every 40th packet of a transport stream is missing, as over a bad line."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mpegts", bframes=0)
    data = raw.getvalue()
    path.write_bytes(b"".join(data[at : at + 188] for at in range(0, len(data), 188) if at // 188 % 40 != 39))


def _starts_late(path: Path, frames: int) -> None:
    """A recording that starts in the middle of a GOP: the first 4 packets, the key packet among them, are missing."""
    remuxed(path, frames, lambda packet, place: packet if place >= 4 else None, via="mpegts", bframes=0, gop=10)


def _starts_open(path: Path, frames: int) -> None:
    """What a cut without coding anew leaves of a video with open GOPs: the pictures before its first key picture have
    times before 0, and refer to what is gone."""
    shift = 0

    def change(packet: Any, place: int) -> Any:
        nonlocal shift
        if not shift and not (place and packet.is_keyframe):
            return None
        shift = shift or packet.pts
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    options = {"avoid_negative_ts": "disabled"}
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, options=OPEN_X264, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w", container_options=options) as writer:
        copy_streams(reader, writer, change)


CASES = (
    Case(name="two_sizes", group=GROUP, comes="a size that changes in the middle",
         gives="an error with the time and both sizes", suffix=".h264", make=_two_sizes, error="160x96 to 192x128"),
    Case(name="two_sizes_searched", group=GROUP, comes="another size from the middle on, in a container with times",
         gives="the same, before any work", suffix=".mkv", frames=160, make=_two_sizes_remuxed,
         error="input .*160x96 to 192x128 at 00:00:03"),
    Case(name="joined", group=GROUP, comes="MPEG-TS files that were joined with `cat`",
         gives="an error: the clock jumps back", suffix=".ts", frames=160, make=_joined, error="clock jumps back"),
    Case(name="damaged", group=GROUP, comes="a damaged picture", gives="an error with its time", suffix=".mkv",
         make=_damaged, error="on_corrupt"),
    Case(name="damaged_conceal", group=GROUP, comes="the same with on_corrupt=conceal",
         gives="every time filled once; what was concealed is said", suffix=".mkv", make=_damaged,
         options={"on_corrupt": "conceal"}, numbers=[*range(15), *[-1] * 9, *range(24, 30)], notes=("conceal",)),
    *(
        Case(name=f"half_lost_{codec}", group=GROUP, comes=f"a half of a packet lost, {name}, on_corrupt=conceal",
             gives="every time filled once", suffix=".mkv", options={"on_corrupt": "conceal"},
             make=partial(_half_lost, codec=codec), numbers=[*range(12), *[-1] * 12, *range(24, 30)])
        for codec, name in (("libx264", "H.264"), ("libx265", "HEVC"), ("libvpx-vp9", "VP9"), ("libsvtav1", "AV1"),
                            ("mpeg4", "MPEG-4"))
    ),
    Case(name="chunk_lost", group=GROUP, comes="AVI in which the head of a picture is damaged",
         gives="an error that counts what can be found", suffix=".avi", make=_chunk_lost,
         error="of its 30 pictures can be found"),
    *(
        Case(name=f"head_lost_{suffix[1:]}", group=GROUP, comes=f"{name} in which the head of a picture is damaged",
             gives="an error with its place", suffix=suffix, make=_head_lost, error="begins nothing that its container")
        for name, suffix in (("mkv or webm", ".mkv"), ("FLV", ".flv"))
    ),
    Case(name="index_damaged", group=GROUP, comes="mp4 or mov whose index contradicts itself",
         gives="an error that says in what", suffix=".mp4", make=_index_damaged, error="its index is damaged"),
    Case(name="fragment_damaged", group=GROUP, comes="fragmented mp4 in which a fragment is damaged",
         gives="an error with its place", suffix=".mp4", make=_fragment_damaged, error="begins nothing that"),
    Case(name="padded", group=GROUP, comes="FLV with zeros behind its end", gives="every frame (said)", suffix=".flv",
         make=_padded, tolerance=HALF_MS, notes=("are zeros",)),
    Case(name="pes_lost", group=GROUP, comes="MPEG-TS in which the head of a picture is damaged",
         gives="the others, exact times (said)", suffix=".ts", make=_pes_lost,
         numbers=[*range(14), *range(15, 30)], notes=("head of a packet is damaged",),
         times=lambda count: [Fraction(i + (i > 13), 25) for i in range(count)]),
    Case(name="lost_on_the_way", group=GROUP, comes="MPEG-TS with lost packets", gives="an error with its time",
         suffix=".ts", make=_lost_on_the_way, error="on_corrupt"),
    Case(name="starts_late", group=GROUP, comes="a recording that starts between key frames",
         gives="every frame from the first key frame on", suffix=".ts", output=".ts", make=_starts_late,
         numbers=range(10, 30)),
    Case(name="starts_open", group=GROUP, comes="a cut without coding anew, which begins at an open GOP",
         gives="every frame that is whole", suffix=".mkv", frames=60, make=_starts_open, numbers=range(27, 60)),
)  # fmt: skip
