# SPDX-License-Identifier: MIT
"""The wheel, installed in an environment of its own, serves from any folder: nothing of this tree is needed."""

import os
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import av
import pytest
from vireo_media.testing import numbered_clip

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory):
    """Programs of an environment with nothing but the wheel; what it depends on is lent by the one that runs here,
    whose own Vireo, this tree, is not."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder / "dist"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").glob("vireo-*.whl")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
    )
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A folder that a .pth file names is searched, but its own .pth files, an editable install among them, are not read.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture
def run(bin_folder, tmp_path):
    """Start one of its programs in a folder of no meaning, with no more of an environment than a shell has."""
    folder = tmp_path / "anywhere"
    folder.mkdir()
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}

    def start(program, *arguments):
        return subprocess.Popen(
            [bin_folder / program, *arguments], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


def said(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def test_the_wheel_serves_from_any_folder(run, bin_folder, tmp_path):
    where = said(
        run("python", "-c", "import vireo_client, vireo_kernels, vireo_media, vireo_server as s; print(s.__file__)")
    )
    assert Path(where.strip()).is_relative_to(bin_folder.parent)
    assert "super_resolution_network by openvino" in said(run("vireo", "doctor"))
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics", "health")]
    server = run("vireo", "serve", "--service", "passthrough", *ports)
    try:
        lines = []
        while not any("vireo: ready" in line for line in lines):
            lines.append(server.stdout.readline())
            assert lines[-1], lines
        url = dict(word.split(" ", 1) for word in lines[-1].split("  ")[1:])["grpc"]
        numbered_clip(str(tmp_path / "in.mp4"), frames=6, size=(64, 48))
        said(run("vireo", "run", "passthrough", "../in.mp4", "out.mp4", "--url", url))
    finally:
        server.send_signal(signal.SIGTERM)
    assert said(server).endswith("vireo: stopped\n")
    with av.open(str(tmp_path / "anywhere" / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 6
