# SPDX-License-Identifier: MIT
"""A clip of the corpus: how it is made, and what must come out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vireo_media.testing import numbered_clip

SIZE = (160, 96)
HALF_MS = Fraction(1, 2000)
QUIET = "log-level=none:pools=1"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One clip: how it is made, and what must come out.

    `comes` and `gives` are the two cells of the README's table. `clip` are arguments of `numbered_clip`, or `make`
    writes the file. `numbers` are the frames that must come out, by default `0..frames-1`. `times` are their times in
    seconds from the first, by default one frame each at 25 a second. `begins` is the time of the source's first
    picture where libav only guesses it. `color` are tags that the result
    must have. `error` is what a refusal must say. `notes` are
    words that a note or warning of the run must hold. `tolerance` is by how many seconds a time may be off: half a
    millisecond where the container counts in milliseconds.
    """

    name: str
    group: str
    comes: str
    gives: str = "every frame, exact times"
    suffix: str
    frames: int = 30
    clip: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[Path, int], None] | None = None
    output: str = ".mp4"
    options: Mapping[str, Any] = field(default_factory=dict)
    numbers: Sequence[int] | None = None
    begins: Fraction | None = None
    times: Callable[[int], Sequence[Fraction]] | None = None
    tolerance: Fraction = Fraction(0)
    size: tuple[int, int] = SIZE
    pixel_format: str = "yuv420p"
    color: Mapping[str, str] = field(default_factory=dict)
    segments: int | None = None
    error: str | None = None
    notes: Sequence[str] = ()

    def write(self, folder: Path) -> Path:
        """Make the clip in `folder`."""
        path = folder / f"{self.name}{self.suffix}"
        if self.make is not None:
            self.make(path, self.frames)
        else:
            numbered_clip(path, frames=self.frames, **{"size": SIZE, "gop": 12, **self.clip})
        return path

    @property
    def expected_numbers(self) -> list[int]:
        """The numbers that must be read, in order."""
        return list(range(self.frames)) if self.numbers is None else list(self.numbers)

    @property
    def expected_times(self) -> list[Fraction]:
        """The time of each expected frame in seconds from the first."""
        count = len(self.expected_numbers)
        times = list(self.times(count)) if self.times else [Fraction(i, 25) for i in range(count)]
        return [time - times[0] for time in times]
