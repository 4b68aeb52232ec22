# SPDX-License-Identifier: MIT
"""Windows: pictures that follow each other, as one row of a network's input. So the network itself remembers nothing.

# Note [Every picture is in a window]
Windows begin every `stride` pictures. Pictures at the end that fill no window of their own are in one that ends with
the last picture, and so begins closer to the one before. A video with fewer pictures than a window has repeats its
last.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from vireo_server.formats import DURATION, NO_PICTURE, PTS, ROW, UNKNOWN
from vireo_server.settings import PreprocessSettings
from vireo_server.side import HOST, Side
from vireo_server.wire import Pixels

_Timing = npt.NDArray[np.int64]


class Windows:
    """The windows of one stream; holds the last `settings.window` pictures, on `side`."""

    def __init__(self, settings: PreprocessSettings, side: Side = HOST) -> None:
        self._side = side
        self._length, self._stride = settings.window, settings.stride
        self._middle = settings.picked == "middle"
        self._last: deque[tuple[Pixels, _Timing]] = deque(maxlen=self._length)
        self._until_next = self._length
        self._left_over = False

    def push(self, pictures: Pixels, timing: _Timing, *, end: bool) -> tuple[list[Pixels], list[_Timing]]:
        """Take pictures (T, C, H, W) with their rows of TIMING (T, 4); the windows that are full: rows (K C, H, W) or,
        where the middle picture stands for all, (C, H, W), and a row of TIMING each.
        """
        rows: list[Pixels] = []
        times: list[_Timing] = []
        for picture, row in zip(pictures, timing, strict=True):
            self._last.append((picture.copy(), row.copy()))
            self._until_next -= 1
            self._left_over = True
            if not self._until_next:
                self._give(rows, times)
                self._until_next = self._stride
        if end and self._left_over:
            self._give(rows, times)
        return rows, times

    def _give(self, rows: list[Pixels], times: list[_Timing]) -> None:
        shown = [picture for picture, _ in self._last]
        shown += shown[-1:] * (self._length - len(shown))
        rows.append(shown[self._length // 2] if self._middle else self._side.xp.concatenate(shown))
        first, last = self._last[0][1], self._last[-1][1]
        row = first.copy()
        if first[PTS] != UNKNOWN and last[PTS] != UNKNOWN:
            row[DURATION] = last[PTS] + last[DURATION] - first[PTS]
        row[ROW] = NO_PICTURE
        times.append(row)
        self._left_over = False
