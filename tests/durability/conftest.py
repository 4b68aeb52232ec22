# SPDX-License-Identifier: MIT
"""A real server to be cruel to, and `python -m perf.soak`, small: the program that runs for hours, a part at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from vireo_client import Client
from vireo_media.testing import numbered_clip
from vireo_server.launching import running_server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def soak():
    """`soak(cases=100)` runs the parts that are named, all others left out; what it found."""

    def run(**amounts):
        parts = {"cases": 0, "clips": 0, "abandoned": 0, "kills": 0, "minutes": 0} | amounts
        command = [sys.executable, "-m", "perf.soak"]
        command += [f"--{name}={value}" for name, value in parts.items()]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        print(json.dumps(found, indent=2))
        print(done.stderr[-4000:])
        assert found["failures"] == []
        assert done.returncode == 0
        return found

    return run


@pytest.fixture(scope="session")
def server():
    """passthrough alone."""
    with running_server(services=["passthrough"]) as running:
        yield running


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A minute in GOPs of a second: 15 segments."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    numbered_clip(path, frames=1500, gop=25, size=(160, 96))
    return path


@pytest.fixture(scope="session")
def expected(server, clip, tmp_path_factory):
    """What passthrough makes of it when nothing dies."""
    path = tmp_path_factory.mktemp("expected") / "out.mp4"
    with Client(server.grpc_url) as client:
        client.run("passthrough", clip, path)
    return path.read_bytes()
