# SPDX-License-Identifier: MIT
"""The container files, as far as they can be checked without a container: linted, and true to the rest of the tree."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

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
    for extras in re.findall(r"\[([a-z,]+)\]", DOCKERFILE):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = set(" ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split())
    assert {path.split("/")[0] for path in [*wheel["packages"], *wheel["force-include"]]} <= copied


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_runs_as_nobody_special_and_can_be_asked_how_it_is(target):
    (stage,) = re.findall(rf"^FROM \S+ AS {target}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^USER (.+)$", stage, re.MULTILINE)[-1] == "10001"
    assert "/readyz" in stage
    assert "--constraint /tmp/constraints.txt" in stage
    assert 'ENTRYPOINT ["vireo"]' in stage


def test_compose_reserves_a_gpu_and_shared_memory_and_listens_here_alone(compose):
    services = compose["services"]
    for name in ("vireo-cpu", "vireo-gpu"):
        assert services[name]["shm_size"] == "2gb"
        assert services[name]["build"]["target"] == name.removeprefix("vireo-")
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
