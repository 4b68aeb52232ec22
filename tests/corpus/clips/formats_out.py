# SPDX-License-Identifier: MIT
"""What can be written."""

from fractions import Fraction

from .case import HALF_MS, Case
from .times import jitter

GROUP = "formats out"


CASES = (
    Case(name="to_hevc", group=GROUP, comes="to HEVC, mp4 or mkv", suffix=".mp4", options={"codec": "hevc"}),
    Case(name="to_av1", group=GROUP, comes="to AV1, WebM or mp4", suffix=".mp4", output=".webm",
         tolerance=HALF_MS),
    Case(name="to_vp9", group=GROUP, comes="to VP9, mkv", suffix=".mp4", output=".mkv", options={"codec": "vp9"},
         tolerance=HALF_MS),
    Case(name="to_ffv1", group=GROUP, comes="to FFV1, lossless", suffix=".mp4", output=".mkv",
         options={"codec": "ffv1"}),
    Case(name="to_hls", group=GROUP, comes="to HLS: out.m3u8",
         gives="a playlist and fMP4 fragments of 4 s that begin at key frames", suffix=".mp4", frames=110,
         output=".m3u8", clip={"gop": 250, "audio": "aac"}),
    Case(name="vfr_to_hls", group=GROUP, comes="the same, of a variable frame rate",
         gives="every frame, exact times", suffix=".mkv", frames=160, output=".m3u8",
         clip={"pts": jitter(160), "time_base": Fraction(1, 1000)},
         times=lambda count: [Fraction(tick, 1000) for tick in jitter(count)]),
    Case(name="keyint", group=GROUP, comes="keyint=0.4", gives="a key frame every 0.4 s", suffix=".mp4", frames=60,
         clip={"gop": 250}, options={"keyint": 0.4}),
)  # fmt: skip
