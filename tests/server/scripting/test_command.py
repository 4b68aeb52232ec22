# SPDX-License-Identifier: MIT
"""`vireo script`, `vireo new` and `vireo load` as a user meets them."""

import os
import signal
import subprocess
import sys

import pytest
from vireo_media.testing import numbered_clip, read_numbers

VIREO = [sys.executable, "-c", "from vireo_client.command_line import main; main()"]
MARK = "def process(data):\n    for frame in data['frames']:\n        frame[:, :4] = 0\n"


def vireo(*arguments, **keywords):
    return subprocess.run([*VIREO, *map(str, arguments)], capture_output=True, text=True, check=False, **keywords)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=20, gop=10)
    return path


def test_a_run_with_a_table(script, clip, tmp_path):
    done = vireo("script", script(MARK), clip, tmp_path / "out.mp4", "--profile")
    assert done.returncode == 0, done.stderr
    assert read_numbers(tmp_path / "out.mp4") == list(range(20))
    lines = done.stdout.splitlines()
    assert "out.mp4: 20 frames in" in lines[0]
    assert [line.split("  ")[0] for line in lines[-2:]] == ["mux", "total"]
    again = vireo("script", script(MARK), clip, tmp_path / "out.mp4")
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        (
            "def process(data):\n    1 / 0\n",
            [],
            "ZeroDivisionError: division by zero\n  script.py:2 in process: 1 / 0\n",
        ),
        (MARK, ["--stream", "3"], "--stream is '3'; allowed: a JSON object"),
        ("x = 1\n", [], "script.py has no function process"),
    ],
)
def test_a_failure_is_a_message_and_code_1(script, clip, source, arguments, said):
    done = vireo("script", script(source), clip, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_runs_again_when_the_script_is_saved(script, clip, tmp_path):
    path = script(MARK)
    watching = subprocess.Popen(
        [*VIREO, "script", str(path), str(clip), "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    with watching.stdout as said:
        assert "20 frames in" in said.readline()
        assert "watching" in said.readline()
        path.write_text("def process(data):\n    return 1\n")
        assert "process returned int" in said.readline()
        assert "watching" in said.readline()
        watching.send_signal(signal.SIGINT)
        assert said.read() == ""
    assert watching.wait(timeout=30) == 1


def test_new_says_what_it_wrote_and_what_to_do(script, tmp_path):
    repository = tmp_path / "models"
    done = vireo("new", "mark", "--script", script(MARK), "--repository", repository, "--warmup", "64x64")
    assert done.returncode == 0, done.stderr
    assert f"wrote {repository / 'mark'}" in done.stdout
    assert "vireo load mark" in done.stdout
    again = vireo("new", "mark", "--script", script(MARK), "--repository", repository, "--warmup", "64x64")
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there already" in again.stderr


def test_load_without_a_server_says_so():
    done = vireo("load", "mark", "--url", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the server '127.0.0.1:1' was looked for" in done.stderr
    assert done.stderr.count("\n") == 1
