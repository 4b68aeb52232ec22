# SPDX-License-Identifier: MIT
"""The dashboard asks for what a real server measures."""

import json
import re
import urllib.request
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "docker" / "monitoring" / "dashboard.json"


def test_every_metric_of_the_dashboard_is_one_of_the_servers(server):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{server.metrics_url}/metrics", timeout=10) as response:
        measured = set(re.findall(r"^# TYPE (\w+)", response.read().decode(), re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"\bnv_\w+", target["expr"])
    }
    assert len(asked) >= 6
    assert asked <= measured, asked - measured
