# SPDX-License-Identifier: MIT
"""What a service gave back for one segment, ready to be muxed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from vireo_media.dts import reorder_depth
from vireo_media.errors import ExchangeError, OutputError
from vireo_media.times import DURATION, PTS, UNKNOWN, Timing, clock

__all__ = ["CodedSegment", "Joined", "join"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedSegment:
    """The coded frames of one segment.

    `output` is REPORT.output: codec, extradata (base64), width, height, pixel_format, time_base, sample_aspect_ratio,
    rotation, color, hdr, frame_rate. `packets` gives the M packets in the file's order, and `timing` their rows, (M, 4)
    int64, in the output's time base; both as often as they are called, so that neither of a long video is in memory.
    """

    index: int
    output: Mapping[str, Any]
    timing: Callable[[], Timing]
    packets: Callable[[], Iterable[bytes]]

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick."""
        numerator, denominator = self.output["time_base"]
        return Fraction(numerator, denominator)


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Segments as the one stream that they are together.

    Times are in ticks of `time_base`: `first` and `last` shown picture's pts, `end` of the last one, `step` a frame's
    usual duration. `depth` is the largest `reorder_depth`. `in_milliseconds`: every time is a whole number of them.
    """

    segments: Sequence[CodedSegment]
    output: Mapping[str, Any]
    time_base: Fraction
    frames: int
    first: int
    end: int
    step: int
    depth: int
    in_milliseconds: bool


def join(segments: Sequence[CodedSegment]) -> Joined:
    """What segments are together. Those that hold no frame are left out.

    Raises ExchangeError for segments that would not play as one stream: other headers, unknown or overlapping times;
    OutputError where no frame is in any.
    """
    kept: list[CodedSegment] = []
    frames = depth = step = 0
    first: int | None = None
    last = end = UNKNOWN
    in_milliseconds = True
    for segment in segments:
        _check_output(segment, segments[0])
        timing = segment.timing()
        if not len(timing):
            continue
        pts = timing[:, PTS]
        _check_times(segment, begin=int(pts.min()), after=last)
        if first is None:
            first, step = int(pts.min()), int(timing[0, DURATION])
        kept.append(segment)
        frames += len(timing)
        last = int(pts.max())
        end = max(end, int((pts + timing[:, DURATION]).max()))
        depth = max(depth, reorder_depth(pts.tolist()))
        base = segment.time_base
        in_milliseconds = in_milliseconds and not (pts * (1000 * base.numerator) % base.denominator).any()
    if first is None:
        raise OutputError(
            "output: no frame came back, so there is nothing to write; check that the source has pictures"
        )
    return Joined(
        segments=kept,
        output=kept[0].output,
        time_base=kept[0].time_base,
        frames=frames,
        first=first,
        end=end,
        step=step,
        depth=depth,
        in_milliseconds=in_milliseconds,
    )


def _check_output(segment: CodedSegment, first: CodedSegment) -> None:
    if segment.output != first.output:
        keys = {*segment.output, *first.output}
        changed = sorted(key for key in keys if segment.output.get(key) != first.output.get(key))
        raise ExchangeError(
            f"joining: segment {segment.index!r} has another {', '.join(changed)} than segment {first.index!r}; "
            "allowed is one coded format for all, or the join does not play; this is a fault of the service: report it"
        )


def _check_times(segment: CodedSegment, *, begin: int, after: int) -> None:
    if begin == UNKNOWN:
        raise ExchangeError(
            f"joining: segment {segment.index!r} has frames without a time; allowed are known times only; "
            "this is a fault of the service: report it"
        )
    if begin <= after:
        raise ExchangeError(
            f"joining: segment {segment.index!r} begins at {clock(begin * segment.time_base)}, before the one before "
            "it ends; allowed are segments that follow each other; this is a fault of the service: report it"
        )
