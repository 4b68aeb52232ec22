# SPDX-License-Identifier: MIT
"""The client on a real Triton: what it asks, how it stops, and every way a video may be cut."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from vireo_client import Client
from vireo_client.errors import UnknownServiceError
from vireo_media.testing import numbered_clip, read_frames, read_numbers
from vireo_server.launching import RunningServer, running_server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(services=["passthrough"]) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.grpc_url) as client:
        yield client


def test_services_are_read_from_the_server(client: Client) -> None:
    (service,) = client.services()
    assert (service.name, service.description.kind, service.description.segments) == (
        "passthrough",
        "transformation",
        True,
    )


@pytest.mark.parametrize("name", ["upscale", "decode", "passthrough_network"])
def test_what_is_no_service_is_refused_with_what_is_served(
    client: Client, clip: Path, tmp_path: Path, name: str
) -> None:
    """A stage of a service is a model too, but nothing to send a video to."""
    with pytest.raises(
        UnknownServiceError, match=f"service '{name}' is not served at .*; served are passthrough; choose"
    ):
        client.run(name, clip, tmp_path / "out.mp4")


X265 = "log-level=none:pools=1"


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("closed.mp4", {}),
        ("start.ts", {}),
        ("open.mkv", {"options": {"x264-params": "open-gop=1:keyint=27:bframes=3:b-adapt=0:scenecut=0"}}),
        ("refresh.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=25"}}),
        ("hevc_open.mp4", {"codec": "libx265", "options": {"x265-params": f"keyint=27:b-adapt=0:bframes=3:{X265}"}}),
        ("hidden.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "1M"}}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("open.ts", {"codec": "mpeg2video", "options": {"sc_threshold": "1000000000"}}),
        ("mpeg4.mp4", {"codec": "mpeg4"}),
        ("intra.mkv", {"codec": "ffv1", "gop": 1}),
    ],
)
def test_every_way_to_cut_keeps_every_frame(
    client: Client, tmp_path: Path, file: str, arguments: dict[str, Any]
) -> None:
    source = tmp_path / file
    numbered_clip(source, **{"frames": 250, "gop": 25, "size": (160, 96)} | arguments)
    result = client.run("passthrough", source, tmp_path / "out.mp4")
    assert list(read_frames(tmp_path / "out.mp4")) == list(read_frames(source))
    assert result.segments == (1 if file == "refresh.mp4" else 3)


def test_avi_without_presentation_times_keeps_its_order(client: Client, tmp_path: Path) -> None:
    numbered_clip(tmp_path / "in.avi", frames=100, size=(160, 96))
    client.run("passthrough", tmp_path / "in.avi", tmp_path / "out.mp4")
    times = [time for time, _ in read_frames(tmp_path / "out.mp4")]
    assert read_numbers(tmp_path / "out.mp4") == list(range(100))
    assert {later - earlier for earlier, later in pairwise(times)} == {times[1] - times[0]}


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    numbered_clip(path, frames=3000, gop=25, size=(320, 180), options={"preset": "ultrafast"})
    return path


@pytest.fixture
def long_run(
    server: RunningServer, long_clip: Path, tmp_path: Path, wait_for: Callable[..., Any]
) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """A client in a process of its own, in the middle of a long video."""
    (tmp_path / "in.mp4").symlink_to(long_clip)
    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from vireo_client.command_line import main; main()"]
        command += ["run", "passthrough", "in.mp4", "out.mp4", "--url", server.grpc_url, "--set", "preset=slow"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        wait_for(lambda: server.open_streams() >= 2)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_client_that_is_stopped_frees_the_server_and_leaves_nothing(
    server: RunningServer,
    long_run: Callable[[], subprocess.Popen[str]],
    wait_for: Callable[..., Any],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    process = long_run()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "vireo: stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    wait_for(lambda: server.open_streams() == 0)
    assert "had no request for" not in server.log, "it told the server"


def test_a_client_that_is_killed_harms_nobody(
    server: RunningServer, long_run: Callable[[], subprocess.Popen[str]], client: Client, clip: Path, tmp_path: Path
) -> None:
    process = long_run()
    process.kill()
    process.communicate()
    client.run("passthrough", clip, tmp_path / "other.mp4")
    assert read_numbers(tmp_path / "other.mp4") == list(range(450))
    assert server.is_running()
    # What the killed one left is taken up by the next run of the same output.
    client.run("passthrough", clip, tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "other.mp4", "out.mp4"]
