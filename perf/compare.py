# SPDX-License-Identifier: MIT
"""`python -m perf.compare OLD NEW`: what got slower, or larger, beyond the noise of its own repetitions.

# Note [What counts as noise]
A median moved when it left the other's spread: by more than the distance of both quartile ranges' halves together, and
by more than `--least` (3 %), because three repetitions can agree by chance. Between two machines, or two days of a
shared one, only ratios and counts are compared: figures in frames/s and ms drift with whatever else runs. Exit code 1
says that something got worse.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perf.measure import Measurement, Measurements
from perf.results import Results

_DRIFTING = ("frames/s", "ms", "s")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One measurement in both files.

    Attributes:
        worse_by: how much worse the new median is, relative to the old; negative where it is better.
        noise: how much of that the repetitions explain.
    """

    name: str
    old: Measurement
    new: Measurement
    worse_by: float
    noise: float

    @property
    def is_worse(self) -> bool:
        """Whether it got worse beyond the noise."""
        return self.worse_by > self.noise

    @property
    def is_better(self) -> bool:
        """Whether it got better beyond the noise."""
        return -self.worse_by > self.noise

    def __str__(self) -> str:
        word = "worse" if self.worse_by > 0 else "better"
        return (
            f"{self.name}: {self.old.median:.4g} -> {self.new.median:.4g} {self.new.unit}, "
            f"{100 * abs(self.worse_by):.1f} % {word} (noise {100 * self.noise:.1f} %)"
        )


def changes(old: Measurements, new: Measurements, *, least: float, drifting: bool) -> Iterator[Change]:
    """What both files have, in the order of the names.

    Args:
        old: measurements.
        new: measurements.
        least: changes below this are noise whatever the repetitions say.
        drifting: compare frames/s and times too.
    """
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name], new[name]
        if not before.median or (after.unit in _DRIFTING and not drifting):
            continue
        moved = (after.median - before.median) / abs(before.median)
        spread = (before.spread + after.spread) / 2 / abs(before.median)
        yield Change(
            name=name,
            old=before,
            new=after,
            worse_by=-moved if after.better == "higher" else moved,
            noise=max(least, spread),
        )


def main() -> int:
    """Compare and print; 1 where something got worse."""
    parser = argparse.ArgumentParser(description="What got slower beyond the noise of its own repetitions.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--least", type=float, default=0.03, help="smaller changes are noise (0.03)")
    parser.add_argument("--times", action="store_true", help="compare frames/s and times too, not only ratios")
    options = parser.parse_args()
    old, new = Results.load_file(options.old), Results.load_file(options.new)
    if old.machine != new.machine:
        print(f"machines differ: {old.machine['processor']!r} and {new.machine['processor']!r}", file=sys.stderr)
    found = list(changes(old.measurements, new.measurements, least=options.least, drifting=options.times))
    gone = sorted(old.measurements.keys() - new.measurements.keys())
    for title, rows in (
        ("worse", [str(change) for change in found if change.is_worse]),
        ("better", [str(change) for change in found if change.is_better]),
        ("not measured any more", gone),
    ):
        if rows:
            print(f"{title}:", *rows, sep="\n  ")
    same = sum(not change.is_worse and not change.is_better for change in found)
    print(f"{same} of {len(found)} are the same within the noise")
    return 1 if any(change.is_worse for change in found) else 0


if __name__ == "__main__":
    sys.exit(main())
