# SPDX-License-Identifier: MIT
"""A whole clip in one plain HTTP request, whose caller has no client that tries again: the server does."""

import ctypes
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as httpclient
from vireo_media.testing import read_numbers
from vireo_server.heartbeat import read_beats
from vireo_server.launching.stages import running_stages

pytestmark = pytest.mark.server


def ask(server, clip):
    """The file that comes back."""
    inputs = []
    for name, value in (("SERVICE", "passthrough"), ("MEDIA", clip.read_bytes()), ("OPTIONS", json.dumps({}))):
        inputs.append(httpclient.InferInput(name, [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([value], np.object_))
    with httpclient.InferenceServerClient(server.http_url, network_timeout=90) as client:
        return client.infer("file", inputs).as_numpy("MEDIA")[0]


def read_pointers(pid, address, count):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memoryview(memory.read(8 * count)).cast("Q")


def is_stopped(pid):
    """Whether every thread stands still: the first one may do so before the others."""
    stats = (stat.read_text().rpartition(") ")[2] for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(stat[0] == "T" for stat in stats)


def holds_a_lock(pid):
    """Whether a thread of a process that is stopped holds a lock it shares with others, or is just taking one.

    get_robust_list(2): a list that ends where it begins, then an offset, then the lock that is being taken.
    """
    for task in Path(f"/proc/{pid}/task").iterdir():
        head, size = ctypes.c_uint64(), ctypes.c_size_t()
        number = {"x86_64": 274, "aarch64": 100}[os.uname().machine]
        assert ctypes.CDLL(None).syscall(number, int(task.name), ctypes.byref(head), ctypes.byref(size)) == 0
        first, _, pending = read_pointers(pid, head.value, 3)
        if first != head.value or pending:
            return True
    return False


@pytest.fixture
def kill_busy(server, wait_for):
    """`kill_busy(model)` kills a stage as soon as it holds a stream, at a moment when it holds no lock of its memory.

    One that dies in between takes Triton along (see `vireo_server.launching.watchdog`), and with it this connection.
    """

    def busy_stages(model):
        busy = {beat.pid for beat in read_beats(server.runtime) if beat.open_streams}
        return [stage for stage in running_stages(server.pid) if stage.model == model and stage.pid in busy]

    def kill(model):
        (stage,) = wait_for(lambda: busy_stages(model))
        while True:
            stage.send(signal.SIGSTOP)
            wait_for(lambda: is_stopped(stage.pid))
            if not holds_a_lock(stage.pid):
                break
            stage.send(signal.SIGCONT)
            time.sleep(0.002)
        stage.send(signal.SIGKILL)

    yield kill
    print(server.log[-6000:])  # shown where a test fails


@pytest.mark.parametrize("model", ["decode", "encode"])
def test_a_stage_that_dies_meanwhile_is_not_seen_by_the_caller(server, kill_busy, clip, model):
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, server, clip)
        kill_busy(model)
        disturbed = under_way.result()
    assert read_numbers(disturbed) == list(range(1500))
    assert disturbed == ask(server, clip)
