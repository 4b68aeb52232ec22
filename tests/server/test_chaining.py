# SPDX-License-Identifier: MIT
"""`vireo new --chain`: services one after another, by configuration only."""

import json
import shutil

import pytest
from vireo_server.errors import SettingError
from vireo_server.locations import find_locations
from vireo_server.new_service import new_command, new_service
from vireo_server.services import read_description, read_parameter


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(find_locations().model_repository, folder)
    return folder


def test_the_shipped_chain_is_what_the_command_writes(repository, capsys):
    shipped = {model: (repository / model / "config.pbtxt").read_text() for model in CHAIN}
    for model in CHAIN:
        shutil.rmtree(repository / model)
    services = ["restoration", "super_resolution"]
    assert new_command(
        "restore_and_upscale", repository=repository, version=1, script=None, onnx=None, services=services,
        config="{}", warmup="640x360", warmup_options="{}",
    ) == 0  # fmt: skip
    assert f"vireo serve --repository {repository}" in capsys.readouterr().out
    assert {model: (repository / model / "config.pbtxt").read_text() for model in CHAIN} == shipped


CHAIN = ("restore_and_upscale", "restore_and_upscale_preprocess")


def test_a_chain_has_the_options_of_all_and_what_all_allow(repository):
    config = repository / "super_resolution" / "config.pbtxt"
    description = json.loads(read_parameter(config, "vireo"))
    description |= {"max_pixels": 1000, "segments": False}
    description["options"]["properties"]["sharpness"] = {"type": "number"}
    text = json.dumps(json.dumps(description))
    config.write_text(f'parameters {{ key: "vireo" value {{ string_value: {text} }} }}')
    new_service("both", repository=repository, services=["super_resolution", "restoration", "passthrough"])
    found = read_description(repository, "both")
    assert sorted(found.options["properties"]) == ["noise", "quantizer_step", "sharpness", "strength"]
    assert (found.max_pixels, found.segments) == (1000, False)
    steps = (repository / "both" / "config.pbtxt").read_text()
    order = [
        steps.index(f'model_name: "{model}_network"') for model in ("super_resolution", "restoration", "passthrough")
    ]
    assert order == sorted(order)


def test_a_network_of_one_size_alone_can_only_be_the_first(repository, exported):
    new_service("fixed", repository=repository, onnx=exported("rrdb_reshaped", size=(24, 28)))
    new_service("first", repository=repository, services=["fixed", " restoration"])
    assert read_description(repository, "first").picture_size == [28, 24]
    with pytest.raises(SettingError, match="fixed_network takes pictures of one size alone and can only be the first"):
        new_service("second", repository=repository, services=["restoration", "fixed"])


@pytest.mark.parametrize(
    ("services", "said"),
    [
        (["restoration"], r"a chain of \['restoration'\] is none; name two services or more"),
        (["restoration", "grade"], "'grade' cannot be part of a chain: there is no .*grade_network"),
        (["restoration", "frame_interpolation"], "'frame_interpolation_network' is no network's model"),
        (["restoration", "frame_interpolation_network"], "parameter slots of its preprocess is 'pairs', not 'none'"),
        (["restoration", "sdr_to_hdr_network"], "parameter bits of its preprocess is '16', not '8'"),
        (["features", "restoration"], "'features' cannot be part of a chain: it gives numbers"),
        (["restore_and_upscale", "restoration"], "there is no .*restore_and_upscale_network"),
        (["restoration", "nothing"], "'nothing' cannot be part of a chain"),
        (["restoration", "restoration"], "are both told something beside the picture"),
    ],
)
def test_what_cannot_be_chained_says_why_and_nothing_is_written(repository, services, said):
    before = sorted(path.name for path in repository.iterdir())
    with pytest.raises(SettingError, match=said):
        new_service("both", repository=repository, services=services)
    assert sorted(path.name for path in repository.iterdir()) == before
