# SPDX-License-Identifier: MIT
"""Toy repositories, and `serve` as a program of its own."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys"

SERVE = """
import json, sys
from pathlib import Path
from vireo_server.launching import serve

options = json.loads(sys.argv[1])
sys.exit(serve(**{**options, "repository": Path(options["repository"])}))
"""
CONFIG = """
backend: "{backend}"
max_batch_size: 0
input [{{ name: "IN" data_type: TYPE_INT64 dims: [1] }}]
output [{{ name: "OUT" data_type: TYPE_INT64 dims: [1] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""
ENSEMBLE = """
platform: "ensemble" # of one step
max_batch_size: 0
input [{{ name: "IN" data_type: TYPE_INT64 dims: [1] }}]
output [{{ name: "OUT" data_type: TYPE_INT64 dims: [1] }}]
ensemble_scheduling {{ step [{{
  model_name: "{step}" model_version: -1
  input_map {{ key: "IN" value: "IN" }} output_map {{ key: "OUT" value: "OUT" }}
}}] }}
"""


def _make_repository(folder, models, *, ensembles=None):
    """`models`: model name -> toy name; `ensembles`: service name -> name of its one step."""
    for model, toy in models.items():
        (folder / model / "1").mkdir(parents=True)
        (folder / model / "config.pbtxt").write_text(CONFIG.format(backend="python"))
        (folder / model / "1" / "model.py").symlink_to(TOYS / f"{toy}.py")
    for service, step in (ensembles or {}).items():
        (folder / service / "1").mkdir(parents=True)
        (folder / service / "config.pbtxt").write_text(ENSEMBLE.format(step=step))
    return folder


@pytest.fixture
def make_repository(tmp_path):
    return lambda models, **options: _make_repository(tmp_path / "repository", models, **options)


@pytest.fixture(scope="module")
def make_module_repository(tmp_path_factory):
    return lambda models, **options: _make_repository(tmp_path_factory.mktemp("repository"), models, **options)


def _ask(http_url, path, *, method="GET", body=None, headers=None):
    """Status and body of an HTTP request, whatever the status."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{http_url}{path}", method=method, data=data, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="session")
def ask():
    return _ask


@pytest.fixture(scope="session")
def infer():
    """Send one number to a toy and get one back."""

    def infer(http_url, model, value):
        body = {"inputs": [{"name": "IN", "datatype": "INT64", "shape": [1], "data": [value]}]}
        status, answer = _ask(http_url, f"/v2/models/{model}/infer", method="POST", body=body)
        assert status == 200, answer
        return json.loads(answer)["outputs"][0]["data"][0]

    return infer


class Program:
    """`serve` in a process of its own, its lines read as they come."""

    def __init__(self, options, *, environment):
        options = {"http_port": 0, "grpc_port": 0, "metrics_port": 0, "health_port": 0, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines = []
        self._queue = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stdout as output:
            for line in output:
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def line_with(self, text, *, seconds=60):
        """The first line from here on that holds the text."""
        while True:
            line = self._queue.get(timeout=seconds)
            assert line is not None, f"no line with {text!r}; the program said:\n" + "\n".join(self.lines)
            self.lines.append(line)
            if text in line:
                return line

    def ready(self):
        """What the ready line says: names to values."""
        words = self.line_with("vireo: ready").split("  ")[1:]
        return dict(word.split(" ", 1) for word in words)

    def send(self, number):
        self.process.send_signal(number)

    def finish(self, *, seconds=60):
        """Wait for the end; give the exit code and all lines."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=seconds)
        while (line := self._queue.get_nowait()) is not None:
            self.lines.append(line)
        return code, self.lines


@pytest.fixture
def start_program():
    programs = []

    def start(*, environment=None, **options):
        options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        programs.append(Program(options, environment=environment or {}))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.send(signal.SIGTERM)
            program.send(signal.SIGTERM)
        program.process.wait(timeout=60)
        program._reader.join(timeout=60)


def _server_processes(runtime):
    """Process ids of everything that was started with a runtime folder, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"VIREO_RUNTIME_DIR={runtime}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture(scope="session")
def server_processes():
    return _server_processes
