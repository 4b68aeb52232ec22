# SPDX-License-Identifier: MIT
"""Stages that die or hang come back; one that keeps dying is given up, and the others go on."""

import json
import os
import signal
from pathlib import Path

import pytest
from vireo_server.launching import running_server, watchdog
from vireo_server.launching.stages import running_stages

pytestmark = pytest.mark.server


@pytest.fixture
def serve_toys(make_repository):
    def serve_toys(models, **options):
        return running_server(repository=make_repository(models, ensembles={"service": next(iter(models))}), **options)

    return serve_toys


def stage_of(server, model):
    [stage] = [stage for stage in running_stages(server.pid) if stage.model == model]
    return stage


@pytest.fixture
def wait_for_log(wait_for):
    return lambda server, text, *, times=1: wait_for(lambda: server.log.count(text) >= times, told=lambda: server.log)


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "signal 9, SIGKILL"), (signal.SIGSEGV, "signal 11, SIGSEGV")]
)
def test_killed_stage_comes_back(serve_toys, infer, number, words, wait_for_log):
    said = []
    with serve_toys({"decode": "holding", "encode": "holding"}, say=said.append) as server:
        infer(server.http_url, "decode", 2)
        dead = stage_of(server, "decode")
        other = stage_of(server, "encode")
        os.kill(dead.pid, number)
        wait_for_log(server, "decode is back after")
        assert f"vireo: error: decode (process {dead.pid}) died ({words}), and with it 2 open streams" in said
        assert infer(server.http_url, "service", 3) == 0
        assert server.open_streams() == 3
        # Its memory and its heartbeat are gone, and nobody else was touched.
        assert not Path("/dev/shm", dead.region).exists()
        assert stage_of(server, "decode").pid != dead.pid
        assert stage_of(server, "encode") == other
        assert server.given_up() == {}


def test_the_metrics_tell_what_was_started_again(serve_toys, ask, infer, wait_for_log):
    with serve_toys({"counting": "counting"}) as server:
        for starts in (1, 2, 3):
            _, text = ask(server.metrics_url, "/metrics")
            assert f'vireo_stage_starts{{model="counting"}} {starts}\n' in text
            os.kill(stage_of(server, "counting").pid, signal.SIGKILL)
            wait_for_log(server, "counting is back after", times=starts)
        assert infer(server.http_url, "service", 5) == 5


def test_stage_comes_back_as_often_as_it_takes(serve_toys, infer, monkeypatch, wait_for_log):
    # No death counts as early here: that is the next test's.
    monkeypatch.setattr(watchdog, "_SOON_SECONDS", 0.0)
    with serve_toys({"echo": "echo"}) as server:
        for count in range(1, 8):
            os.kill(stage_of(server, "echo").pid, signal.SIGKILL)
            wait_for_log(server, "echo is back after", times=count)
            assert infer(server.http_url, "service", count) == count
        assert len(list(Path("/dev/shm").glob(f"vireo-{server.runtime.name}-*"))) == 1


def test_stage_that_hangs_in_a_request_is_replaced(serve_toys, ask, infer, wait_for_log):
    with serve_toys({"network": "hanging"}) as server:
        body = {"inputs": [{"name": "IN", "datatype": "INT64", "shape": [1], "data": [9]}]}
        status, answer = ask(server.http_url, "/v2/models/service/infer", method="POST", body=body)
        # Whoever sent that request is told, and need not wait for ever.
        assert status == 500
        assert "network" in json.loads(answer)["error"]
        wait_for_log(server, "network is back after")
        assert "has worked on one request for more than 1 s; killing it" in server.log
        assert infer(server.http_url, "service", 4) == 4


def test_stage_that_is_frozen_is_replaced(serve_toys, infer, wait_for_log):
    with serve_toys({"network": "hanging"}) as server:
        os.kill(stage_of(server, "network").pid, signal.SIGSTOP)
        wait_for_log(server, "network is back after")
        assert "has given no sign of life for more than 1 s; killing it" in server.log
        assert infer(server.http_url, "service", 4) == 4


def test_stage_that_keeps_dying_is_given_up_and_others_go_on(make_repository, ask, infer, monkeypatch, wait_for_log):
    monkeypatch.setattr(watchdog, "_PAUSE_SECONDS", (0.0,) * 4)
    repository = make_repository({"network": "short_lived", "echo": "echo"}, ensembles={"service": "network"})
    with running_server(repository=repository) as server:
        wait_for_log(server, "network is given up")
        assert list(server.given_up()) == ["network"]
        assert "network (process " in server.log
        assert "died (exit code 3)" in server.log
        assert ask(server.http_url, "/v2/models/service/ready")[0] != 200
        assert infer(server.http_url, "echo", 6) == 6
        assert len(list(Path("/dev/shm").glob(f"vireo-{server.runtime.name}-*"))) == 1


def test_stage_that_cannot_be_loaded_again_is_given_up_with_the_reason(make_repository, monkeypatch, wait_for_log):
    monkeypatch.setattr(watchdog, "_PAUSE_SECONDS", (0.0,) * 4)
    repository = make_repository({"network": "echo"})
    with running_server(repository=repository) as server:
        model = repository / "network" / "1" / "model.py"
        model.unlink()
        model.write_text("raise ImportError('the codec library is gone')\n")
        os.kill(stage_of(server, "network").pid, signal.SIGKILL)
        wait_for_log(server, "network is given up")
        assert "Triton did not load the model 'network'" in server.log
        assert "ImportError: the codec library is gone" in server.log


def test_end_of_the_server_is_no_death_of_its_stages(serve_toys):
    said = []
    with serve_toys({"decode": "holding", "encode": "holding"}, say=said.append):
        pass
    assert said == []
