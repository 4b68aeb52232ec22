# SPDX-License-Identifier: MIT
"""`python -m perf.soak`, small: the same program that runs for hours, a part at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def soak():
    """`soak(cases=100)` runs the parts that are named, all others left out; what it found."""

    def run(**amounts):
        parts = {"cases": 0, "clips": 0, "abandoned": 0, "kills": 0, "minutes": 0} | amounts
        command = [sys.executable, "-m", "perf.soak"]
        command += [f"--{name}={value}" for name, value in parts.items()]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        print(json.dumps(found, indent=2))
        print(done.stderr[-4000:])
        assert found["failures"] == []
        assert done.returncode == 0
        return found

    return run
