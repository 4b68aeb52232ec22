# SPDX-License-Identifier: MIT
"""Scripts written on the spot."""

import textwrap

import pytest
from vireo_server.testing import ScriptBench, script_bench  # noqa: F401 - a fixture


@pytest.fixture
def script(tmp_path):
    """`script("def process(data): ...")` writes a script and gives its path."""

    def write(source, *, name="script.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def bench(script):
    """`bench(source)` is a bench with that script; all are closed after the test."""
    benches = []

    def make(source, **arguments):
        benches.append(ScriptBench(script(source), **arguments))
        return benches[-1]

    yield make
    for one in benches:
        one.close()
