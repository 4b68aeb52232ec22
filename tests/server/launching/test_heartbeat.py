# SPDX-License-Identifier: MIT
"""The life signs of a stage."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from vireo_server.heartbeat import DRAINING_FILE, RUNTIME_DIR_VARIABLE, Beat, Heartbeat, computing_models, read_beats


@pytest.fixture
def heartbeat(tmp_path):
    heartbeat = Heartbeat("decode", folder=tmp_path)
    yield heartbeat
    heartbeat.close()


def wait_for(folder, condition, *, seconds=30):
    end = time.monotonic() + seconds
    while not condition(beats := read_beats(folder)):
        assert time.monotonic() < end, beats
        time.sleep(0.02)
    return beats


def test_says_who_it_is_from_the_start(heartbeat, tmp_path):
    [beat] = read_beats(tmp_path)
    assert (beat.pid, beat.model, beat.open_streams, beat.busy_since) == (os.getpid(), "decode", 0, None)
    assert beat.updated <= time.monotonic()
    assert [path.name for path in tmp_path.iterdir()] == [f"decode-{os.getpid()}.json"]


def test_change_of_streams_is_written_at_once(heartbeat, tmp_path):
    for count in (1, 5, 0):
        heartbeat.streams(count)
        assert read_beats(tmp_path)[0].open_streams == count


def test_busy_since_is_the_start_of_the_oldest_request(heartbeat, tmp_path):
    before = time.monotonic()
    with heartbeat.busy():
        between = time.monotonic()
        with heartbeat.busy():
            [beat] = wait_for(tmp_path, lambda beats: beats[0].busy_since is not None)
            assert before <= beat.busy_since <= between
    wait_for(tmp_path, lambda beats: beats[0].busy_since is None)


def test_a_request_that_comes_forward_counts_anew(heartbeat, tmp_path):
    with heartbeat.busy():
        [beat] = wait_for(tmp_path, lambda beats: beats[0].busy_since is not None)
        between = time.monotonic()
        assert beat.busy_since < between
        heartbeat.progress()
        wait_for(tmp_path, lambda beats: beats[0].busy_since >= between)
    heartbeat.progress()
    heartbeat.streams(1)
    assert read_beats(tmp_path)[0].busy_since is None


def test_what_another_thread_computes_is_no_progress_of_this_one(heartbeat, tmp_path):
    with heartbeat.busy():
        between = time.monotonic()
        other = threading.Thread(target=heartbeat.progress)
        other.start()
        other.join()
        heartbeat.streams(1)
        assert read_beats(tmp_path)[0].busy_since <= between


def test_models_that_compute_are_known_to_every_process(heartbeat, tmp_path, monkeypatch):
    monkeypatch.setenv(RUNTIME_DIR_VARIABLE, str(tmp_path))
    assert heartbeat.computing() == ()
    with heartbeat.busy():
        wait_for(tmp_path, lambda beats: beats[0].busy_since is not None)
        assert computing_models() == {"decode"}
        hung = beat(model="network", busy_since=99.0, updated=time.monotonic())
        (tmp_path / "network-1.json").write_text(json.dumps(hung))
        assert computing_models() == {"decode"}


def test_request_that_fails_is_not_busy_any_more(heartbeat, tmp_path):
    with pytest.raises(KeyError), heartbeat.busy():
        raise KeyError
    heartbeat.streams(1)
    assert read_beats(tmp_path)[0].busy_since is None


def test_beats_while_nothing_happens(heartbeat, tmp_path):
    [first] = read_beats(tmp_path)
    wait_for(tmp_path, lambda beats: beats[0].updated > first.updated)


def test_draining_is_seen(heartbeat, tmp_path):
    assert not heartbeat.draining()
    (tmp_path / DRAINING_FILE).touch()
    end = time.monotonic() + 30
    while not heartbeat.draining():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_close_takes_the_file_away(tmp_path):
    heartbeat = Heartbeat("encode", folder=tmp_path)
    heartbeat.close()
    heartbeat.close()
    heartbeat.streams(4)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_taken_away_fails_no_request(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    heartbeat = Heartbeat("decode", folder=folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    heartbeat.streams(1)
    assert not heartbeat.draining()
    heartbeat.close()


def test_without_a_runtime_folder_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.delenv(RUNTIME_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    threads = threading.active_count()
    heartbeat = Heartbeat("decode")
    heartbeat.streams(3)
    with heartbeat.busy():
        assert not heartbeat.draining()
    heartbeat.close()
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []


def test_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(RUNTIME_DIR_VARIABLE, str(tmp_path))
    heartbeat = Heartbeat("decode")
    assert len(read_beats(tmp_path)) == 1
    heartbeat.close()


def test_frozen_process_shows(tmp_path):
    code = "import sys, time\nfrom pathlib import Path\nfrom vireo_server.heartbeat import Heartbeat\n"
    code += "Heartbeat('encode', folder=Path(sys.argv[1]))\ntime.sleep(600)\n"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        [beat] = wait_for(tmp_path, lambda beats: len(beats) == 1)
        assert beat.pid == process.pid
        os.kill(process.pid, signal.SIGSTOP)
        [frozen] = read_beats(tmp_path)
        time.sleep(1.5)
        assert read_beats(tmp_path)[0].updated == frozen.updated
    finally:
        process.kill()
        process.wait()


def beat(**changes):
    values = {
        "pid": 1,
        "model": "decode",
        "open_streams": 0,
        "busy_since": None,
        "updated": 100.0,
        "limit_seconds": 5.0,
    }
    return {**values, **changes}


def test_several_processes_of_one_model_are_apart(tmp_path):
    for pid in (11, 12):
        (tmp_path / f"decode-{pid}.json").write_text(json.dumps(beat(pid=pid, open_streams=pid)))
    assert [beat.open_streams for beat in read_beats(tmp_path)] == [11, 12]


@pytest.mark.parametrize("change", [{"pid": 0}, {"open_streams": -1}, {"limit_seconds": 0}])
def test_beat_checks_itself(change):
    with pytest.raises(ValueError, match="is not possible"):
        Beat(**beat(**change))


def test_fault_is_a_request_or_a_silence_over_the_limit():
    assert Beat(**beat()).fault(105.0) is None
    assert Beat(**beat()).fault(105.1) == "has given no sign of life for more than 5 s"
    assert Beat(**beat(busy_since=99.0)).fault(103.0) is None
    assert Beat(**beat(busy_since=99.0)).fault(104.1) == "has worked on one request for more than 5 s"


def test_limit_is_the_stages_own(tmp_path):
    heartbeat = Heartbeat("file", limit_seconds=600.0, folder=tmp_path)
    assert read_beats(tmp_path)[0].limit_seconds == 600.0
    heartbeat.close()
