# SPDX-License-Identifier: MIT
"""How far a run is: counted here from all segments in flight, shown by whoever asked."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "ProgressCallback", "ProgressCounter"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`frames` are back of `frames_total`, which is what the container says or an estimate, None where it says "
    "nothing."""

    frames: int
    frames_total: int | None


ProgressCallback = Callable[[Progress], None]


class ProgressCounter:
    """Adds up the frames of segments that run side by side; a segment that is tried again starts from 0."""

    def __init__(self, callback: ProgressCallback | None, *, frames_total: int | None) -> None:
        self._callback = callback
        self._total = frames_total
        self._frames: dict[int, int] = {}
        self._lock = threading.Lock()

    def set(self, segment: int, frames: int) -> None:
        """`frames` of `segment` are back. Called from any thread; the callback is called by one at a time."""
        with self._lock:
            self._frames[segment] = frames
            if self._callback is not None:
                self._callback(Progress(frames=sum(self._frames.values()), frames_total=self._total))
