# SPDX-License-Identifier: MIT
"""Decoding times, rebuilt from presentation times.

# Note [Why an encoder's DTS is never written]
An encoder's first DTS depends on how many frames it got: joining segments with their own DTS is not monotonic at
the seams, and x265 returns uninitialised DTS for streams of one or two frames. So the DTS of the k-th packet, in the
order of the file, is the k-th smallest PTS shifted by the reorder depth d: dts[k] = sorted_pts[k - d], with the first
d extrapolated backwards. It holds for variable frame rates, and as segments follow each other in time it can be built
segment by segment.
"""

from collections import deque
from collections.abc import Iterator, Sequence

__all__ = ["DtsBuilder", "reorder_depth"]


def reorder_depth(pts: Sequence[int]) -> int:
    """How many packets later than its place in time a packet may come in the file: the smallest d with dts <= pts.

    `pts` is in the file's order.
    """
    rank = {value: place for place, value in enumerate(sorted(pts))}
    return max((place - rank[value] for place, value in enumerate(pts)), default=0)


class DtsBuilder:
    """DTS for segment after segment. `depth` is the largest `reorder_depth` of all, `step` a frame's usual duration."""

    def __init__(self, *, depth: int, step: int) -> None:
        self._depth = depth
        self._step = max(step, 1)
        self._waiting: deque[int] | None = None

    def of(self, pts: Sequence[int]) -> Iterator[int]:
        """The DTS of a segment's packets, for their PTS in the file's order."""
        for value in sorted(pts):
            if self._waiting is None:
                self._waiting = deque(value - self._step * (self._depth - i) for i in range(self._depth))
            self._waiting.append(value)
            yield self._waiting.popleft()
