# SPDX-License-Identifier: MIT
"""Which frames of a video are wanted: all, key frames, every n-th, n a second, or one from each of k equal parts.

    Sampling.parse("rate=2")      # text, as STREAM, configurations and command lines have it

decode gives the frames that the rule names and no others. Frames are counted in the order in which they are shown.

- `key`: what the container marks as a key packet; the others are not even decoded.
- `every=n`: frames 0, n, 2n ...
- `rate=r`: for k = 0, 1, 2 ... the first frame at or after k / r seconds from the first; r may be 0.5 or 1/2. A frame
  is given once, however many k it answers, so gaps of a variable rate are not filled.
- `segments=k`: frame int((i + 0.5) * N / k) for i = 0 ... k - 1, of N frames (Wang and others, Temporal Segment
  Networks, 2016, as mmaction2 samples for its tests); with N < k the same frame is given more than once.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from vireo_media.errors import InputError, OptionError
from vireo_media.times import FLAG_KEY, UNKNOWN

__all__ = ["ALLOWED", "Sampler", "Sampling"]

Rule = Literal["all", "key", "every", "rate", "segments"]

ALLOWED = "all, key, every=N, rate=N (frames a second; also 0.5 or 1/2) or segments=N (at most 64)"
"""The rules in words, for messages."""

_MOST_SEGMENTS = 64
"""The end of a stream may give all of them at once."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """One rule with its number. Raises OptionError where the number cannot be."""

    rule: Rule = "all"
    number: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        whole = self.number.denominator == 1
        most = _MOST_SEGMENTS if self.rule == "segments" else None
        fits = self.number > 0 and (whole or self.rule == "rate") and (most is None or self.number <= most)
        if self.rule not in get_args(Rule) or not fits:
            raise OptionError(f"sample cannot be {str(self)!r}; allowed is {ALLOWED}")

    def __str__(self) -> str:
        return self.rule if self.rule in ("all", "key") else f"{self.rule}={self.number}"

    @classmethod
    def parse(cls, text: str) -> "Sampling":
        """The rule that a text names. Raises OptionError."""
        rule, separator, number = text.partition("=")
        needs_number = rule in ("every", "rate", "segments")
        try:
            if bool(separator) != needs_number:
                raise ValueError
            return cls(rule=rule, number=Fraction(number if needs_number else 1))  # type: ignore[arg-type]
        except (ValueError, ZeroDivisionError) as error:
            raise OptionError(f"sample cannot be {text!r}; allowed is {ALLOWED}") from error

    @property
    def is_local(self) -> bool:
        """Whether a part of the video tells which of its frames are wanted, so that segments change nothing."""
        return self.rule in ("all", "key")

    @property
    def needs_total(self) -> bool:
        """Whether the number of the video's frames must be known before the first."""
        return self.rule == "segments"


class Sampler:
    """One stream's choice, frame by frame.

    `time_base` is the unit of the stream's times in seconds, `frames_total` how many frames will come. Raises
    InputError where the rule needs their number and it is not known.
    """

    def __init__(self, sampling: Sampling, *, time_base: Fraction, frames_total: int | None = None) -> None:
        self._rule, self._number = sampling.rule, sampling.number
        self._ticks = sampling.number * time_base
        self._first: int | None = None
        self._slot = -1
        self._count = 0
        self._named: deque[int] = deque()
        if sampling.needs_total:
            if not frames_total:
                raise InputError(
                    f"sample {str(sampling)!r} needs the number of frames and STREAM says frames_total "
                    f"{frames_total!r}; say how many frames are shown, or choose another rule: {ALLOWED}"
                )
            parts = int(sampling.number)
            self._named.extend((2 * part + 1) * frames_total // (2 * parts) for part in range(parts))

    @property
    def skips_neighbours(self) -> bool:
        """Whether the frames beside a wanted one are not decoded."""
        return self._rule == "key"

    def wants_packet(self, flags: int) -> bool:
        """Whether a packet with these flags need be decoded at all."""
        if self._rule == "segments":
            return bool(self._named)
        return self._rule != "key" or bool(flags & FLAG_KEY)

    def rows(self, pts: int) -> int:
        """How often the next frame in the order of display is wanted: mostly 0 or 1."""
        index, self._count = self._count, self._count + 1
        if self._rule == "every":
            return int(index % self._number == 0)
        if self._rule == "rate":
            return int(self._reaches_slot(pts))
        if self._rule == "segments":
            return sum(1 for _ in self._pop(index))
        return 1

    def end(self) -> int:
        """No frame follows: how many wanted ones have not come, where their number was known before."""
        missing = len(self._named)
        self._named.clear()
        return missing

    def _reaches_slot(self, pts: int) -> bool:
        if pts == UNKNOWN:
            return True  # A frame that no rule can place is rather given than lost.
        if self._first is None:
            self._first = pts
        slot = (pts - self._first) * self._ticks.numerator // self._ticks.denominator
        if slot <= self._slot:
            return False
        self._slot = slot
        return True

    def _pop(self, index: int) -> Iterable[int]:
        while self._named and self._named[0] <= index:
            yield self._named.popleft()
