# SPDX-License-Identifier: MIT
"""What a model repository has, read from its configurations."""

import pytest
from vireo_server.launching import RepositoryError, UnknownServiceError
from vireo_server.launching.repository import read_repository
from vireo_server.locations import find_locations


@pytest.fixture
def repository(make_repository):
    folder = make_repository(
        {"decode": "echo", "network": "echo", "file": "echo", "alone": "echo"},
        ensembles={"upscale": "network", "passthrough": "decode"},
    )
    (folder / "notes").mkdir()
    (folder / "README.md").write_text("no model")
    return folder


def test_services_are_the_models_that_are_no_part_of_others(repository):
    read = read_repository(repository)
    assert read.models == ("alone", "decode", "file", "network", "passthrough", "upscale")
    assert read.ensembles == ("passthrough", "upscale")
    assert read.steps == ("decode", "network")
    assert read.services == ("alone", "passthrough", "upscale")


def test_file_is_loaded_with_any_choice(repository):
    read = read_repository(repository)
    assert read.to_load(None) == ("alone", "passthrough", "upscale", "file")
    assert read.to_load(["upscale"]) == ("upscale", "file")
    assert read.to_load(["upscale", "file", "upscale"]) == ("upscale", "file")
    # A stage alone, for trying it.
    assert read.to_load(["decode"]) == ("decode", "file")


def test_unknown_service_lists_the_known(repository):
    with pytest.raises(UnknownServiceError, match=r"no service 'upscaler'; it has alone, passthrough, upscale; name"):
        read_repository(repository).to_load(["upscaler"])


def test_words_in_comments_and_strings_mean_nothing(repository):
    config = repository / "alone" / "config.pbtxt"
    config.write_text(
        config.read_text()
        + '# ensemble_scheduling { step [{ model_name: "passthrough" }] }\n'
        + 'parameters { key: "note" value { string_value: "ensemble_scheduling { # model_name: \\"upscale\\"" } }\n'
    )
    read = read_repository(repository)
    assert "alone" not in read.ensembles
    assert "passthrough" in read.services


def test_folder_without_models(tmp_path):
    (tmp_path / "video.mp4").touch()
    with pytest.raises(RepositoryError, match=r"is not a model repository: no 'config\.pbtxt' in any folder of it"):
        read_repository(tmp_path)


def test_one_model_in_place_of_its_repository_gets_a_hint(repository):
    with pytest.raises(RepositoryError, match=rf"its repository is the folder above: '{repository}'"):
        read_repository(repository / "alone")


def test_missing_folder(tmp_path):
    with pytest.raises(RepositoryError, match="does not exist"):
        read_repository(tmp_path / "nowhere")


def test_shipped_repository_serves():
    read = read_repository(find_locations().model_repository)
    assert "passthrough" in read.services
    assert "decode" in read.steps
    assert set(read.steps) <= set(read.models)
