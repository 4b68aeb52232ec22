# SPDX-License-Identifier: MIT
"""What the health port says, while Triton says ready whatever happens."""

import json
import os
import signal
import socket
import time

import pytest
from vireo_server.launching import LaunchError, running_server
from vireo_server.launching.stages import running_stages

pytestmark = pytest.mark.server


@pytest.fixture
def look(ask):
    def look(server, path):
        status, body = ask(server.health_url, path)
        return status, json.loads(body)

    return look


def test_all_is_well_and_listens_on_the_loopback_address(make_repository, look):
    repository = make_repository({"echo": "echo", "decode": "holding"}, ensembles={"service": "echo"})
    with running_server(repository=repository) as server:
        assert server.health_url.startswith("127.0.0.1:")
        assert look(server, "/livez") == (200, {"alive": True, "state": "serving"})
        status, body = look(server, "/readyz")
        assert (status, body["ready"], body["open_streams"]) == (200, True, 0)
        assert body["services"] == {name: {"ready": True, "faults": {}} for name in ("decode", "service")}
        assert look(server, "/readyz/service")[0] == 200
        status, body = look(server, "/readyz/upscale")
        assert status == 404
        assert "['decode', 'service']" in body["error"]


def test_a_dead_stage_makes_its_service_not_ready_and_no_other(make_repository, look, ask):
    repository = make_repository({"echo": "echo", "other": "echo"}, ensembles={"service": "echo"})
    with running_server(repository=repository) as server:
        [stage] = [stage for stage in running_stages(server.pid) if stage.model == "echo"]
        os.kill(stage.pid, signal.SIGKILL)
        seen = []
        end = time.monotonic() + 30
        while "echo is back after" not in server.log:
            assert time.monotonic() < end, server.log
            seen.append(look(server, "/readyz"))
        unready = [body for status, body in seen if status == 503]
        assert unready, "it was dead for some time"
        assert all(body["services"]["other"]["ready"] for body in unready)
        assert {reason for body in unready for reason in body["services"]["service"]["faults"].values()} <= {
            f"its process {stage.pid} died",
            "being replaced",
        }
        assert look(server, "/readyz")[0] == 200


def test_a_server_that_drains_is_alive_and_not_ready(make_repository, look):
    with running_server(repository=make_repository({"echo": "echo"})) as server:
        server.drain(0)
        assert look(server, "/livez")[0] == 200
        status, body = look(server, "/readyz")
        assert (status, body["state"]) == (503, "draining")
        assert look(server, "/readyz/echo")[0] == 503


def test_a_dead_server_is_not_alive(make_repository, look):
    with running_server(repository=make_repository({"echo": "echo"})) as server:
        os.kill(server.pid, signal.SIGKILL)
        while server.is_running():
            time.sleep(0.01)
        assert look(server, "/livez") == (503, {"alive": False, "state": "dead"})


def test_a_port_that_is_taken_is_said(make_repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(LaunchError, match=f"port {port} on 127.0.0.1 is taken .* choose another with --health-port"),
            running_server(repository=make_repository({"echo": "echo"}), health_port=port),
        ):
            pass
