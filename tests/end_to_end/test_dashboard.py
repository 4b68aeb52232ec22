# SPDX-License-Identifier: MIT
"""The dashboard asks for what a real server measures."""

import json
import re
import urllib.request
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "docker" / "monitoring" / "dashboard.json"


def metrics(server):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{server.metrics_url}/metrics", timeout=10) as response:
        return response.read().decode()


def test_every_metric_of_the_dashboard_is_one_of_the_servers(server):
    measured = set(re.findall(r"^# TYPE (\w+)", metrics(server), re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"\b(?:nv|vireo)_\w+", target["expr"])
    }
    assert len(asked) >= 6
    assert asked <= measured, asked - measured


def test_the_metrics_tell_of_open_streams_and_starts(server, call, clip, all_freed, wait_for):
    stream, packets, timing = clip
    caller = call()
    caller.ask(0, packets[:8], timing[:8], stream=stream, start=True)
    wait_for(lambda: 'vireo_open_streams{model="decode"} 1\n' in metrics(server))
    caller.ask(1, packets[8:16], timing[8:16], end=True)
    all_freed()
    wait_for(lambda: 'vireo_open_streams{model="decode"} 0\n' in metrics(server))
    started = re.findall(r'^vireo_stage_starts\{model="(.*)"\} (\S+)$', metrics(server), re.MULTILINE)
    assert {"decode", "encode", "file", "passthrough_network"} <= {model for model, _ in started}
    assert min(float(count) for _, count in started) >= 1


def test_without_a_gpu_every_stage_says_that_nothing_crossed(server):
    readings = re.findall(r"^vireo_host_device_bytes\{(.*)\} (\S+)$", metrics(server), re.MULTILINE)
    assert {float(value) for _, value in readings} == {0.0}
    for stage in ("decode", "preprocess", "encode", "script", "tone_mapping", "collect"):
        for direction in ("to_device", "to_host"):
            wanted = {f'stage="{stage}"', f'direction="{direction}"'}
            assert any(wanted <= set(labels.split(",")) for labels, _ in readings), wanted
