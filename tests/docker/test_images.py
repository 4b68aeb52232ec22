# SPDX-License-Identifier: MIT
"""The container files, as far as they can be checked without a container: linted, and true to the rest of the tree."""

import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from vireo_client import server_commands

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = dict(
    line.split("=", 1) for line in (DOCKER / ".env").read_text().splitlines() if line and not line.startswith("#")
)


@pytest.fixture
def compose():
    text = re.sub(r"\$\{(\w+)\}", lambda match: VERSIONS[match[1]], (DOCKER / "compose.yaml").read_text())
    return yaml.safe_load(text)


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_versions_stand_in_one_place_and_are_pinned():
    assert set(VERSIONS) == {"PYTHON_IMAGE", "TRITON_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"}
    for image in VERSIONS.values():
        assert re.search(r":v?\d+\.\d+", image), image
        for path in (DOCKER / "Dockerfile", DOCKER / "compose.yaml"):
            assert image not in path.read_text()


def test_the_images_python_is_one_that_vireo_runs_on():
    version = re.search(r"python:(\d+)\.(\d+)", VERSIONS["PYTHON_IMAGE"])
    assert PROJECT["requires-python"] == ">=3.11,<3.13"
    assert (int(version[1]), int(version[2])) in ((3, 11), (3, 12))
    assert f"libpython{version[1]}.{version[2]}" in DOCKERFILE


def test_what_is_copied_and_asked_for_exists():
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), source
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = set(" ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split())
    assert {path.split("/")[0] for path in [*wheel["packages"], *wheel["force-include"]]} <= copied
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def stage(name):
    (text,) = re.findall(rf"^FROM \S+ AS {name}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return text


def test_the_image_runs_as_nobody_special_and_can_be_asked_how_it_is():
    last = stage("vireo")
    assert DOCKERFILE.rstrip().endswith(last.strip())
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE)[-1] == "10001"
    assert "/readyz" in last
    assert f":{inspect.signature(server_commands.serve).parameters['health_port'].default}/readyz" in last
    assert "--constraint /tmp/constraints.txt" in last
    assert 'ENTRYPOINT ["vireo"]' in last
    assert "GPL-2.0-or-later" in last


def test_both_devices_have_what_the_last_stage_takes():
    for device, extras in (("cpu", "client,server"), ("gpu", "client,server,gpu")):
        assert f"EXTRAS={extras}" in stage(device)
        assert "-m venv /opt/vireo" in stage(device)
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in stage("gpu")


def test_compose_reserves_a_gpu_and_shared_memory_and_listens_here_alone(compose):
    services = compose["services"]
    for name in ("vireo-cpu", "vireo-gpu"):
        assert services[name]["shm_size"] == "2gb"
        assert services[name]["build"]["args"]["DEVICE"] == name.removeprefix("vireo-")
        assert services[name]["init"] is True
    (device,) = services["vireo-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert "video" in device["capabilities"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DOCKER / source).is_file(), source


def test_what_monitoring_reads_is_what_compose_serves(compose):
    monitoring = DOCKER / "monitoring"
    prometheus = yaml.safe_load((monitoring / "prometheus.yaml").read_text())
    assert prometheus["scrape_configs"][0]["static_configs"][0]["targets"] == ["vireo:8002"]
    assert compose["services"]["vireo-cpu"]["networks"]["default"]["aliases"] == ["vireo"]
    source = yaml.safe_load((monitoring / "grafana-source.yaml").read_text())["datasources"][0]
    dashboard = json.loads((monitoring / "dashboard.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    folder = yaml.safe_load((monitoring / "grafana-dashboards.yaml").read_text())["providers"][0]["options"]["path"]
    assert any(volume.split(":")[1].startswith(folder) for volume in compose["services"]["grafana"]["volumes"])
