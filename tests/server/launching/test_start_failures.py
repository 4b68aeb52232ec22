# SPDX-License-Identifier: MIT
"""A server that cannot start says why, and leaves nothing."""

import os
import re
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from vireo_server.launching import (
    ModelLoadError,
    PortError,
    RepositoryError,
    ServerDiedError,
    StartTimeoutError,
    UnknownServiceError,
    load_service,
    running_server,
)
from vireo_server.launching.errors import LaunchError
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints
from vireo_server.launching.process import ServerProcess
from vireo_server.launching.readiness import Starting

pytestmark = pytest.mark.server


def start(repository, **options):
    with running_server(repository=repository, **options):
        raise AssertionError("the server must not start")


def start_shell(script, *, folder):
    """A shell script in the place of Triton, for ends that Triton does not come to when asked."""
    log = ServerLog()
    process = ServerProcess(["/bin/sh", "-c", script], environment={}, folder=folder, log=log, secret="-")
    return Starting(process=process, log=log, endpoints=Endpoints("127.0.0.1", 7, 8, 9), models=["echo"])


@pytest.fixture
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield tmp_path / "temporary"
    # Whatever failed, no runtime folder is left.
    assert [path for folder in (tmp_path / "temporary").iterdir() for path in folder.iterdir()] == []


@pytest.mark.usefixtures("own_temporary_folder")
class TestModels:
    def test_exception_while_loading_is_told_with_the_model(self, make_repository):
        with pytest.raises(ModelLoadError) as caught:
            start(make_repository({"network": "failing", "echo": "echo"}))
        message = str(caught.value)
        assert "1 model could not be loaded" in message
        assert "network: FileNotFoundError: the weights 'network.onnx' are missing" in message
        assert "put them beside config.pbtxt" in message
        assert "/toys/failing.py" in message or "/network/1/model.py" in message
        assert "echo:" not in message

    def test_step_of_an_ensemble_is_named_and_not_the_ensemble(self, make_repository):
        with pytest.raises(ModelLoadError, match=r"1 model could not be loaded:\n  network: FileNotFoundError"):
            start(make_repository({"network": "failing"}, ensembles={"service": "network"}))

    def test_missing_package_is_told_with_where_stages_look(self, make_repository):
        repository = make_repository({"network": "echo"})
        (repository / "network" / "1" / "model.py").unlink()
        (repository / "network" / "1" / "model.py").write_text("import no_such_package\n")
        with pytest.raises(ModelLoadError) as caught:
            start(repository)
        assert "network: ModuleNotFoundError: No module named 'no_such_package'" in str(caught.value)
        assert f"stages see the packages of {sys.prefix!r} alone" in str(caught.value)

    def test_process_that_dies_while_loading_is_told_with_its_last_words(self, make_repository):
        with pytest.raises(ModelLoadError) as caught:
            start(make_repository({"network": "dying"}))
        assert "network: its process died while it was loaded" in str(caught.value)
        assert "last words of the dying model" in str(caught.value)

    def test_unreadable_configuration_is_told_with_its_place(self, make_repository):
        repository = make_repository({"network": "echo"})
        (repository / "network" / "config.pbtxt").write_text('backend: "python"\nshape: 4\n')
        with pytest.raises(ModelLoadError) as caught:
            start(repository)
        assert "network: failed to read text proto" in str(caught.value)
        assert '2:6: Message type "inference.ModelConfig" has no field named "shape"' in str(caught.value)

    def test_backend_that_does_not_exist_is_named(self, make_repository):
        repository = make_repository({"network": "echo"})
        config = (repository / "network" / "config.pbtxt").read_text()
        (repository / "network" / "config.pbtxt").write_text(config.replace('"python"', '"nonesuch"'))
        with pytest.raises(ModelLoadError, match="network: unable to find backend library for backend 'nonesuch'"):
            start(repository)

    def test_step_that_does_not_exist_is_named(self, make_repository):
        with pytest.raises(ModelLoadError, match=r"service: contains models that are not available.*: nonesuch"):
            start(make_repository({}, ensembles={"service": "nonesuch"}))

    def test_model_without_a_version_is_named(self, make_repository):
        repository = make_repository({"network": "echo"})
        (repository / "network" / "1" / "model.py").unlink()
        (repository / "network" / "1").rmdir()
        with pytest.raises(ModelLoadError, match="network: at least one version must be available"):
            start(repository)

    def test_loading_that_takes_too_long_is_ended(self, make_repository):
        with pytest.raises(StartTimeoutError, match="not ready within 1 s; not loaded yet: network"):
            start(make_repository({"network": "slow"}), start_seconds=1)


