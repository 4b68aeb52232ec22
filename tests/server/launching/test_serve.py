# SPDX-License-Identifier: MIT
"""`vireo serve` as a program: its lines, its signals, its exit codes, and what is left when it is killed."""

import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from vireo_server.heartbeat import read_beats
from vireo_server.launching import running_server

pytestmark = pytest.mark.server


def runtime_of(program):
    """The runtime folder of a running program: the server is its only child."""
    tasks = Path(f"/proc/{program.process.pid}/task")
    [pid] = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    variables = dict(part.partition(b"=")[::2] for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return Path(os.fsdecode(variables[b"VIREO_RUNTIME_DIR"]))


def server_pid(runtime, server_processes):
    [pid] = [pid for pid in server_processes(runtime) if Path(f"/proc/{pid}/exe").readlink().name == "tritonserver"]
    return pid


def nothing_left(runtime, server_processes):
    regions = list(Path("/dev/shm").glob(f"vireo-{runtime.name}-*"))
    return not runtime.exists() and not regions and not server_processes(runtime)


def test_one_line_says_ready_and_the_first_signal_ends_it(make_repository, start_program, server_processes, infer):
    repository = make_repository({"echo": "echo", "file": "echo"}, ensembles={"service": "echo"})
    program = start_program(repository=repository)
    ready = program.ready()
    assert ready["services"] == "service"
    assert infer(ready["http"], "service", 5) == 5
    assert ready["grpc"].startswith("127.0.0.1:")
    assert ready["metrics"].startswith("127.0.0.1:")
    runtime = runtime_of(program)
    program.send(signal.SIGTERM)
    code, lines = program.finish()
    assert code == 0
    assert lines[-1] == "vireo: stopped"
    assert len([line for line in lines if "ready" in line]) == 1
    # Two models of one toy, each with a printed and a logged line; nothing of Triton's own.
    rest = [line for line in lines if "printed by" not in line and "logged by" not in line]
    assert [line.partition("  ")[0] for line in rest] == ["vireo: ready", "vireo: stopped"]
    assert nothing_left(runtime, server_processes)


def test_verbose_shows_everything_triton_says(make_repository, start_program):
    program = start_program(repository=make_repository({"echo": "echo"}), verbose=True)
    program.ready()
    assert any("successfully loaded 'echo'" in line for line in program.lines)
    assert any(line.startswith("+--") for line in program.lines)
    program.send(signal.SIGINT)
    assert program.finish()[0] == 0


@pytest.fixture
def holding(make_repository, start_program, infer):
    """A server whose decode stage holds two streams; the program and its HTTP address."""
    program = start_program(repository=make_repository({"decode": "holding"}), drain_seconds=60)
    http_url = program.ready()["http"]
    assert infer(http_url, "decode", 2) == 0
    return program, http_url


def test_first_signal_waits_until_open_streams_end(holding, server_processes, infer):
    program, http_url = holding
    runtime = runtime_of(program)
    program.send(signal.SIGTERM)
    line = program.line_with("stopping")
    assert "waiting up to 60 s for 2 open streams" in line
    # It still serves the open streams, and tells the stage to take no new ones.
    while infer(http_url, "decode", 1) == 0:
        pass
    assert program.process.poll() is None
    infer(http_url, "decode", 0)
    code, lines = program.finish()
    assert code == 0
    assert not any("cut off" in line for line in lines)
    assert nothing_left(runtime, server_processes)


def test_second_signal_stops_at_once(holding, server_processes):
    program, _ = holding
    runtime = runtime_of(program)
    program.send(signal.SIGTERM)
    program.line_with("stopping")
    program.send(signal.SIGINT)
    # Far below the 60 s of draining; the bound is the test's, the program's own is below a second.
    code, lines = program.finish(seconds=30)
    assert code == 0
    assert "vireo: warning: 2 streams cut off" in lines
    assert nothing_left(runtime, server_processes)


def test_open_streams_are_cut_off_when_the_time_is_over(make_repository, start_program, infer):
    program = start_program(repository=make_repository({"decode": "holding"}), drain_seconds=0.5)
    assert infer(program.ready()["http"], "decode", 1) == 0
    program.send(signal.SIGTERM)
    code, lines = program.finish()
    assert code == 0
    assert "vireo: warning: 1 stream cut off" in lines


def test_signal_while_starting_stops_it(make_repository, start_program, server_processes):
    program = start_program(repository=make_repository({"echo": "echo", "slow": "slow"}))
    program.line_with("printed by echo")
    runtime = runtime_of(program)
    program.send(signal.SIGTERM)
    code, lines = program.finish()
    assert code == 0
    assert lines[-1] == "vireo: stopped before it was ready"
    assert nothing_left(runtime, server_processes)


def test_kill_takes_the_server_along_and_the_next_start_cleans_up(
    make_repository, start_program, server_processes, infer, wait_for
):
    repository = make_repository({"decode": "holding"})
    program = start_program(repository=repository)
    http_url = program.ready()["http"]
    infer(http_url, "decode", 1)
    runtime = runtime_of(program)
    server = server_pid(runtime, server_processes)
    # Its stage hangs in a request, so it does not see by itself that its server is gone.
    with socket.create_connection(("127.0.0.1", int(http_url.partition(":")[2]))) as connection:
        body = b'{"inputs": [{"name": "IN", "datatype": "INT64", "shape": [1], "data": [9]}]}'
        head = f"POST /v2/models/decode/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + body)
        while not any(beat.busy_since for beat in read_beats(runtime)):
            time.sleep(0.05)
        ended = os.pidfd_open(server)
        program.send(signal.SIGKILL)
        # The kernel ends the server too.
        assert select.select([ended], [], [], 30)[0]
        os.close(ended)
    assert server not in server_processes(runtime)
    with running_server(repository=repository):
        # Whichever server starts first cleans up, perhaps another test's.
        wait_for(lambda: nothing_left(runtime, server_processes))


def test_triton_that_dies_is_started_again_on_its_ports_until_it_is_given_up(
    make_repository, start_program, server_processes, infer
):
    program = start_program(repository=make_repository({"echo": "echo"}))
    ready = program.ready()
    for _ in range(2):
        runtime = runtime_of(program)
        os.kill(server_pid(runtime, server_processes), signal.SIGKILL)
        program.line_with("vireo serve: Triton ended by itself (signal 9)")
        assert program.ready() == ready
        assert infer(ready["http"], "echo", 7) == 7
        assert nothing_left(runtime, server_processes)
    runtime = runtime_of(program)
    os.kill(server_pid(runtime, server_processes), signal.SIGKILL)
    code, lines = program.finish()
    assert code == 1
    assert lines[-1] == "vireo: error: given up: Triton died 3 times in a row soon after it was ready"
    assert nothing_left(runtime, server_processes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"services": ["upscale"]}, "has no service 'upscale'; it has echo;"),
        ({"repository": "/nowhere"}, "the model repository '/nowhere' does not exist"),
        ({"http_port": 70000}, "--http-port 70000 is no port"),
        ({"address": "192.0.2.1"}, "cannot listen on '192.0.2.1'"),
        ({"address": "no.such.host.invalid"}, "the address 'no.such.host.invalid' is unknown"),
        ({"drain_seconds": -1}, "--drain-seconds -1 is not possible"),
        ({"grpc_port": 7, "metrics_port": 7}, "two of the ports are the same"),
    ],
)
def test_wrong_options_are_one_message_and_no_traceback(make_repository, start_program, options, message):
    program = start_program(**{"repository": make_repository({"echo": "echo"}), **options})
    code, lines = program.finish()
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("vireo serve: ")
    assert message in lines[0]
