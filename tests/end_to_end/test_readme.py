# SPDX-License-Identifier: MIT
"""Every Python block of the README runs, against the real server."""

import re
import shutil
from pathlib import Path

import pytest
from vireo_media.testing import numbered_clip, read_numbers

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme(number, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    numbered_clip("in.mp4", frames=30, size=(160, 96), audio="aac")
    block = BLOCKS[number].replace("127.0.0.1:8000", server.http_url).replace("127.0.0.1:8001", server.grpc_url)
    exec(compile(block, f"README.md, block {number}", "exec"), {})
    if "out.mp4" in block:
        assert read_numbers("out.mp4") == list(range(30))
        assert "30 frames" in capsys.readouterr().out


def test_a_service_made_by_copying_three_folders(repository, tmp_path):
    """The README's way to a service of one's own, done as it says."""
    from vireo_client import Client
    from vireo_server.launching import running_server

    folder = tmp_path / "my_repository"
    shutil.copytree(repository, folder)
    for suffix in ("", "_preprocess", "_network"):
        shutil.copytree(folder / f"passthrough{suffix}", folder / f"mine{suffix}")
        config = folder / f"mine{suffix}" / "config.pbtxt"
        config.write_text(config.read_text().replace("passthrough", "mine"))
    numbered_clip(str(tmp_path / "in.mp4"), frames=20, size=(160, 96))
    with running_server(repository=folder, services=["mine"]) as server, Client(server.grpc_url) as client:
        client.run("mine", tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert read_numbers(str(tmp_path / "out.mp4")) == list(range(20))


def test_plain_tritonserver_serves_the_same(tmp_path):
    """`vireo backends FOLDER` prints a command; run in a shell it serves, without `vireo serve`. Here one service."""
    import socket
    import subprocess
    import sys
    import time

    from vireo_client import Client, VireoError

    vireo = Path(sys.executable).with_name("vireo")
    done = subprocess.run([vireo, "backends", tmp_path / "backends"], capture_output=True, text=True, check=True)
    ports = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    command = done.stdout.strip() + " --model-control-mode=explicit --load-model=passthrough"
    for option, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        command += f" --{option}-port={port}"
    numbered_clip(str(tmp_path / "in.mp4"), frames=20, size=(160, 96))
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(["/bin/sh", "-c", f"exec env {command}"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 200
        while True:
            try:
                with Client(f"127.0.0.1:{ports[1]}") as client:
                    client.run("passthrough", tmp_path / "in.mp4", tmp_path / "out.mp4")
                break
            except VireoError:
                assert server.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait(40)
    assert read_numbers(str(tmp_path / "out.mp4")) == list(range(20))
