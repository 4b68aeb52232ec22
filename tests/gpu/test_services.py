# SPDX-License-Identifier: MIT
"""Whole services on a GPU: the pictures, and that nothing crosses to the host unsaid."""

import re
import urllib.request

import av
import numpy as np
import pytest
from vireo_client import Client
from vireo_media.testing import numbered_clip
from vireo_server.launching import running_server
from vireo_server.machine import WORKS, try_decoder

pytestmark = [pytest.mark.gpu, pytest.mark.server, pytest.mark.timeout(900)]

SIZE = (640, 360)


@pytest.fixture(scope="module")
def server(gpu):
    with running_server(services=["passthrough", "super_resolution"]) as running:
        yield running


@pytest.fixture
def clip(tmp_path):
    """48 numbered pictures, H.264 of 8 bits, which every NVDEC takes."""
    path = tmp_path / "in.mp4"
    numbered_clip(str(path), frames=48, size=SIZE)
    return path


def crossed(server):
    """(stage, direction) -> bytes that crossed so far."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{server.metrics_url}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = {}
    for labels, value in re.findall(r"^vireo_host_device_bytes\{(.*)\} (\S+)$", text, re.MULTILINE):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        key = told["stage"], told["direction"]
        found[key] = found.get(key, 0) + float(value)
    return found


def luma(path):
    with av.open(str(path)) as container:
        return np.stack([frame.reformat(format="gray").to_ndarray() for frame in container.decode(video=0)])


@pytest.mark.parametrize("service", ["passthrough", "super_resolution"])
def test_pictures_stay_on_the_device_until_they_are_encoded(server, clip, service, tmp_path):
    if try_decoder("h264") != WORKS:
        pytest.fail("NVDEC does not decode H.264 here: `vireo doctor` says why")
    before = crossed(server)
    with Client(server.grpc_url) as client:
        run = client.run(service, clip, tmp_path / "out.mp4")
    assert run.frames_out == 48
    moved = {key: value - before[key] for key, value in crossed(server).items() if value > before[key]}
    assert {stage for stage, _ in moved} <= {"encode"}, moved
    # NV12 once, where there is no NVENC.
    scale = 4 if service == "super_resolution" else 1
    assert moved.get(("encode", "to_host"), 0) <= 1.5 * 49 * scale * SIZE[0] * SIZE[1] * 1.1


def test_luma_of_passthrough_is_within_one(server, clip, tmp_path):
    with Client(server.grpc_url) as client:
        client.run("passthrough", clip, tmp_path / "out.mp4", options={"codec": "h264", "crf": 0})
    source, result = luma(clip), luma(tmp_path / "out.mp4")
    assert source.shape == result.shape
    assert np.abs(source.astype(int) - result).max() <= 1
