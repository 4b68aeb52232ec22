# SPDX-License-Identifier: MIT
"""The assembled backend directory, and plain `tritonserver` on it."""

import os
import signal
import subprocess
import sys
import time
import urllib.error

import pytest
from vireo_server.launching import LaunchError, assemble_backends, plain_command
from vireo_server.launching.environment import needed_environment, server_environment
from vireo_server.launching.ports import Endpoints, choose_ports
from vireo_server.launching.triton import find_triton
from vireo_server.locations import find_locations


@pytest.fixture
def doors(tmp_path):
    for name in ("first", "second", "no_door"):
        (tmp_path / "doors" / name).mkdir(parents=True)
    for name in ("first", "second"):
        (tmp_path / "doors" / name / "model.py").write_text(f"# {name}\n")
    return tmp_path / "doors"


def test_holds_the_python_backend_and_a_folder_for_each_door(tmp_path, doors):
    folder = assemble_backends(tmp_path / "backends", doors=doors)
    assert sorted(path.name for path in folder.iterdir()) == ["first", "python", "second"]
    assert (folder / "second" / "model.py").read_text() == "# second\n"
    stub = folder / "python" / "triton_python_backend_stub"
    assert os.access(stub, os.X_OK)
    # Triton refuses a library that resolves to a place outside.
    assert not (folder / "python" / "libtriton_python.so").is_symlink()


def test_every_shipped_door_is_in_it(tmp_path):
    folder = assemble_backends(tmp_path / "backends")
    shipped = {path.parent.name for path in find_locations().doors.glob("*/model.py")}
    assert shipped
    assert {path.parent.name for path in folder.glob("*/model.py")} == shipped


def test_done_again_it_is_brought_up_to_date(tmp_path, doors):
    folder = assemble_backends(tmp_path / "backends", doors=doors)
    (doors / "third").mkdir()
    (doors / "third" / "model.py").write_text("# third\n")
    (doors / "first" / "model.py").unlink()
    assemble_backends(folder, doors=doors)
    assert sorted(path.name for path in folder.iterdir()) == ["python", "second", "third"]
    # What was linked still is where it was.
    assert (doors / "second" / "model.py").read_text() == "# second\n"


def test_folder_with_other_things_in_it_is_not_touched(tmp_path, doors):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(LaunchError, match=r"cannot become a backend directory: 'thesis.txt' is in it"):
        assemble_backends(tmp_path / "mine", doors=doors)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_no_doors_is_an_error(tmp_path):
    with pytest.raises(LaunchError, match="no backend found"):
        assemble_backends(tmp_path / "backends", doors=tmp_path)


class TestEnvironment:
    def test_stages_find_this_python_first(self, tmp_path):
        environment = needed_environment(find_triton(), backends=tmp_path, base={"PATH": "/somewhere"})
        first, *rest = environment["PATH"].split(":")
        assert os.path.realpath(os.path.join(first, "python3")) == os.path.realpath(sys.executable)
        assert rest == ["/somewhere"]

    def test_python_with_a_stranger_beside_it_is_linked(self, tmp_path):
        (tmp_path / "bin").mkdir()
        (tmp_path / "python").mkdir()
        python = tmp_path / "bin" / "python3.12"
        python.symlink_to(sys.executable)
        (tmp_path / "bin" / "python3").symlink_to("/bin/sh")
        environment = needed_environment(find_triton(), backends=tmp_path, base={}, python=python)
        first = environment["PATH"].split(":")[0]
        assert os.path.realpath(os.path.join(first, "python3")) == os.path.realpath(sys.executable)

    def test_what_would_break_stages_is_left_out(self, tmp_path, monkeypatch):
        for name in ("PYTHONWARNINGS", "PYTHONHOME", "AIP_MODE"):
            monkeypatch.setenv(name, "error")
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        environment = server_environment(find_triton(), backends=tmp_path, runtime=tmp_path / "run", cache=tmp_path)
        assert not {"PYTHONWARNINGS", "PYTHONHOME", "AIP_MODE"} & environment.keys()
        assert environment["OMP_NUM_THREADS"] == "3"
        assert environment["VIREO_RUNTIME_DIR"] == str(tmp_path / "run")
        assert environment["PYTHONUTF8"] == "1"

    def test_what_is_compiled_for_a_gpu_outlives_a_container(self, tmp_path, monkeypatch):
        given = {"backends": tmp_path, "runtime": tmp_path, "cache": tmp_path / "cache"}
        monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
        assert server_environment(find_triton(), **given)["CUPY_CACHE_DIR"] == str(tmp_path / "cache" / "cupy")
        monkeypatch.setenv("CUPY_CACHE_DIR", "elsewhere")
        assert server_environment(find_triton(), **given)["CUPY_CACHE_DIR"] == "elsewhere"

    def test_compiled_kernels_go_to_the_cache_if_the_package_cannot_be_written(self, tmp_path, monkeypatch):
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        triton = find_triton()
        environment = server_environment(triton, backends=tmp_path, runtime=tmp_path, cache=tmp_path)
        assert "NUMBA_CACHE_DIR" not in environment
        # Root may write everywhere, so the answer of the system stands in for a read-only package.
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        environment = server_environment(triton, backends=tmp_path, runtime=tmp_path, cache=tmp_path)
        assert environment["NUMBA_CACHE_DIR"] == str(tmp_path / "numba")


def is_ready(http_url, ask):
    try:
        return ask(http_url, "/v2/health/ready")[0] == 200
    except urllib.error.URLError:
        return False


@pytest.mark.server
def test_plain_tritonserver_serves_from_it(tmp_path, make_repository, ask, infer):
    repository = make_repository({"decode": "holding"}, ensembles={"service": "decode"})
    command = plain_command(tmp_path / "backends", repository=repository)
    ports = choose_ports(Endpoints(address="127.0.0.1", http=0, grpc=0, metrics=0))
    options = f" --http-port={ports.http} --grpc-port={ports.grpc} --metrics-port={ports.metrics}"
    log = tmp_path / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["bash", "-c", f"exec env {command.shell()}{options}"], stdout=output, stderr=output, cwd=tmp_path
        )
    try:
        end = time.monotonic() + 60
        while not is_ready(ports.http_url, ask):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        # Its stage has no runtime folder, so it never is told to take no more streams.
        assert infer(ports.http_url, "service", 2) == 0
        status, answer = ask(ports.http_url, "/v2/repository/models/decode/load", method="POST", body={})
        assert status != 200
        assert "explicit model load / unload is not allowed" in answer
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
