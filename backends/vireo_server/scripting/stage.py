# SPDX-License-Identifier: MIT
"""The script stage: rows of INPUT, in batches, through a user's script.

# Note [Batches do not depend on chunks]
A script may do something for a whole batch (measure it, share work across it), and the same video must give the same
pictures however the caller cuts it into requests. So rows are collected until a batch is full: every batch of a stream
has the same number of frames but the last, in the service and in `vireo script`. A full batch waits for one more row,
or for END, so that the last one can be told that it is the last.

# Note [Batches with slots]
Where preprocess puts spare rows between the sources, a script fills them, and needs the pictures on both sides. So a
batch ends before a picture, and if slots lie before that one, the batch has it too, as a reference; the next batch
begins with it. Only what a script fills goes on from here: sources stay as they were decoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from vireo_media.interpolation import MOST_SLOTS

from vireo_server.errors import BadInput, Internal, ScriptFailed, StageError
from vireo_server.formats import GENERATED, KIND, NO_PICTURE, PTS, ROW, SOURCE, SPARE, UNKNOWN, UNTOUCHED, Format
from vireo_server.results import Result
from vireo_server.scripting.batch import Batch, Frames, Outcome, Results
from vireo_server.scripting.host import ScriptHost, ScriptStream, frames_a_batch
from vireo_server.scripting.script import STAGE
from vireo_server.scripting.waiting import Waited, Waiting
from vireo_server.sequences import Stage
from vireo_server.side import HOST, Border, Side
from vireo_server.tags import NOTHING
from vireo_server.wire import Request, Tensors

_Timing = npt.NDArray[np.int64]

#: The option of a stream that asks for times in REPORT; scripts are not shown it.
PROFILING = "profiling"


class ScriptStage(Stage):
    """The script stage of one stream: INPUT and OUTPUT are `(R, H, W, 3) uint8`, interleaved RGB.

    Args:
        host: where the script lives.
        results: what the script must return where numbers are wanted; empty where a video is.
        collect: takes the pts and results of each batch instead, whatever they are called.
        is_abandoned: says of a stream that nobody waits for it any more; such a one takes no turn.
        side: where the service keeps its pixels. A script that does not take them there is given copies on the host.
    """

    def __init__(
        self,
        host: ScriptHost,
        *,
        results: Sequence[Result] = (),
        collect: Callable[[tuple[int, ...], Results], None] | None = None,
        is_abandoned: Callable[[str], bool] = lambda stream: False,
        side: Side = HOST,
    ) -> None:
        self._border = Border(side, stage=STAGE)
        self._host, self._collect, self._is_abandoned = host, collect, is_abandoned
        self._results = results
        self._stream: ScriptStream | None = None
        self._format = NOTHING
        self._profiling = False
        self._waiting: Waiting | None = None
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
        if not self._has_slots and (timing[:, ROW] == UNTOUCHED).any():
            raise Internal(
                "preprocess hands frames past the script, whose rows change places; set its parameter ten_bit to "
                "convert",
                stage=STAGE,
            )
        rows = timing[timing[:, PTS] != UNKNOWN] if self._has_slots else timing[timing[:, ROW] >= 0]
        done = [self._process(batch, last=False) for batch in self._batches(self._pictures(request), rows)]
        if request.end and self._waiting is not None and self._waiting.is_begun():
            done.append(self._process(self._waiting.take(), last=True))
        parts = [part for part in done if part is not None]
        return self._give_numbers(parts) if self._results else self._give(parts)

    def failure(self, error: StageError) -> Tensors:
        """One row of nothing, and the error in FORMAT."""
        format = replace(self._format, layout="interleaved").failed(error)
        return {**self._nothing(), "TIMING": _SPARE_ROW, "FORMAT": format.to_json()}

    @property
    def _has_slots(self) -> bool:
        """Whether the script fills spare rows between pictures, which it does not give out itself."""
        return self._format.queued is not None

    def close(self) -> None:
        """Let the next stream have its turn, and free what waits."""
        stream, self._stream, self._waiting = self._stream, None, None
        if stream is not None:
            stream.close()

    def _batches(self, pictures: Frames, rows: _Timing) -> list[Waited]:
        """The batches that are full and have a follower; the rest is kept."""
        full = []
        for row in rows:
            picture = pictures[row[ROW]] if row[ROW] >= 0 else None
            if self._waiting is None:
                height, width = pictures.shape[1:3]
                count = frames_a_batch(self._host.settings, width=width, height=height)
                slots = MOST_SLOTS if self._has_slots else 0
                self._waiting = Waiting(count, slots=slots, shape=pictures.shape[1:], xp=self._host.side.xp)
            if picture is not None and self._waiting.is_full():
                full.append(self._waiting.take(before=(picture, row)))
            self._waiting.add(picture, row)
        return full

    def _pictures(self, request: Request) -> Frames:
        """INPUT, where the script wants it."""
        pictures = request.pixels("INPUT")
        return self._border.to_host(pictures) if self._host.side.is_host else self._border.bring(pictures)

    def _nothing(self) -> dict[str, Any]:
        """One row of nothing for each tensor."""
        if self._results:
            return {result.name: result.spare_row() for result in self._results}
        return {"OUTPUT": _NO_PICTURE}

    def _process(self, waited: Waited, *, last: bool) -> tuple[Any, _Timing] | None:
        """What the script makes of a batch: pictures or results, and the rows of TIMING that stand for them."""
        rows, has_frame = waited.rows, waited.has_frame
        shown = rows[has_frame]
        closing = [] if waited.closing is None else [waited.closing]
        outcome = self._call(waited.frames, np.concatenate([shown, *closing]), last=last)
        if outcome is None:
            return None
        if self._results:
            return self._check_numbers(outcome), shown
        kind = np.array(outcome.kind[: len(shown)])
        timing = rows.copy()
        if self._has_slots:
            made = (kind == GENERATED) & (shown[:, KIND] == SPARE)
            place = np.where(kind == SOURCE, UNTOUCHED, np.where(made, np.cumsum(made) - 1, NO_PICTURE))
            pictures = outcome.frames[: len(shown)][outcome.xp.asarray(made)]
        else:
            place = np.where(np.isin(kind, (SOURCE, GENERATED)), np.arange(len(shown)), NO_PICTURE)
            pictures = outcome.frames if (place >= 0).any() else outcome.frames[:0]
        timing[has_frame, KIND], timing[has_frame, ROW] = kind, place
        if len(pictures):
            self._check_size(pictures, int(shown[0, PTS]))
        return pictures, timing

    def _call(self, frames: Frames, rows: _Timing, *, last: bool) -> Outcome | None:
        """The script's call; None where it returned numbers, which are collected."""
        assert self._stream is not None
        kind = [int(value) for value in rows[:, KIND]]
        pts = tuple(int(value) for value in rows[:, PTS])
        batch = Batch(frames=frames, pts=pts, kind=kind, time_base=self._format.time_base, last=last)
        outcome, times = self._stream.process(batch, profiling=self._profiling)
        if self._profile is not None:
            self._profile.setdefault("batches", []).append(times)
        if outcome.results is None or self._results:
            return outcome
        if self._collect is None:
            raise ScriptFailed(
                f"{self._host.name}: process returned numbers ({', '.join(outcome.results)}), but this service "
                "gives a video; edit frames in place and return None, or return a list of frames",
                stage=STAGE,
            )
        self._collect(pts, outcome.results)
        return None

    def _check_numbers(self, outcome: Outcome) -> Results:
        wanted = ", ".join(f"{result.name} {result.dtype} {result}" for result in self._results)
        if outcome.results is None:
            raise ScriptFailed(
                f"{self._host.name}: process returned frames, but this service gives numbers; return a dict with "
                f"{wanted}",
                stage=STAGE,
            )
        if set(outcome.results) != {result.name for result in self._results}:
            raise ScriptFailed(
                f"{self._host.name}: process returned {', '.join(sorted(outcome.results)) or 'nothing'}; allowed: "
                f"exactly {wanted}, as the outputs in the model's configuration",
                stage=STAGE,
            )
        results = {name: self._border.to_host(values) for name, values in outcome.results.items()}
        for result in self._results:
            if misfit := result.misfit(results[result.name]):
                raise ScriptFailed(f"{self._host.name}: process returned {result.name} as {misfit}", stage=STAGE)
        return results

    def _give_numbers(self, parts: list[tuple[Results, _Timing]]) -> Tensors:
        format = self._reported(self._format)
        if not parts:
            return {**self._nothing(), "TIMING": _SPARE_ROW, "FORMAT": format.to_json()}
        timing = np.concatenate([rows for _, rows in parts])
        timing[:, ROW] = np.arange(len(timing))
        numbers = {
            result.name: np.concatenate([values[result.name] for values, _ in parts]) for result in self._results
        }
        return {**numbers, "TIMING": timing, "FORMAT": format.to_json()}

    def _reported(self, format: Format) -> Format:
        """The format with the times of the calls, if they are wanted."""
        if self._profiling and self._profile:
            format = replace(format, report={**format.report, "profile": self._profile})
        self._profile = {}
        return replace(format, report=self._border.told(format.report))

    def _check_size(self, pictures: Frames, pts: int) -> None:
        height, width = pictures.shape[1:3]
        if self._size is None:
            self._size = (width, height)
        if self._size != (width, height):
            raise ScriptFailed(
                f"{self._host.name}: process returned frames of {width}x{height}, earlier batches of this stream had "
                f"{self._size[0]}x{self._size[1]}; allowed: one size for all frames of a stream",
                stage=STAGE,
                seconds=float(pts * self._format.time_base[0] / self._format.time_base[1]),
            )

    def _joined(self, pictures: list[Frames]) -> Frames:
        """Several batches' pictures in one array; a script may have returned some of them elsewhere than others."""
        if all(isinstance(part, np.ndarray) for part in pictures):
            return np.concatenate(pictures)
        return self._border.side.xp.concatenate([self._border.bring(part) for part in pictures])

    def _give(self, done: list[tuple[Frames, _Timing]]) -> Tensors:
        format = self._reported(replace(self._format, layout="interleaved"))
        pictures, rows, first = [], [_SPARE_ROW], 0
        for frames, timing in done:
            timing[timing[:, ROW] >= 0, ROW] += first
            first += len(frames)
            rows.append(timing)
            if len(frames):  # Batches without a picture may have another size than those with one.
                pictures.append(frames)
        output = _NO_PICTURE if not pictures else pictures[0] if len(pictures) == 1 else self._joined(pictures)
        timing = rows[0] if len(rows) == 1 else np.concatenate(rows[1:])
        return {"OUTPUT": output, "TIMING": timing, "FORMAT": format.to_json()}


_NO_PICTURE = np.zeros((1, 1, 1, 3), np.uint8)
_SPARE_ROW = np.array([[UNKNOWN, 0, SPARE, NO_PICTURE]], np.int64)
