# SPDX-License-Identifier: MIT
"""What an extraction found: numbers with a time, and how they are written as JSON, JSON lines and CSV.

A row of numbers gets its names from the service's description: `labels` name the numbers of a row, `columns` those of
each item where a row has several (a frame has several faces). Numbers that are not there are NaN; they become null, and
items without any number are left out.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from vireo_media.errors import ExchangeError, OptionError, OutputError
from vireo_media.services import WHOLE_VIDEO, ServiceDescription
from vireo_media.times import DTS, PTS, Timing, timing_rows

__all__ = ["Extraction", "Part", "ResultFormat", "join_results", "result_format", "write_results"]

ResultFormat = Literal["json", "jsonl", "csv"]

Numbers = npt.NDArray[Any]
Part = tuple[Timing, Mapping[str, Numbers]]
"""One reply: TIMING (R, 4) and the results by name."""

_DIGITS = 6
"""Significant digits of a number: float32 holds no more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction:
    """What a service found in a video, a row for each picture, or window of pictures, that it looked at.

    `seconds` and `durations` are (R,) float64. `results` are arrays with R rows by name, `video` the answers for the
    whole video, one each. `width` and `height` are the upright picture's, to which coordinates refer. `warnings` are
    for people. `labels` is what the service's description says of each result.
    """

    service: str
    width: int
    height: int
    seconds: npt.NDArray[np.float64]
    durations: npt.NDArray[np.float64]
    results: Mapping[str, Numbers]
    video: Mapping[str, Numbers]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as JSON has it: time and duration in seconds, and every result under its name."""
        for place in range(len(self.seconds)):
            named = {name: self._named(name, values[place]) for name, values in self.results.items()}
            yield {**_times(self.seconds[place], self.durations[place]), **named}

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        return {**self._summary(), "rows": list(self.rows())}

    def _summary(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "width": self.width,
            "height": self.height,
            "video": {name: self._named(name, value) for name, value in self.video.items()},
            "notes": list(self.warnings),
        }

    def _named(self, name: str, value: Numbers) -> Any:
        """A row's numbers with their names."""
        said = self.labels.get(name, {})
        if value.ndim == 2 and "columns" in said:
            items = [item for item in value if not np.isnan(item.astype(np.float64)).all()]
            return [dict(zip(said["columns"], map(_number, item), strict=True)) for item in items]
        if value.ndim == 1 and "labels" in said:
            return dict(zip(said["labels"], map(_number, value), strict=True))
        return _plain(value)


def join_results(
    service: ServiceDescription, parts: Sequence[Part], output: Mapping[str, Any] | None, *, notes: Sequence[str]
) -> Extraction:
    """The replies of a sequence, in order, as one value. `output` is REPORT.output.

    Raises ExchangeError where they do not fit together.
    """
    if output is None or not parts:
        raise ExchangeError(f"service {service.name!r}: it ended without a REPORT.output; look at the server's log")
    timing = np.concatenate([timing for timing, _ in parts]) if parts else timing_rows([])
    tick = Fraction(*output["time_base"])
    # As the service lists them, whatever order they came in.
    names = sorted(parts[0][1], key=lambda name: [*service.outputs, name].index(name))
    joined = {name: np.concatenate([values[name] for _, values in parts]) for name in names}
    video = {name.removesuffix(WHOLE_VIDEO): joined.pop(name) for name in names if name.endswith(WHOLE_VIDEO)}
    for name, values in video.items():
        if len(values) != 1:
            raise ExchangeError(
                f"service {service.name!r}: {len(values)} answers for the whole video in {name}{WHOLE_VIDEO}; allowed "
                'is one; a service that gives them must say "segments": false in its description'
            )
    return Extraction(
        service=service.name,
        width=int(output["width"]),
        height=int(output["height"]),
        seconds=np.array([float(pts * tick) for pts in timing[:, PTS].tolist()], np.float64),
        # The second column is the duration here: numbers have no decoding time.
        durations=np.array([float(ticks * tick) for ticks in timing[:, DTS].tolist()], np.float64),
        results=joined,
        video={name: values[0] for name, values in video.items()},
        labels=service.results,
        warnings=tuple(notes),
    )


def result_format(name: str, *, wanted: str | None = None) -> ResultFormat:
    """How numbers are written: as `wanted` says, else as the suffix of the output's name, else JSON for "-".

    Raises OptionError, OutputError.
    """
    formats = get_args(ResultFormat)
    if wanted is not None:
        if wanted not in formats:
            raise OptionError(f"format cannot be {wanted!r}; allowed is {', '.join(formats)}")
        return wanted  # type: ignore[return-value]
    suffix = "json" if name == "-" else name.rpartition(".")[2].lower()
    if suffix not in formats:
        raise OutputError(
            f"output {name!r}: this service gives numbers, not a video; allowed are names that end in "
            f"{', '.join('.' + each for each in formats)}, or - for standard output; choose one, or name a format"
        )
    return suffix  # type: ignore[return-value]


def write_results(extraction: Extraction, format: ResultFormat) -> str:
    """The text of a file.

    - json: one object with `rows`.
    - jsonl: one object a row, and a last one with everything else.
    - csv: one line a row, or one for each item where a result has several; then one whose time is `video`.
    """
    if format == "json":
        return json.dumps(extraction.to_json(), indent=1) + "\n"
    if format == "jsonl":
        lines = [*extraction.rows(), extraction._summary()]
        return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    text = io.StringIO()
    rows = [line for row in extraction.rows() for line in _lines(row)]
    if extraction.video:
        rows += _lines({"time": "video", "duration": None, **extraction._summary()["video"]})
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row of JSON as one or more lines of a table, whose columns are named `RESULT.label`."""
    flat: dict[str, Any] = {}
    items: list[tuple[str, list[Mapping[str, Any]]]] = []
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{label}": number for label, number in value.items()}
        elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
            items.append((name, value))
        elif isinstance(value, list):
            flat |= {f"{name}.{place}": number for place, number in enumerate(value)}
        else:
            flat[name] = value
    for place in range(max([1, *(len(listed) for _, listed in items)])):
        line = dict(flat)
        for name, listed in items:
            if place < len(listed):
                line |= {f"{name}.{label}": number for label, number in listed[place].items()}
        yield line


def _times(seconds: float, duration: float) -> dict[str, float]:
    return {"time": round(float(seconds), _DIGITS), "duration": round(float(duration), _DIGITS)}


def _plain(value: Numbers) -> Any:
    return _number(value) if value.ndim == 0 else [_plain(part) for part in value]


def _number(value: Any) -> int | float | None:
    if isinstance(value, np.integer):
        return int(value)
    return None if np.isnan(value) else float(f"{float(value):.{_DIGITS}g}")
