# SPDX-License-Identifier: MIT
"""A server that runs: what it serves, what it keeps closed, and that nothing is left of it."""

import subprocess
import sys
from pathlib import Path

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException
from vireo_server.launching import running_server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(make_module_repository):
    repository = make_module_repository(
        {
            "decode": "holding",
            "mine_decode": "holding",
            "echo": "echo",
            "file": "echo",
            "unused": "failing",
            "counting": "counting",
        },
        ensembles={"service": "echo", "other": "unused"},
    )
    with running_server(repository=repository, services=["service", "decode", "mine_decode", "counting"]) as server:
        yield server


@pytest.fixture
def grpc(server):
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield client


def regions(server):
    return list(Path("/dev/shm").glob(f"vireo-{server.runtime.name}-*"))


def test_serves_named_services_their_steps_and_file(server, ask, infer):
    assert server.services == ("service", "decode", "mine_decode", "counting")
    assert infer(server.http_url, "service", 7) == 7
    for model in ("service", "echo", "decode", "file"):
        assert ask(server.http_url, f"/v2/models/{model}/ready")[0] == 200
    assert ask(server.http_url, "/v2/models/other/ready")[0] == 400


def test_listens_on_the_loopback_address_only(server):
    assert server.http_url.startswith("127.0.0.1:")
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()]
    listening = [words[1] for words in lines if words[3] == "0A"]
    for url in (server.http_url, server.grpc_url, server.metrics_url):
        port = f"{int(url.partition(':')[2]):04X}"
        # 127.0.0.1 as the kernel writes it, in IPv4 or mapped into IPv6 (gRPC).
        loopback = {f"0100007F:{port}", f"0000000000000000FFFF00000100007F:{port}"}
        places = {place for place in listening if place.endswith(f":{port}")}
        assert places
        assert places <= loopback


def test_metrics_are_served(server, ask):
    status, text = ask(server.metrics_url, "/metrics")
    assert status == 200
    assert "nv_inference_request_success" in text


def test_streams_that_count_at_once_leave_triton_alive_and_lose_nothing(server, ask, infer):
    assert infer(server.http_url, "counting", 2000) == 2000
    _, text = ask(server.metrics_url, "/metrics")
    labels = 'direction="to_host",model="counting",stage="toy"'
    assert f"vireo_host_device_bytes{{{labels}}} 8000" in text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/repository/models/echo/load", {}),
        ("POST", "/v2/repository/models/echo/unload", {}),
        ("POST", "/v2/repository/index", {}),
        ("POST", "/v2/logging", {"log_info": False}),
        ("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
        ("POST", "/v2/systemsharedmemory/region/r/register", {"key": "/r", "offset": 0, "byte_size": 8}),
        ("GET", "/v2/systemsharedmemory/status", None),
        ("GET", "/v2/cudasharedmemory/status", None),
    ],
)
def test_http_closes_what_callers_have_no_business_with(server, ask, method, path, body):
    status, text = ask(server.http_url, path, method=method, body=body)
    assert status == 403, text
    status, text = ask(server.http_url, path, method=method, body=body, headers={"vireo-key": "guessed"})
    assert status == 403, text


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.load_model("echo"),
        lambda client: client.load_model(
            "evil", config='{"backend": "python"}', files={"file:1/model.py": b"raise SystemExit"}
        ),
        lambda client: client.unload_model("echo"),
        lambda client: client.get_model_repository_index(),
        lambda client: client.update_log_settings({"log_info": False}),
        lambda client: client.get_trace_settings(),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("r", "/r", 8),
        lambda client: client.get_cuda_shared_memory_status(),
    ],
)
def test_grpc_closes_what_callers_have_no_business_with(grpc, call):
    with pytest.raises(InferenceServerException, match="This protocol is restricted"):
        call(grpc)


def test_what_callers_need_is_open_over_both(server, grpc, ask):
    assert grpc.is_server_ready()
    assert grpc.is_model_ready("service")
    assert grpc.get_model_metadata("service").name == "service"
    assert grpc.get_model_config("service").config.name == "service"
    assert grpc.get_inference_statistics("service").model_stats[0].name == "service"
    for path in ("/v2/health/ready", "/v2/models/service/config", "/v2/models/service", "/v2/models/service/stats"):
        assert ask(server.http_url, path)[0] == 200


def test_the_key_opens_model_control_and_is_in_no_command_line(server, ask):
    status, _ = ask(server.http_url, "/v2/repository/index", method="POST", headers={"vireo-key": server.key})
    assert status == 200
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert server.key.encode() not in (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue


def test_log_keeps_what_models_say(server):
    assert "printed by echo: ✓" in server.log
    assert "logged by the echo model" in server.log


def test_stages_report_their_streams(server, infer):
    assert server.open_streams() == 0
    infer(server.http_url, "decode", 3)
    assert server.open_streams() == 3
    infer(server.http_url, "mine_decode", 2)  # decoding is part of the service's own first stage
    infer(server.http_url, "echo", 1)
    assert server.open_streams() == 5
    infer(server.http_url, "decode", 0)
    infer(server.http_url, "mine_decode", 0)
    assert server.open_streams() == 0


def test_nothing_is_left_after_the_end(make_repository, server_processes):
    said = []
    with running_server(repository=make_repository({"echo": "echo"}), say=said.append) as server:
        # The server and its one stage; one region for the stage.
        assert len(server_processes(server.runtime)) == 2
        assert len(regions(server)) == 1
        assert "vireo: printed by echo: ✓" in said
        assert "vireo: logged by the echo model" in said
        assert not [line for line in said if "error" in line or "warning" in line or "+--" in line]
    assert server_processes(server.runtime) == []
    assert regions(server) == []
    assert not server.runtime.exists()
    server.stop()


def test_stop_waits_for_finalize(make_repository, tmp_path):
    repository = make_repository({"echo": "echo"})
    model = repository / "echo" / "1" / "model.py"
    source = model.read_text()
    model.unlink()
    mark = tmp_path / "finalized"
    model.write_text(source + f"\n    def finalize(self):\n        open({str(mark)!r}, 'w').close()\n")
    with running_server(repository=repository):
        assert not mark.exists()
    assert mark.exists()


def test_the_server_ends_with_the_program_that_started_it(make_repository, server_processes, tmp_path):
    repository = make_repository({"echo": "echo"})
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom vireo_server.launching import running_server\n"
        "with running_server(repository=Path(sys.argv[1])) as server:\n"
        "    print(server.runtime, flush=True)\n    os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(repository)], capture_output=True, text=True, check=False)
    runtime = Path(done.stdout.strip())
    assert runtime.name, done.stderr
    # The next server takes away whatever the dead one left: perhaps processes that end by now, memory, the folder.
    with running_server(repository=repository):
        assert server_processes(runtime) == []
        assert not runtime.exists()
        assert not list(Path("/dev/shm").glob(f"vireo-{runtime.name}-*"))
