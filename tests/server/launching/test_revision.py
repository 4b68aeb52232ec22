# SPDX-License-Identifier: MIT
"""A service's revision: it changes with all that changes its result, and is true without anybody's care."""

import json
import shutil

import pytest
from vireo_server.launching import running_server
from vireo_server.launching.repository import read_repository
from vireo_server.launching.revision import _gpus, revision_of, serve_from
from vireo_server.locations import find_locations
from vireo_server.machine import Gpu


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "original"
    shutil.copytree(find_locations().model_repository, copy)
    return copy


def revision(folder, service="super_resolution"):
    return revision_of(read_repository(folder), service)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("super_resolution_network/1/model.onnx", True),
        ("super_resolution_network/config.pbtxt", True),
        ("super_resolution/config.pbtxt", True),
        ("super_resolution_decode/config.pbtxt", True),
        ("decode/config.pbtxt", False),
        ("passthrough_network/1/model.onnx", False),
        ("passthrough/config.pbtxt", False),
        ("super_resolution_network/README.md", False),
    ],
)
def test_it_changes_with_configurations_and_weights_of_the_service_alone(folder, path, changes):
    before = revision(folder)
    assert revision(folder) == before
    with (folder / path).open("ab") as file:
        file.write(b"# more")
    assert (revision(folder) != before) is changes


def test_it_is_another_one_on_another_gpu(folder, monkeypatch):
    """One server of many with other bits would be found out by the client, and a job is not gone on with on it."""
    gpus = [
        Gpu(name=name, capability="8.9", memory_mb=1, free_mb=1, driver="1", uuid="GPU-1")
        for name in ("NVIDIA L4", "Tesla T4")
    ]
    found = {revision(folder)}
    for shown in ((gpus[0],), (gpus[0], gpus[0]), (gpus[1],), tuple(gpus)):
        monkeypatch.setattr("vireo_server.machine.find_gpus", lambda shown=shown: (shown, ""))
        _gpus.cache_clear()
        found.add(revision(folder))
    _gpus.cache_clear()
    assert len(found) == 4  # two of a kind compute the same bits


def test_the_revision_that_is_written_there_takes_no_part(folder):
    before = revision(folder)
    config = folder / "super_resolution" / "config.pbtxt"
    text = config.read_text()
    assert '\\"revision\\": \\"\\"' in text
    config.write_text(text.replace('\\"revision\\": \\"\\"', '\\"revision\\": \\"mine\\"'))
    assert revision(folder) == before


def test_what_is_served_is_links_and_descriptions_with_the_revision(folder, tmp_path):
    served = serve_from(read_repository(folder), tmp_path / "served")
    assert {path.name for path in served.iterdir()} == {path.parent.name for path in folder.glob("*/config.pbtxt")}
    assert (served / "decode").readlink() == folder / "decode"
    text = (served / "super_resolution" / "config.pbtxt").read_text()
    assert revision(folder) in text
    assert (served / "super_resolution" / "1").readlink() == folder / "super_resolution" / "1"


@pytest.mark.server
def test_a_caller_reads_it_from_the_server(ask):
    with running_server(services=["passthrough"]) as server:
        _, body = ask(server.http_url, "/v2/models/passthrough/config")
    description = json.loads(json.loads(body)["parameters"]["vireo"]["string_value"])
    assert description["revision"] == revision(find_locations().model_repository, "passthrough")
