# SPDX-License-Identifier: MIT
"""Spare frames: which rows lie between the sources of a stream, and which of them are to be filled from what.

# Note [What may be decided where]
A stream may be one segment of many, and the same video must give the same pictures however it is cut. So whatever is
decided about a picture follows from its neighbours that every way of cutting shows: the next segment's first picture
is decoded with each segment, the one before it is not. Segments begin with key packets; so a picture that came as one
is never taken for a repeat of the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from vireo_media.interpolation import MOST_SLOTS, FrameRule, Interval

from vireo_server.formats import GENERATED, REFERENCE, SOURCE, SPARE
from vireo_server.likeness import Look

_P = TypeVar("_P")


@dataclass(frozen=True, eq=False)
class Source(Generic[_P]):
    """A decoded picture: its time and duration in the source's ticks, what it is compared by, and its pixels, in
    whatever form the caller keeps them. `is_ours`: this stream gives it out; else it was decoded for the others."""

    pts: int
    duration: int
    is_key: bool
    is_ours: bool
    look: Look
    pixels: _P


@dataclass(frozen=True, eq=False)
class Row(Generic[_P]):
    """A row of TIMING to be: `pts` and `duration` in the output's ticks, `kind` as there.

    A source or a reference has its pixels in `left` if a neighbour is made of it. A spare row lies `share` (0..1) of
    the way from `left` to `right`. A generated row repeats the source before it.
    """

    pts: int
    duration: int
    kind: int
    left: _P | None = None
    right: _P | None = None
    share: Fraction = Fraction(0)


class Slots(Generic[_P]):
    """The rows of one stream: pictures in, in the order in which they are shown; rows out, one picture later.

    Args:
        rule: what the caller chose.
        base: seconds a tick of the source.
        origin: the pts of the video's first picture; None: of the first one given.
    """

    def __init__(self, rule: FrameRule, *, base: Fraction, origin: int | None) -> None:
        self._rule, self._base, self._origin = rule, base, origin
        self._waiting: list[Source[_P]] = []
        self._repeats = False
        self._before: int | None = None

    @property
    def waiting(self) -> list[Source[_P]]:
        """The pictures of which no row was given yet."""
        return self._waiting

    def add(self, source: Source[_P]) -> Iterator[Row[_P]]:
        """The rows that one more picture decides."""
        if self._origin is None:
            self._origin = source.pts
        self._waiting.append(source)
        yield from self._decided(is_end=False)

    def finish(self) -> Iterator[Row[_P]]:
        """What is left when no picture follows: the last source and the times up to its end; or, where pictures of
        others were decoded too, the first of them, which the last slots need."""
        yield from self._decided(is_end=True)
        for last in self._waiting[:1]:
            if last.is_ours:
                end = self._rule.end(last.pts, last.duration, before=self._before)
                interval = self._interval(last.pts, end, is_last=True)
                yield self._own(last, interval)
                yield from self._repeated(interval)
            else:
                position = self._interval(last.pts, last.pts + 1).left_position
                yield Row(position, 0, REFERENCE, left=last.pixels)
        self._waiting.clear()

    def _decided(self, *, is_end: bool) -> Iterator[Row[_P]]:
        while len(self._waiting) > 1 and self._waiting[0].is_ours:
            left, right = self._waiting[:2]
            repeats = self._is_repeat(right, left)
            if repeats and not self._repeats and self._rule.duplicates == "bridge" and not is_end:
                if len(self._waiting) == 2:
                    return
                after = self._waiting[2]
                if not self._is_repeat(after, right) and not left.look.is_cut(after.look):
                    yield from self._bridge(left, right, after)
                    self._step(2, repeats=False)
                    continue
            yield from self._between(left, right, repeats=repeats)
            self._step(1, repeats=repeats)

    def _step(self, count: int, *, repeats: bool) -> None:
        self._before, self._repeats = self._waiting[count - 1].pts, repeats
        del self._waiting[:count]

    @staticmethod
    def _is_repeat(source: Source[_P], before: Source[_P]) -> bool:
        return not source.is_key and source.look.repeats(before.look)

    def _between(self, left: Source[_P], right: Source[_P], *, repeats: bool) -> Iterator[Row[_P]]:
        """One source, and the slots up to the next."""
        interval = self._interval(left.pts, right.pts)
        if not repeats and len(interval.between) <= MOST_SLOTS and not left.look.is_cut(right.look):
            yield self._own(left, interval)
            yield from self._filled(interval, left, right)
        elif repeats or self._rule.cuts == "repeat":
            yield self._own(left, interval)
            yield from self._repeated(interval)
        else:
            yield self._own(left, interval, steps=1 + len(interval.between))

    def _bridge(self, left: Source[_P], repeat: Source[_P], right: Source[_P]) -> Iterator[Row[_P]]:
        """Two sources of which the second repeats the first: all up to the third is made of the first and the third."""
        first, second = self._interval(left.pts, repeat.pts), self._interval(repeat.pts, right.pts)
        whole = self._interval(left.pts, right.pts)
        yield self._own(left, first)
        yield from self._filled(first, left, right, across=whole)
        yield Row(second.left_position, 0, REFERENCE)
        own = () if second.left is None else (second.left,)
        yield from self._filled(second, left, right, across=whole, times=(*own, *second.between))

    @staticmethod
    def _own(source: Source[_P], interval: Interval, *, steps: int = 1) -> Row[_P]:
        if interval.left is None:
            return Row(interval.left_position, 0, REFERENCE, left=source.pixels)
        return Row(interval.left, steps * interval.step, SOURCE, left=source.pixels)

    @staticmethod
    def _filled(
        interval: Interval,
        left: Source[_P],
        right: Source[_P],
        *,
        across: Interval | None = None,
        times: tuple[int, ...] | None = None,
    ) -> Iterator[Row[_P]]:
        for tick in interval.between if times is None else times:
            share = (across or interval).share(tick)
            yield Row(tick, interval.step, SPARE, left=left.pixels, right=right.pixels, share=share)

    @staticmethod
    def _repeated(interval: Interval) -> Iterator[Row[_P]]:
        yield from (Row(tick, interval.step, GENERATED) for tick in interval.between)

    def _interval(self, left: int, right: int, *, is_last: bool = False) -> Interval:
        assert self._origin is not None
        return self._rule.interval(left, right, origin=self._origin, base=self._base, is_last=is_last)
