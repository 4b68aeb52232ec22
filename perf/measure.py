# SPDX-License-Identifier: MIT
"""Repetitions in turn, their median and spread; a result is a ratio of things that ran beside each other in time.

# Note [Why A B A B]
The speed of a shared machine drifts by tens of percent within minutes, so two figures taken one after the other say
little about each other. Programs are run in turn, round after round; each round gives one ratio, and the median of the
rounds' ratios is the claim. Figures in frames/s are given beside it, for orientation.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One quantity, measured some times.

    Attributes:
        values: one a repetition, in the order of time.
        unit: "frames/s", "ms", "MB", "ratio", ...
        better: whether more is better, or less.
    """

    values: tuple[float, ...]
    unit: str
    better: Better

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a measurement has no values; it needs at least one repetition")

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which the middle half of the values lies; the extremes where there are fewer than four."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """The distance of the quartiles."""
        low, high = self.quartiles
        return high - low

    def __str__(self) -> str:
        low, high = self.quartiles
        return f"{self.median:.4g} {self.unit} ({low:.4g} to {high:.4g})"


Measurements = dict[str, Measurement]
"""By name; a name's first part says which program it comes from: "ladder.pipelined"."""


def in_turn(programs: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Run all programs, each once a round, round after round; what each returned, by name and in order."""
    values: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds):
        for name, program in programs.items():
            values[name].append(program())
            say(f"  round {number + 1} of {rounds}: {name} {values[name][-1]:.4g}")
    return values


def ratios(values: Sequence[float], of: Sequence[float]) -> tuple[float, ...]:
    """Round by round, one program's figure over another's."""
    return tuple(one / other for one, other in zip(values, of, strict=True))


def frames_a_second(frames: int, work: Callable[[], object]) -> float:
    """How fast `work` got through so many frames."""
    started = time.perf_counter()
    work()
    return frames / (time.perf_counter() - started)


def say(line: str) -> None:
    """Tell whoever waits; standard output is for results."""
    print(line, file=sys.stderr, flush=True)
