# SPDX-License-Identifier: MIT
"""The collect stage: named results of the rows that are pictures, and at the end the answer for the whole video.

# Note [Sums row by row]
The answer for a whole video must not depend on how the video was cut into requests. Floating-point sums depend on their
order, and numpy's on how many numbers it is given at once. So rows are added one after the other, in float64.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from vireo_media.services import WHOLE_VIDEO

from vireo_server.errors import BadInput, Internal, SettingError, StageError
from vireo_server.formats import GENERATED, KIND, PASSED_ON, ROW, SOURCE, Format
from vireo_server.results import Numbers, Result
from vireo_server.sequences import Stage
from vireo_server.settings import CollectSettings
from vireo_server.side import HOST, Border, Side
from vireo_server.tags import NOTHING
from vireo_server.wire import Request

_Timing = npt.NDArray[np.int64]


class Consensus(ABC):
    """What all rows of a video say together, kept as they come."""

    def __init__(self) -> None:
        self._total: Numbers | None = None
        self._count = 0

    def add(self, rows: Numbers) -> None:
        """Take more rows, (R, ...)."""
        for row in rows:
            value = row.astype(np.float64)
            self._total = value if self._total is None else self._join(self._total, value)
            self._count += 1

    @abstractmethod
    def _join(self, total: Numbers, row: Numbers) -> Numbers:
        """The rows before, and one more."""

    def answer(self, dtype: np.dtype[Any]) -> Numbers:
        """One row, (1, ...)."""
        assert self._total is not None
        return self._answer(self._total)[np.newaxis].astype(dtype)

    def _answer(self, total: Numbers) -> Numbers:
        return total


class Mean(Consensus):
    """The average: of probabilities, as Temporal Segment Networks do."""

    def _join(self, total: Numbers, row: Numbers) -> Numbers:
        return total + row

    def _answer(self, total: Numbers) -> Numbers:
        answer: Numbers = total / self._count
        return answer


class Most(Consensus):
    """The largest value of each place."""

    def _join(self, total: Numbers, row: Numbers) -> Numbers:
        answer: Numbers = np.fmax(total, row)
        return answer


class Direction(Mean):
    """The average, scaled to length 1: of embeddings, which are compared by their angle."""

    def _answer(self, total: Numbers) -> Numbers:
        answer: Numbers = total / max(float(np.linalg.norm(total)), 1e-12)
        return answer


CONSENSUSES: Mapping[str, Callable[[], Consensus]] = {"mean": Mean, "max": Most, "direction": Direction}


class CollectStage(Stage):
    """The collect stage of one stream, the last of an extraction.

    Gives TIMING (R, 4), the results (R, ...), REPORT, and for each consensus of the settings `<NAME>_VIDEO`, (1, ...)
    with END and (0, ...) before. Several networks of one service answer for the same rows, so one TIMING is enough.

    Raises:
        SettingError: a consensus of a result that does not exist, or an unknown one.
    """

    def __init__(self, settings: CollectSettings, results: Sequence[Result], side: Side = HOST) -> None:
        self._border = Border(side, stage="collect")
        self._results = results
        self._consensus = _consensuses(settings.consensus, results)
        self._format = NOTHING
        self._rows = 0

    def listen(self, request: Request) -> None:
        """Pass on what an earlier stage could not do."""
        self._format = Format.from_json(request.json("FORMAT"), stage="collect")
        self._format.raise_error()

    def open(self, request: Request) -> None:
        """Nothing is kept from START: every request carries its FORMAT."""

    def step(self, request: Request) -> Mapping[str, Any]:
        """The results of one request's pictures; spare rows are left out."""
        timing: _Timing = request.array("TIMING")
        rows = timing[np.isin(timing[:, KIND], (SOURCE, GENERATED)) & (timing[:, ROW] >= 0)]
        self._rows += len(rows)
        tensors: dict[str, Any] = {"TIMING": _numbered(rows)}
        for result in self._results:
            values = self._border.to_host(request.pixels(result.name))
            if len(rows) and rows[:, ROW].max() >= len(values):
                raise Internal(
                    f"{result.name} has {len(values)} rows and TIMING asks for row {rows[:, ROW].max()}; every "
                    "network of a service must answer for the same rows",
                    stage="collect",
                )
            tensors[result.name] = np.ascontiguousarray(values[rows[:, ROW]])
            if result.name in self._consensus:
                tensors[result.name + WHOLE_VIDEO] = self._whole(result, tensors[result.name], end=request.end)
        if request.end and not self._rows:
            raise BadInput(
                "no picture of this video was looked at: it has none, or none that `sample` names; check the source, "
                "or choose another `sample`",
                stage="collect",
            )
        tensors["REPORT"] = self._report(len(rows))
        return tensors

    def failure(self, error: StageError) -> Mapping[str, Any]:
        """The last stage tells the caller."""
        raise error

    def _whole(self, result: Result, values: Numbers, *, end: bool) -> Numbers:
        consensus = self._consensus[result.name]
        consensus.add(values)
        if end and self._rows:
            return consensus.answer(result.dtype)
        return np.zeros((0, *values.shape[1:]), result.dtype)

    def _report(self, rows: int) -> str:
        report = {
            "pending": self._format.report.get("pending", 0),
            "frames_in": self._format.report.get("frames_in", 0),
            "frames_out": rows,
            "notes": self._format.report.get("notes", []),
            # Of the upright picture, to which coordinates refer.
            "output": {
                "width": self._format.width,
                "height": self._format.height,
                "time_base": list(self._format.time_base),
            },
        }
        report |= {name: said for name, said in self._border.told(self._format.report).items() if name in PASSED_ON}
        return json.dumps(report, separators=(",", ":"), sort_keys=True)


def _numbered(rows: _Timing) -> _Timing:
    """TIMING as a caller sees it: each row is that of the results."""
    timing = rows.copy()
    timing[:, ROW] = np.arange(len(rows))
    return timing


def _consensuses(wanted: Sequence[str], results: Sequence[Result]) -> dict[str, Consensus]:
    """From `NAME=mean` for each."""
    names = [result.name for result in results]
    chosen = {}
    for text in wanted:
        name, _, kind = text.partition("=")
        if name not in names or kind not in CONSENSUSES:
            raise SettingError(
                f"parameter consensus has {text!r}; allowed: NAME=KIND with a NAME of {', '.join(names)} and a KIND of "
                f"{', '.join(CONSENSUSES)}"
            )
        chosen[name] = CONSENSUSES[kind]()
    return chosen
