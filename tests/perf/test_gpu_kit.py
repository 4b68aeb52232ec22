# SPDX-License-Identifier: MIT
"""perf.gpu_kit says what a machine lacks instead of falling over it, and keeps what it knows."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What an odd machine with a GPU has not; the kit is to run with Python alone.
MISSING = ("cupy", "numba", "openvino", "onnx", "onnxruntime", "tritonclient", "pytriton", "rich", "torch")


def run(*command, folder=ROOT, **environment):
    command = [sys.executable, *map(str, command)]
    known = os.environ | environment
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("also", [(), ("numpy", "av")])
def test_what_is_missing_is_named(tmp_path, also):
    blocked = (*MISSING, *also)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n")
    asked = ("copies", "codecs", "stages", "hand_over")
    done = run(
        "-m", "perf.gpu_kit", "--json", tmp_path / "kit.json", *(f"--only={name}" for name in asked),
        PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "kit.json").read_text())
    why = "numpy is not installed" if also else "CuPy is not installed: pip install 'vireo[gpu]'"
    assert {name: found[name].get("not_run") for name in ("copies", "stages", "hand_over")} == dict.fromkeys(
        ("copies", "stages", "hand_over"), why
    )
    if not also:
        assert "CuPy is not installed" in found["codecs"]["answer"]["kernels"]
    assert found["machine"]["versions"]["python"]


PROGRAM = """
import os, subprocess, sys, time
from perf.questions import Program

def good(): return {"n": 1}
def dies(): os._exit(3)
def hangs():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "left behind"])
    time.sleep(300)
def ends(): os.kill(os.getppid(), 9)

QUESTIONS = {one.__name__: one for one in (good, dies, hangs, ends)}
if __name__ == "__main__":
    sys.exit(Program(name="asks", about="", questions=QUESTIONS, seconds=float(os.environ["SECONDS"])).main())
"""


def test_what_is_known_is_kept_whatever_a_question_does(tmp_path):
    (tmp_path / "asks.py").write_text(PROGRAM)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    target = tmp_path / "answers.json"
    asked = ("--only", "hangs", "--json", target)
    assert run("-m", "asks", *asked, folder=tmp_path, PYTHONPATH=path, SECONDS="4").returncode == 0
    assert json.loads(target.read_text())["hangs"]["failed"] == "no answer within 4 s"
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            assert b"left behind" not in cmdline.read_bytes()
    asked = ("--only", "good", "--only", "dies", "--only", "ends", "--json", target)
    done = run("-m", "asks", *asked, folder=tmp_path, PYTHONPATH=path, SECONDS="60")
    assert done.returncode == -9  # the program itself was ended, by its last question
    found = json.loads(target.read_text())
    assert found["good"]["answer"] == {"n": 1}
    assert found["dies"]["failed"].startswith("ended with code 3")
    done = run("-m", "asks", "--within", "0", "--only", "good", folder=tmp_path, PYTHONPATH=path, SECONDS="9")
    assert json.loads(done.stdout.splitlines()[0].removeprefix("good: ")) == {"not_run": "no time was left (--within)"}


def test_the_kit_is_carried_in_a_folder(tmp_path):
    made = tmp_path / "kit"
    done = run("-m", "perf.carry", made, "--without", "av", "--without", "triton")
    assert done.returncode == 0, done.stderr
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = ["-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))", "sh", made / "run.sh"]
    done = run(*program, "--only", "libraries", "--json", tmp_path / "kit.json", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "libcuda.so.1" in json.loads((tmp_path / "kit.json").read_text())["libraries"]["answer"]
    assert run("-m", "perf.carry", made).returncode == 1  # it is there already
