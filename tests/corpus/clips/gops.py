# SPDX-License-Identifier: MIT
"""Clips of each kind of GOP."""

from pathlib import Path

import av
import av.logging
from av.bitstream import BitStreamFilterContext
from vireo_media.testing import numbered_clip

from .case import QUIET, SIZE, Case

GROUP = "GOPs"
OPEN_X264 = {"x264-params": "open-gop=1:keyint=27:b-adapt=0:bframes=3:scenecut=0"}
_OPEN_X265 = {"x265-params": f"keyint=27:b-adapt=0:bframes=3:{QUIET}"}
PYRAMID = {"x264-params": "keyint=30:bframes=7:b-pyramid=normal:b-adapt=0:scenecut=0"}


def _no_reorder_depth(path: Path, frames: int) -> None:
    """`bitstream_restriction_flag`, the last one of x264's SPS, is 0, and what it announced is gone. Encoders in
    hardware leave it out; a decoder that expects no reordering then gives pictures before it has those that come first.
    """
    numbered_clip(path, frames=frames, size=SIZE, options=PYRAMID)
    with av.open(str(path)) as reader, av.logging.Capture(local=True) as lines:
        stream = reader.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        av.logging.set_level(av.logging.VERBOSE)
        BitStreamFilterContext("trace_headers", stream)
        av.logging.set_level(None)
    (flag,) = (int(line.split()[0]) for _, _, line in lines if " bitstream_restriction_flag " in line)
    sps = extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]
    flag += 8 * sps.count(b"\0\0\3")  # Bytes that keep start codes out are not counted there.
    bits = f"{int.from_bytes(sps, 'big'):0{len(sps) * 8}b}"
    bits = f"{bits[:flag]}01".ljust(len(bits), "0")  # The flag, the stop bit, and zeros that nobody reads.
    data = path.read_bytes()
    assert bits.count("1") > 20
    assert data.count(sps) == 1
    path.write_bytes(data.replace(sps, int(bits, 2).to_bytes(len(sps), "big")))


CASES = (
    Case(name="one_gop", group=GROUP, comes="one GOP", suffix=".mp4", frames=60, clip={"gop": 250}),
    Case(name="pyramid", group=GROUP, comes="a B-pyramid, 7 deep", suffix=".mp4", frames=60,
         clip={"options": PYRAMID}),
    Case(name="open_h264", group=GROUP, comes="open GOPs, H.264", gives="every frame, cut into segments",
         suffix=".mp4", frames=160, clip={"options": OPEN_X264}, segments=2),
    Case(name="open_hevc", group=GROUP, comes="open GOPs, HEVC (x265's default)",
         gives="every frame, cut into segments", suffix=".mkv", frames=160,
         clip={"codec": "libx265", "options": _OPEN_X265}, segments=2),
    Case(name="no_reorder_depth", group=GROUP, comes="a B-pyramid in H.264 that does not say how deep it is",
         suffix=".mkv", make=_no_reorder_depth, frames=60),
    Case(name="refresh", group=GROUP, comes="intra refresh: one key frame for all", suffix=".mp4", frames=60,
         clip={"options": {"x264-params": "intra-refresh=1:keyint=25"}}),
)  # fmt: skip
