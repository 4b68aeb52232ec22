# SPDX-License-Identifier: MIT
"""At which times a service that interpolates shows pictures: the one rule that server and client share.

# Note [When a source counts as being on the grid]
With `rate` the times are k / rate from the first picture. Containers that keep milliseconds round the times of their
pictures, so one that is half a tick (at most half a millisecond) off its place is taken for being there, and shown
there. Likewise the end: a last picture that a tick (at most a millisecond) more would fill counts as whole.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from vireo_media.description import StreamDescription
from vireo_media.errors import InputError, OptionError

__all__ = ["MOST_SLOTS", "OPTIONS", "RATIOS", "FrameRule", "Interval"]

RATIOS = (2, 3, 4)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "ratio": {"type": "integer", "minimum": min(RATIOS), "maximum": max(RATIOS)},
    "rate": {"type": ["number", "string"]},
    "cuts": {"type": "string", "enum": ["repeat", "empty"]},
    "duplicates": {"type": "string", "enum": ["bridge", "keep"]},
}
"""What a caller of a service with slots may set, as JSON Schemas."""
MOST_SLOTS = 16
"""Pictures between two sources. More would have to be made for a pause, not a motion: the left source is repeated."""

_MOST_RATE = 1000
_MOST_TICKS = 2**31 - 1
_HALF_MILLISECOND = Fraction(1, 2000)
_NEARLY = Fraction(999, 1000)

Cuts = Literal["repeat", "empty"]
Duplicates = Literal["bridge", "keep"]


@dataclass(frozen=True)
class Interval:
    """The times from one source up to the next, in ticks of the output's time base.

    `left` is the source's own time, None where the grid has none there; `between` are those of the pictures after it;
    `left_position` and `right_position` are where the two sources lie, `step` lies between two times; all in ticks too.
    """

    left: int | None
    between: tuple[int, ...]
    left_position: int
    right_position: int
    step: int

    def share(self, tick: int) -> Fraction:
        """How far from the left source to the right one a time lies, in 0..1."""
        return Fraction(tick - self.left_position, self.right_position - self.left_position)


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """What a caller chose.

    `ratio` divides every interval between two sources; or `rate` is the frame rate of an even grid of times. `cuts`:
    what becomes of times inside a scene cut, "repeat" the picture before or leave them "empty". `duplicates`: a source
    that only repeats the one before is replaced by an interpolated picture ("bridge"), or kept.

    Raises OptionError that names the option and what is allowed.
    """

    ratio: int | None = 2
    rate: Fraction | None = None
    cuts: Cuts = "repeat"
    duplicates: Duplicates = "bridge"

    def __post_init__(self) -> None:
        if self.rate is None and self.ratio not in RATIOS:
            raise _wrong("ratio", self.ratio, f"{', '.join(map(str, RATIOS))}; for other ratios give a rate")
        if self.rate is not None and not 1 <= self.rate <= _MOST_RATE:
            raise _wrong("rate", str(self.rate), f"1..{_MOST_RATE} frames a second")
        for name, value, allowed in (
            ("cuts", self.cuts, get_args(Cuts)),
            ("duplicates", self.duplicates, get_args(Duplicates)),
        ):
            if value not in allowed:
                raise _wrong(name, value, " or ".join(map(repr, allowed)))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "FrameRule":
        """The rule of a stream's options; ratio 2 where they say nothing. Raises OptionError."""
        if "ratio" in options and "rate" in options:
            raise OptionError(
                f"options 'ratio' and 'rate' are both given ({options['ratio']!r} and {options['rate']!r}); allowed is "
                "one of them; remove the other"
            )
        chosen: dict[str, Any] = {key: options[key] for key in ("cuts", "duplicates") if key in options}
        if "rate" in options:
            return cls(ratio=None, rate=_rate(options["rate"]), **chosen)
        ratio = options.get("ratio", 2)
        if isinstance(ratio, str) and ratio.isdecimal():
            ratio = int(ratio)
        if isinstance(ratio, bool) or not isinstance(ratio, int):
            raise _wrong("ratio", ratio, f"{', '.join(map(str, RATIOS))}; for other ratios give a rate")
        return cls(ratio=ratio, **chosen)

    def check_stream(self, stream: StreamDescription) -> None:
        """Refuse a source that the rule cannot be applied to. Raises OptionError, InputError."""
        self.check(time_base=stream.time_base, frame_rate=stream.frame_rate)

    def check(self, *, time_base: tuple[int, int], frame_rate: tuple[int, int] | None) -> None:
        """The same for a stream's time base and frame rate. Raises OptionError, InputError."""
        if self.rate is not None and frame_rate is not None and self.rate < Fraction(*frame_rate) * _NEARLY:
            raise OptionError(
                f"option 'rate' cannot be {str(self.rate)!r}: the source has {Fraction(*frame_rate)} frames a second, "
                "and pictures are only added; allowed is its rate or more"
            )
        base = self.time_base(Fraction(*time_base))
        if base.denominator > _MOST_TICKS:
            raise InputError(
                f"the source counts time in {time_base[0]}/{time_base[1]} s, and with "
                f"{f'rate {self.rate}' if self.rate is not None else f'ratio {self.ratio}'} the output would have to "
                f"count in {base} s; allowed are {_MOST_TICKS} ticks a second; copy the source to another container"
            )

    def time_base(self, base: Fraction) -> Fraction:
        """Seconds a tick of the output, for a source that has `base`."""
        if self.rate is None:
            assert self.ratio is not None
            return base / self.ratio
        return Fraction(1, math.lcm(base.denominator, self.rate.numerator))

    def frame_rate(self, frame_rate: Fraction | None) -> Fraction | None:
        """The output's frame rate, for the source's."""
        if self.rate is not None:
            return self.rate
        return None if frame_rate is None or self.ratio is None else frame_rate * self.ratio

    def interval(self, left: int, right: int, *, origin: int, base: Fraction, is_last: bool = False) -> Interval:
        """The times from the source at `left` up to `right`, both in ticks of `base`, `origin` the first source's.

        With `is_last`, `right` is the end of the last source.
        """
        if self.rate is None:
            assert self.ratio is not None
            first, step = left * self.ratio, right - left
            between = tuple(first + step * j for j in range(1, self.ratio))
            return Interval(first, between, first, right * self.ratio, step)
        ticks = base / self.time_base(base)  # A whole number: the output's base divides the source's.
        slack = min(base / 2, _HALF_MILLISECOND) * self.rate
        begin, end = ((at - origin) * base * self.rate for at in (left, right))
        place = round(begin)
        is_on_grid = abs(begin - place) <= slack
        place = place + 1 if is_on_grid else math.ceil(begin)
        # A source that is on the grid, in its slack, belongs to the interval that it begins.
        last = math.floor(end + 2 * slack) if is_last else math.ceil(end - slack)
        return Interval(
            self._tick(place - 1, origin, base) if is_on_grid else None,
            tuple(self._tick(k, origin, base) for k in range(place, last)),
            int(left * ticks),
            int(right * ticks),
            int(1 / self.rate / self.time_base(base)),
        )

    def end(self, last: int, duration: int, *, before: int | None) -> int:
        """Where the last source ends; one without a duration lasts as long as the one `before` it, else a tick."""
        if duration > 0:
            return last + duration
        return last + max(1, last - before if before is not None else 1)

    def frames(self, sources: int) -> int | None:
        """How many pictures come of so many sources; None where it takes their times to tell, or the pictures."""
        return sources * self.ratio if self.ratio is not None and self.cuts == "repeat" else None

    def times(self, sources: Sequence[int], *, last_duration: int, base: Fraction) -> Iterator[tuple[int, bool]]:
        """Every time, in ticks of the output, and whether it is a source's; cuts repeated.

        `sources` are the sources' times in ticks of `base`, ascending.
        """
        before = sources[-2] if len(sources) > 1 else None
        ends = [*sources[1:], self.end(sources[-1], last_duration, before=before)]
        for place, (left, right) in enumerate(zip(sources, ends, strict=True)):
            is_last = place == len(sources) - 1
            found = self.interval(left, right, origin=sources[0], base=base, is_last=is_last)
            if found.left is not None:
                yield found.left, True
            yield from ((tick, False) for tick in found.between)

    def _tick(self, place: int, origin: int, base: Fraction) -> int:
        assert self.rate is not None
        tick = (origin * base + place / self.rate) / self.time_base(base)
        return int(tick)


_NUMBER = re.compile(r"(?P<n>\d{1,9})/(?P<d>\d{1,9})|\d{1,6}(\.\d{1,9})?")


def _rate(value: Any) -> Fraction:
    """A rate as people write it: 60, "60000/1001", 59.94."""
    text = str(value).strip()
    found = _NUMBER.fullmatch(text)
    if isinstance(value, bool) or found is None or (found["d"] is not None and not int(found["d"])):
        raise _wrong("rate", value, "a number of frames a second, such as 60, 59.94 or 60000/1001")
    exact = Fraction(text)
    # 23.976, 29.97 and 59.94 are how everybody writes 24, 30 and 60 times 1000/1001.
    whole = Fraction(round(exact * 1001 / 1000) * 1000, 1001)
    is_short = "." in text and abs(exact - whole) < Fraction(1, 1000)
    return whole if is_short else exact


def _wrong(name: str, value: object, allowed: str) -> OptionError:
    return OptionError(f"option {name!r} cannot be {value!r}; allowed is {allowed}")
