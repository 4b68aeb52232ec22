# SPDX-License-Identifier: MIT
"""A whole clip in one plain HTTP request, whose caller has no client that tries again: the server does."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.http as httpclient
from vireo_media.testing import read_numbers
from vireo_server.heartbeat import read_beats

pytestmark = pytest.mark.server


def ask(server, clip):
    """The file that comes back."""
    inputs = []
    for name, value in (("SERVICE", "passthrough"), ("MEDIA", clip.read_bytes()), ("OPTIONS", json.dumps({}))):
        inputs.append(httpclient.InferInput(name, [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([value], np.object_))
    with httpclient.InferenceServerClient(server.http_url, network_timeout=90) as client:
        return client.infer("file", inputs).as_numpy("MEDIA")[0]


@pytest.fixture
def busy_pid(server, wait_for):
    """`busy_pid(model)`: the process of a stage, as soon as it holds a stream."""

    def pids(model):
        return [beat.pid for beat in read_beats(server.runtime) if beat.model == model and beat.open_streams]

    return lambda model: wait_for(lambda: pids(model))[0]


@pytest.mark.parametrize("model", ["decode", "encode"])
def test_a_stage_that_dies_meanwhile_is_not_seen_by_the_caller(server, busy_pid, clip, model):
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, server, clip)
        os.kill(busy_pid(model), signal.SIGKILL)
        disturbed = under_way.result()
    assert read_numbers(disturbed) == list(range(1500))
    assert disturbed == ask(server, clip)
