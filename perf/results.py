# SPDX-License-Identifier: MIT
"""The results' file: measurements, and what machine, versions and commit they come from."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import time
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import av

from perf.analyzer import Report, StageTimes
from perf.frame_profile import Profile
from perf.machine import RESULTS, describe_commit, describe_machine
from perf.measure import Measurement, Measurements

_PACKAGES = ("vireo", "nvidia-pytriton", "tritonclient", "av", "openvino", "onnxruntime", "numba", "numpy")


@dataclass(kw_only=True)
class Results:
    """All that one run of `perf.run` found.

    Attributes:
        mode: "quick", "full", ...
        day: ISO date.
        machine: processor, cores, memory, system.
        versions: of everything that computes.
        commit: of this repository; with "+" where the tree had changes.
        load: other programs' share of the processor before the run: 0 is a quiet machine.
    """

    mode: str
    day: str
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str
    load: float
    measurements: Measurements = field(default_factory=dict)
    profiles: list[Profile] = field(default_factory=list)
    analyzer: list[Report] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of its file: date and machine."""
        processor = re.sub(r"[^a-z0-9]+", "-", self.machine["processor"].lower()).strip("-")
        return f"{self.day}-{processor}-{self.machine['cores']}-cores"

    def save(self, folder: Path) -> Path:
        """Write `<name>.json` into a folder; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        measurements = {
            name: {**asdict(measurement), "values": [float(f"{value:.5g}") for value in measurement.values]}
            for name, measurement in sorted(self.measurements.items())
        }
        path.write_text(json.dumps(asdict(self) | {"measurements": measurements}, indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load_file(cls, path: Path) -> Results:
        """What `save` wrote. Raises ValueError where it is something else."""
        values = json.loads(path.read_text(encoding="utf-8"))
        try:
            values["measurements"] = {
                name: Measurement(**{**value, "values": tuple(value["values"])})
                for name, value in values["measurements"].items()
            }
            values["profiles"] = [Profile.from_json(value) for value in values["profiles"]]
            values["analyzer"] = [
                Report(**{**value, "stages": tuple(StageTimes(**stage) for stage in value["stages"])})
                for value in values["analyzer"]
            ]
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no results' file of perf.run ({error!r}); measure again") from error


def newest(folder: Path = RESULTS) -> Path | None:
    """The results' file of the latest day in a folder; None where there is none."""
    return max(folder.glob("[0-9]*.json"), key=lambda path: path.name, default=None)


def new_results(mode: str) -> Results:
    """An empty one for this machine, today."""
    return Results(
        mode=mode,
        day=date.today().isoformat(),
        machine=describe_machine(),
        versions=describe_versions(),
        commit=describe_commit(),
        load=_busy_share(),
    )


def _busy_share(seconds: float = 1.0) -> float:
    """How much of the processor is in use, 0..1, by a look of so long. The load average still tells of the minute
    before, and of programs that wait for a disk."""
    idle, total = _processor_times()
    time.sleep(seconds)
    idle_after, total_after = _processor_times()
    return 1 - (idle_after - idle) / (total_after - total)


def _processor_times() -> tuple[int, int]:
    """Ticks of all processors since boot: idle ones, and all. See proc_stat(5)."""
    ticks = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def describe_versions() -> dict[str, str]:
    """Python, FFmpeg's libavcodec, and the packages that do the work."""
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "libavcodec": libavcodec, **packages}
