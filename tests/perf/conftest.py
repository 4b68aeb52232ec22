# SPDX-License-Identifier: MIT
"""The programs of perf/ run as people run them: from the repository's root, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def program():
    """`program("compare", OLD, NEW)` runs `python -m perf.compare OLD NEW`; what came of it."""

    def run(name, *arguments):
        command = [sys.executable, "-m", f"perf.{name}", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)

    return run


@pytest.fixture
def results_file(tmp_path):
    """`results_file("old", {"ladder.pipelined": ([30.0, 31.0], "frames/s", "higher")})` writes a results' file."""

    def write(name, measurements, **changes):
        values = {
            "mode": "quick",
            "day": "2026-01-02",
            "machine": {"processor": "Some CPU", "cores": 2, "memory_gb": 8.0, "system": "Linux 6"},
            "versions": {"python": "3.11.7", "nvidia-pytriton": "0.7.0", "openvino": "2026.4", "av": "18.1.0"},
            "commit": "abc1234",
            "load": 0.1,
            "profiles": [],
            "analyzer": [],
            "measurements": {
                key: {"values": value, "unit": unit, "better": better}
                for key, (value, unit, better) in measurements.items()
            },
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(values | changes))
        return path

    return write
