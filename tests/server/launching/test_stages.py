# SPDX-License-Identifier: MIT
"""Processes that may be signalled: a stage of ours, and nobody who has got its process id since."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from vireo_server.heartbeat import read_beats
from vireo_server.launching import watchdog
from vireo_server.launching.log import ServerLog
from vireo_server.launching.process import ServerProcess
from vireo_server.launching.stages import running_stages
from vireo_server.launching.triton import STUB
from vireo_server.launching.watchdog import Watchdog


@pytest.fixture
def child(tmp_path):
    """A child of this process that looks like a stage and says when it runs."""
    model = tmp_path / "echo" / "1" / "model.py"
    model.parent.mkdir(parents=True)
    model.write_text("import time\nprint('runs', flush=True)\ntime.sleep(600)\n")
    command = [f"/x/{STUB}", model, "region"]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_signal_reaches_a_stage_and_not_who_has_its_id_now(child):
    (stage,) = (stage for stage in running_stages(os.getpid()) if stage.pid == child.pid)
    assert (stage.model, stage.region) == ("echo", "region")
    former = dataclasses.replace(stage, started=stage.started - 1)
    assert former.is_dead()
    former.send(signal.SIGKILL)
    assert not stage.is_dead()
    stage.send(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert stage.is_dead()
    stage.send(signal.SIGKILL)


@pytest.mark.parametrize("runs", [True, False])
def test_stages_of_a_dead_server_are_left_alone(child, tmp_path, wait_for, runs):
    beat = {"model": "echo", "open_streams": 1, "busy_since": None, "limit_seconds": 1.0}
    beat |= {"pid": child.pid, "updated": time.monotonic() - 99}
    (tmp_path / f"echo-{child.pid}.json").write_text(json.dumps(beat))
    assert [beat.pid for beat in read_beats(tmp_path)] == [child.pid]
    looks, log = [], ServerLog()
    dog = Watchdog(
        os.getpid(),
        runtime=tmp_path,
        control=None,
        log=log,
        is_running=lambda: looks.append(1) or (runs and len(looks) == 1),
        kill_server=lambda: None,
    )
    wait_for(lambda: len(looks) > 1)
    dog.stop()
    assert ("no sign of life" in log.text()) is runs
    if runs:
        assert child.wait() == -signal.SIGKILL
    assert (child.poll() is None) is not runs


def test_a_server_that_crashed_and_hangs_is_ended(tmp_path, wait_for, monkeypatch):
    monkeypatch.setattr(watchdog, "_CRASH_SECONDS", 0.01)
    looks, killed, log = [], [], ServerLog()
    dog = Watchdog(
        os.getpid(),
        runtime=tmp_path,
        control=None,
        log=log,
        is_running=lambda: looks.append(1) or not killed,
        kill_server=lambda: killed.append(1),
    )
    log.add("Signal (15) received.")
    wait_for(lambda: len(looks) > 1)
    assert not killed
    log.add("Signal (6) received.")
    wait_for(lambda: killed)
    dog.stop()
    assert "Triton crashed and does not end" in log.text()
    log.begin_anew()
    assert not log.crashed


def test_a_server_that_has_ended_is_not_killed_by_its_id(tmp_path, monkeypatch):
    log = ServerLog()
    process = ServerProcess([sys.executable, "-c", ""], environment={}, folder=tmp_path, log=log, secret="secret")
    assert process.wait(60)
    killed = []
    monkeypatch.setattr(os, "killpg", lambda *given: killed.append(given))
    process.kill()
    assert killed == []
