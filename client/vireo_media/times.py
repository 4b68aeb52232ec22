# SPDX-License-Identifier: MIT
"""Time stamps: the PACKET_TIMING rows of the contract, and how a time is shown to people.

A row is four int64: pts, dts, duration, flags, the first three in the stream's time base.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "DTS",
    "DURATION",
    "FLAGS",
    "FLAG_CORRUPT",
    "FLAG_DISCARD",
    "FLAG_KEY",
    "PTS",
    "UNKNOWN",
    "CodedPacket",
    "Timing",
    "clock",
    "timing_rows",
]

Timing = npt.NDArray[np.int64]
"""PACKET_TIMING, (N, 4) int64: pts, dts, duration, flags."""

UNKNOWN = -(2**63)
"""An unknown pts or dts: libavutil's AV_NOPTS_VALUE."""

PTS, DTS, DURATION, FLAGS = range(4)
"""Columns of PACKET_TIMING."""

FLAG_KEY = 1
FLAG_CORRUPT = 2
FLAG_DISCARD = 4
"""libavcodec's AV_PKT_FLAG_*. DISCARD: decode the packet, do not give its frame out (edit lists)."""


class CodedPacket(NamedTuple):
    """One demuxed packet: its bytes and its row of PACKET_TIMING."""

    data: bytes
    pts: int
    dts: int
    duration: int
    flags: int


def timing_rows(rows: list[tuple[int, int, int, int]]) -> Timing:
    """`rows` as one (N, 4) int64 array; N may be 0."""
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def clock(seconds: Fraction | float) -> str:
    """`seconds` as '00:01:12.480', the way messages name a place in the video."""
    sign = "-" if seconds < 0 else ""
    milliseconds = round(abs(Fraction(seconds)) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
