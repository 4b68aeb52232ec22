# SPDX-License-Identifier: MIT
"""The script stage: rows of INPUT, in batches, through a user's script.

# Note [Batches do not depend on chunks]
A script may do something for a whole batch (measure it, share work across it), and the same video must give the same
pictures however the caller cuts it into requests. So rows are collected until a batch is full: every batch of a stream
has the same number of frames but the last, in the service and in `vireo script`. A full batch waits for one more row,
or for END, so that the last one can be told that it is the last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_server.errors import BadInput, Internal, ScriptFailed, StageError
from vireo_server.formats import GENERATED, KIND, NO_PICTURE, PTS, ROW, SOURCE, SPARE, UNKNOWN, UNTOUCHED, Format
from vireo_server.scripting.batch import Batch, Frames, Outcome, Results
from vireo_server.scripting.host import ScriptHost, ScriptStream, frames_a_batch
from vireo_server.scripting.script import STAGE
from vireo_server.sequences import Stage
from vireo_server.tags import NOTHING
from vireo_server.wire import Request, Tensors

_Timing = npt.NDArray[np.int64]

#: The option of a stream that asks for times in REPORT; scripts are not shown it.
PROFILING = "profiling"


class ScriptStage(Stage):
    """The script stage of one stream: INPUT and OUTPUT are `(R, H, W, 3) uint8`, interleaved RGB.

    Args:
        host: where the script lives.
        collect: takes the pts and results of each batch, where the script returns numbers; None where a video is
            wanted.
        is_abandoned: says of a stream that nobody waits for it any more; such a one takes no turn.
    """

    def __init__(
        self,
        host: ScriptHost,
        *,
        collect: Callable[[tuple[int, ...], Results], None] | None = None,
        is_abandoned: Callable[[str], bool] = lambda stream: False,
    ) -> None:
        self._host, self._collect, self._is_abandoned = host, collect, is_abandoned
        self._stream: ScriptStream | None = None
        self._format = NOTHING
        self._profiling = False
        self._waiting: _Waiting | None = None
        self._size: tuple[int, int] | None = None
        self._profile: dict[str, Any] | None = None

    def listen(self, request: Request) -> None:
        """Pass on what an earlier stage could not do."""
        self._format = Format.from_json(request.json("FORMAT"), stage=STAGE)
        self._format.raise_error()

    def open(self, request: Request) -> None:
        """Wait for the stream's turn and configure the script with the caller's options."""
        options = dict(self._format.options)
        wanted = options.pop(PROFILING, False)
        if not isinstance(wanted, bool):
            raise BadInput(f"option {PROFILING} is {wanted!r}; allowed: true, false", stage=STAGE)
        self._profiling = wanted or self._host.settings.profiling == "on"
        self._stream = self._host.begin(
            json.dumps(options, ensure_ascii=False),
            is_cancelled=lambda: request.cancelled or self._is_abandoned(request.stream),
        )
        self._profile = {"preparation": self._host.preparation, "configure": self._stream.configure_seconds}

    def step(self, request: Request) -> Tensors:
        """OUTPUT, TIMING and FORMAT for the batches that this request completes; END gives all that is left."""
        timing = request.array("TIMING")
        rows = timing[timing[:, ROW] >= 0]
        if (timing[:, ROW] == UNTOUCHED).any():
            raise Internal(
                "preprocess hands frames past the script, whose rows change places; set its parameter ten_bit to "
                "convert",
                stage=STAGE,
            )
        pictures = request.array("INPUT") if len(rows) else None
        done = [self._process(batch, timing, last=False) for batch, timing in self._batches(pictures, rows)]
        if request.end and self._waiting is not None and self._waiting.count:
            batch, rest = self._waiting.take()
            done.append(self._process(batch, rest, last=True))
        return self._give([part for part in done if part is not None])

    def failure(self, error: StageError) -> Tensors:
        """One row of nothing, and the error in FORMAT."""
        format = replace(self._format, layout="interleaved").failed(error)
        return {"OUTPUT": _NO_PICTURE, "TIMING": _SPARE_ROW, "FORMAT": format.to_json()}

    def close(self) -> None:
        """Let the next stream have its turn, and free what waits."""
        stream, self._stream, self._waiting = self._stream, None, None
        if stream is not None:
            stream.close()

    def _batches(self, pictures: Frames | None, rows: _Timing) -> list[tuple[Frames, _Timing]]:
        """The batches that are full and have a follower; the rest is kept."""
        full = []
        for row in rows:
            assert pictures is not None
            picture = pictures[row[ROW]]
            if self._waiting is None:
                height, width = picture.shape[:2]
                count = frames_a_batch(self._host.settings, width=width, height=height)
                self._waiting = _Waiting(count, picture.shape)
            if self._waiting.is_full():
                full.append(self._waiting.take())
            self._waiting.add(picture, row)
        return full

    def _process(self, frames: Frames, rows: _Timing, *, last: bool) -> tuple[Frames, _Timing] | None:
        assert self._stream is not None
        kind = [int(value) for value in rows[:, KIND]]
        pts = tuple(int(value) for value in rows[:, PTS])
        batch = Batch(frames=frames, pts=pts, kind=kind, time_base=self._format.time_base, last=last)
        outcome, times = self._stream.process(batch, profiling=self._profiling)
        if self._profile is not None:
            self._profile.setdefault("batches", []).append(times)
        if outcome.results is not None:
            if self._collect is None:
                raise ScriptFailed(
                    f"{self._host.name}: process returned numbers ({', '.join(outcome.results)}), but this service "
                    "gives a video; edit frames in place and return None, or return a list of frames",
                    stage=STAGE,
                )
            self._collect(pts, outcome.results)
            return None
        self._check_size(outcome, pts[0])
        timing = rows.copy()
        timing[:, KIND] = outcome.kind
        shown = np.isin(timing[:, KIND], (SOURCE, GENERATED))
        timing[:, ROW] = np.where(shown, np.arange(len(timing)), NO_PICTURE)
        return outcome.frames, timing

    def _check_size(self, outcome: Outcome, pts: int) -> None:
        if not any(kind in (SOURCE, GENERATED) for kind in outcome.kind):
            return
        height, width = outcome.frames.shape[1:3]
        if self._size is None:
            self._size = (width, height)
        if self._size != (width, height):
            raise ScriptFailed(
                f"{self._host.name}: process returned frames of {width}x{height}, earlier batches of this stream had "
                f"{self._size[0]}x{self._size[1]}; allowed: one size for all frames of a stream",
                stage=STAGE,
                seconds=float(pts * self._format.time_base[0] / self._format.time_base[1]),
            )

    def _give(self, done: list[tuple[Frames, _Timing]]) -> Tensors:
        format = replace(self._format, layout="interleaved")
        if self._profiling and self._profile:
            format = replace(format, report={**format.report, "profile": self._profile})
        self._profile = {}
        # Batches without a picture may have another size than those with one.
        shown = [(frames, timing) for frames, timing in done if (timing[:, ROW] >= 0).any()]
        if not shown:
            return {"OUTPUT": _NO_PICTURE, "TIMING": _SPARE_ROW, "FORMAT": format.to_json()}
        first = 0
        for frames, timing in shown:
            timing[timing[:, ROW] >= 0, ROW] += first
            first += len(frames)
        output = shown[0][0] if len(shown) == 1 else np.concatenate([frames for frames, _ in shown])
        return {"OUTPUT": output, "TIMING": np.concatenate([rows for _, rows in shown]), "FORMAT": format.to_json()}


class _Waiting:
    """Rows of a stream that wait for their batch to be full, copied out of Triton's memory.

    # Note [Why buffers are used again]
    A batch of 1080p frames has 100 MB, and memory that is new costs as much as the copy into it (2.2 to 3 ms a frame
    against 1.3; far more when the machine is busy). A batch's buffer is free again when nothing refers to it: it was
    answered from, and the script kept none of its frames.
    """

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        self._size, self._shape = size, shape
        self._buffers: list[Frames] = []
        self._start()

    def _start(self) -> None:
        self._frames = self._buffer()
        self._rows = np.empty((self._size, 4), np.int64)
        self.count = 0

    def _buffer(self) -> Frames:
        for index in range(len(self._buffers)):
            # The list and the argument of getrefcount; a view would be a third.
            if sys.getrefcount(self._buffers[index]) == 2:
                return self._buffers[index]
        self._buffers = [*self._buffers[-1:], np.empty((self._size, *self._shape), np.uint8)]
        return self._buffers[-1]

    def is_full(self) -> bool:
        return self.count == self._size

    def add(self, picture: Frames, row: _Timing) -> None:
        self._frames[self.count], self._rows[self.count] = picture, row
        self.count += 1

    def take(self) -> tuple[Frames, _Timing]:
        frames, rows = self._frames[: self.count], self._rows[: self.count]
        del self._frames
        self._start()
        return frames, rows


_NO_PICTURE = np.zeros((1, 1, 1, 3), np.uint8)
_SPARE_ROW = np.array([[UNKNOWN, 0, SPARE, NO_PICTURE]], np.int64)
