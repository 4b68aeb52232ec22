# SPDX-License-Identifier: MIT
"""Rows of a stream that wait until a script's batch of them is full."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_server.formats import KIND, REFERENCE, ROW, SPARE
from vireo_server.scripting.batch import Frames

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Waited:
    """A batch, and the rows of TIMING that it is for.

    `frames` is `(T, H, W, 3) uint8`, one for each of `rows` that has one, and one more if there is a `closing` row: the
    picture that the next batch begins with.
    """

    frames: Frames
    rows: _Rows
    closing: _Rows | None = None

    @property
    def has_frame(self) -> npt.NDArray[np.bool_]:
        """Which rows have a frame: those with a picture, and empty slots."""
        found: npt.NDArray[np.bool_] = _has_frame(self.rows)
        return found


class Waiting:
    """Rows copied out of Triton's memory, up to `size` frames, and the slots behind the last of them; `xp` is the array
    module of where they are kept.

    # Note [Why buffers are used again]
    A batch of 1080p frames has 100 MB, and memory that is new costs as much as the copy into it (2.2 to 3 ms a frame
    against 1.3; far more when the machine is busy). A batch's buffer is free again when nothing refers to it: it was
    answered from, and the script kept none of its frames.
    """

    def __init__(self, size: int, *, slots: int, shape: tuple[int, ...], xp: Any = np) -> None:
        self._xp = xp
        self._size, self._shape = size, (size + slots + bool(slots), *shape)
        self._buffers: list[Frames] = []
        self._start()

    def is_full(self) -> bool:
        """Whether the next picture belongs to the next batch."""
        return self._count >= self._size

    def is_begun(self) -> bool:
        """Whether anything waits."""
        return bool(self._rows)

    def add(self, picture: Frames | None, row: _Rows) -> None:
        """Take one row. An empty slot gets a black frame, a row that only repeats a picture none."""
        self._rows.append(row.copy())
        if _has_frame(row):
            self._frames[self._count] = 0 if picture is None else picture
            self._count += 1

    def take(self, *, before: tuple[Frames, _Rows] | None = None) -> Waited:
        """The batch; `before` is the picture that follows, which slots at the end of the batch need."""
        closing = None
        if before is not None and self._ends_with_slots():
            closing = before[1][np.newaxis].copy()
            closing[:, KIND] = REFERENCE
            self._frames[self._count] = before[0]
            self._count += 1
        waited = Waited(self._frames[: self._count], np.array(self._rows), closing)
        del self._frames
        self._start()
        return waited

    def _start(self) -> None:
        self._frames = self._buffer()
        self._rows: list[_Rows] = []
        self._count = 0

    def _buffer(self) -> Frames:
        for index in range(len(self._buffers)):
            # The list and the argument of getrefcount; a view would be a third.
            if sys.getrefcount(self._buffers[index]) == 2:
                return self._buffers[index]
        self._buffers = [*self._buffers[-1:], self._xp.empty(self._shape, np.uint8)]
        return self._buffers[-1]

    def _ends_with_slots(self) -> bool:
        for row in reversed(self._rows):
            if row[ROW] >= 0:
                return False
            if row[KIND] == SPARE:
                return True
        return False


def _has_frame(rows: _Rows) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (rows[..., ROW] >= 0) | (rows[..., KIND] == SPARE)
    return found