class TestStandingStill:
    def test_the_server_is_started_again_and_says_what_stood_where(self, make_repository, tmp_path, monkeypatch):
        monkeypatch.setenv("TOYS_SEEN", str(tmp_path))
        repository = make_repository({"echo": "echo", "frozen": "stopping", "locked": "stopping"})
        with running_server(repository=repository, stall_seconds=3) as server:
            lines = server.log.splitlines()
        (said,) = (line for line in lines if "loading stands still" in line)
        assert re.search(
            r"for 3 s nothing .* frozen \(process \d+, stopped by a signal\), locked \(process \d+\);", said
        )
        assert said.endswith("the server is started again")
        assert any("in wait_for_a_lock" in line for line in lines[: lines.index(said)])

    def test_what_stands_still_while_it_is_loaded_later_is_loaded_again(self, make_repository, tmp_path, monkeypatch):
        monkeypatch.setenv("TOYS_SEEN", str(tmp_path))
        repository = make_repository({"echo": "echo", "frozen": "stopping"})
        with running_server(repository=repository, services=["echo"], stall_seconds=3) as server:
            load_service("frozen", address=server.grpc_url)
            assert re.search(r"loading again frozen \(process \d+, stopped by a signal\)", server.log)
            assert server.services == ("echo", "frozen")

    def test_a_model_that_computes_gets_on(self, make_repository):
        with running_server(repository=make_repository({"busy": "busy"}), stall_seconds=1) as server:
            assert "stands still" not in server.log

    def test_what_stands_still_again_is_waited_for(self, make_repository):
        with pytest.raises(StartTimeoutError, match="not ready within 3 s; not loaded yet: network"):
            start(make_repository({"network": "slow"}), start_seconds=3, stall_seconds=1)


def test_a_triton_that_crashes_is_started_again_once(make_repository, tmp_path, monkeypatch):
    monkeypatch.setenv("TOYS_SEEN", str(tmp_path))
    repository = make_repository({"crashing": "stopping"})
    with running_server(repository=repository) as server:
        assert "vireo: error: serve: Triton ended by itself (signal 6)" in server.log


class TestRepository:
    def test_missing_folder(self, tmp_path):
        with pytest.raises(RepositoryError, match=r"'.*nowhere' does not exist"):
            start(tmp_path / "nowhere")

    def test_unknown_service_lists_the_known(self, make_repository):
        with pytest.raises(UnknownServiceError, match="no service 'upscale'; it has one, two"):
            start(make_repository({"one": "echo", "two": "echo"}), services=["upscale"])


class TestPorts:
    @pytest.mark.parametrize("which", ["http", "grpc", "metrics"])
    def test_port_that_is_taken_is_named_with_its_option(self, make_repository, which):
        repository = make_repository({"echo": "echo"})
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(PortError, match=rf"port {port} on 127.0.0.1 is taken .* --{which}-port"):
                start(repository, **{f"{which}_port": port})

    def test_port_that_is_taken_after_the_check_is_told_by_tritons_own_words(self, tmp_path):
        said = "E1122 13:19:52.182356 71 main.cc:245] \"failed to start GRPC service: Socket '::1:9' already in use \""
        starting = start_shell(f"cat <<'E'\n{said}\nE\nexit 1", folder=tmp_path)
        with pytest.raises(PortError, match="failed to start GRPC service"):
            starting.wait_until_ready(30, interrupted=lambda: False)


def test_triton_that_ends_for_another_reason_is_told_with_its_last_words(tmp_path):
    starting = start_shell("echo first; echo last; kill -SEGV $$", folder=tmp_path)
    with pytest.raises(ServerDiedError, match=r"ended by itself \(signal 11\); its last words:\n  first\n  last"):
        starting.wait_until_ready(30, interrupted=lambda: False)


def test_every_error_is_a_launch_error():
    for error in (ModelLoadError, PortError, RepositoryError, ServerDiedError, StartTimeoutError, UnknownServiceError):
        assert issubclass(error, LaunchError)
        assert isinstance(error("said"), (RuntimeError, OSError, ValueError))


def test_temporary_folder_of_another_user_is_refused(make_repository, tmp_path, monkeypatch):
    repository = make_repository({"echo": "echo"})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "temporary").mkdir()
    Path(tmp_path / "temporary" / f"vireo-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(LaunchError, match="belongs to"):
        start(repository)
