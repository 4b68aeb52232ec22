# SPDX-License-Identifier: MIT
"""`vireo unload`: a service goes with the stages that nobody else uses, and comes back; open streams are in its way."""

import os
import signal
import time

import pytest
from vireo_client.command_line import main
from vireo_server.launching import ModelLoadError, load_service, running_server, unload_service
from vireo_server.launching.stages import running_stages

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(make_module_repository):
    repository = make_module_repository(
        {"decode": "holding", "shared": "echo", "own": "holding", "old": "echo", "new": "echo"},
        ensembles={"one": "shared", "two": "shared", "three": "own", "four": "old", "four.2": "new"},
    )
    with running_server(repository=repository) as server:
        yield server


@pytest.fixture
def unload(server):
    """`unload("one")`; all that was unloaded comes back after the test."""
    before = server.services

    yield lambda service, **options: unload_service(service, address=server.grpc_url, **options)
    for service in before:
        if service not in server.services:
            load_service(service, address=server.grpc_url)


def models(server):
    return {stage.model for stage in running_stages(server.pid) if not stage.is_dead()}


@pytest.fixture
def wait_until_gone(wait_for):
    return lambda server, model: wait_for(lambda: model not in models(server))


def test_stages_that_another_service_uses_stay(server, unload, infer, ask, wait_until_gone):
    assert unload("one").models == ("one",)
    assert "one" not in server.services
    assert "one" not in server.health().services
    assert ask(server.http_url, "/v2/models/one/ready")[0] == 400
    assert infer(server.http_url, "two", 7) == 7
    assert unload("two").models == ("two", "shared")
    wait_until_gone(server, "shared")
    load_service("one", address=server.grpc_url)
    assert infer(server.http_url, "one", 8) == 8
    assert "one" in server.services


def test_open_streams_are_in_its_way_unless_it_is_forced(server, unload, infer, wait_until_gone):
    infer(server.http_url, "three", 2)
    with pytest.raises(ModelLoadError, match=r"unload: 'three' has 2 open streams; .* cut them off with --force"):
        unload("three")
    assert infer(server.http_url, "three", 2) == 0
    unloaded = unload("three", force=True)
    assert (unloaded.models, unloaded.streams) == (("three", "own"), 2)
    wait_until_gone(server, "own")


def test_what_was_unloaded_is_not_taken_for_dead_and_is_looked_after_again(
    server, unload, infer, wait_until_gone, wait_for
):
    unload("three", force=True)
    wait_until_gone(server, "own")
    time.sleep(2)  # The watchdog looks twice a second.
    assert server.health().state == "serving"
    assert "died" not in server.log
    load_service("three", address=server.grpc_url)
    (stage,) = (stage for stage in running_stages(server.pid) if stage.model == "own" and not stage.is_dead())
    os.kill(stage.pid, signal.SIGKILL)
    wait_for(lambda: "own is back" in server.log, told=lambda: server.log)
    assert infer(server.http_url, "three", 0) == 0


def test_a_version_alone_or_all_of_them(server, unload):
    assert unload("four", version=2).models == ("four.2", "new")
    assert "four" in server.services
    load_service("four.2", address=server.grpc_url)
    assert unload("four").models == ("four", "four.2", "old", "new")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["five"], "unload: no service 'five' is served; there are"),
        (["shared"], "unload: no service 'shared' is served"),
        (["file"], "unload: no service 'file' is served"),
        (["four", "--version", "3"], "unload: no service 'four.3' is served"),
        (["four", "--version", "1"], "version 1 of 'four' cannot be unloaded alone"),
        (["one", "--url", "127.0.0.1:1"], "unload: the server '127.0.0.1:1' was looked for among those"),
    ],
)
def test_what_cannot_be_unloaded_says_why(server, monkeypatch, capsys, arguments, said):
    if "--url" not in arguments:
        arguments = [*arguments, "--url", server.grpc_url]
    monkeypatch.setattr("sys.argv", ["vireo", "unload", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (caught.value.code, said in line) == (1, True), line


def test_the_command_says_what_went(server, unload, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["vireo", "unload", "two", "--url", server.http_url])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().out) == (0, f"two unloaded from {server.grpc_url}\n")
    assert "two" not in server.services
