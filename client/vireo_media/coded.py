# SPDX-License-Identifier: MIT
"""What a service gave back for one segment, ready to be muxed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from vireo_media.errors import ExchangeError
from vireo_media.times import PTS, UNKNOWN, Timing, clock

__all__ = ["CodedSegment", "check_joinable"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedSegment:
    """The coded frames of one segment.

    `output` is REPORT.output: codec, extradata (base64), width, height, pixel_format, time_base, sample_aspect_ratio,
    rotation, color, hdr, frame_rate. `timing` is (M, 4) int64 in the file's order, in the output's time base.
    `packets` gives the M packets in the same order, as often as it is called.
    """

    index: int
    output: Mapping[str, Any]
    timing: Timing
    packets: Callable[[], Iterable[bytes]]

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick."""
        numerator, denominator = self.output["time_base"]
        return Fraction(numerator, denominator)


def check_joinable(segments: Sequence[CodedSegment]) -> None:
    """Refuse segments that would not play as one stream: other headers, unknown or overlapping times.

    Raises ExchangeError.
    """
    end: int | None = None
    for segment in segments:
        first = segments[0].output
        if segment.output != first:
            changed = sorted(key for key in {*segment.output, *first} if segment.output.get(key) != first.get(key))
            raise ExchangeError(
                f"joining: segment {segment.index!r} has another {', '.join(changed)} than segment "
                f"{segments[0].index!r}; "
                "allowed is one coded format for all, or the join does not play; this is a fault of the service: "
                "report it"
            )
        if not len(segment.timing):
            continue
        pts = segment.timing[:, PTS]
        if int(pts.min()) == UNKNOWN:
            raise ExchangeError(
                f"joining: segment {segment.index!r} has frames without a time; allowed are known times only; "
                "this is a fault of the service: report it"
            )
        if end is not None and int(pts.min()) <= end:
            at = clock(int(pts.min()) * segment.time_base)
            raise ExchangeError(
                f"joining: segment {segment.index!r} begins at {at}, before the one before it ends; allowed are "
                f"segments that "
                "follow each other; this is a fault of the service: report it"
            )
        end = int(pts.max())
