# SPDX-License-Identifier: MIT
"""Where the shipped files are."""

import pytest
from vireo_server.locations import Locations, find_locations


def test_source_checkout():
    found = find_locations()
    assert (found.doors / "vireo_server").is_dir() or (found.doors.parent / "__init__.py").is_file()
    assert list(found.model_repository.glob("*/config.pbtxt"))
    assert list(found.doors.glob("*/model.py"))


def test_installed_wheel(tmp_path):
    package = tmp_path / "site-packages" / "vireo_server"
    for name in ("model_repository", "backends"):
        (package / "_data" / name).mkdir(parents=True)
    assert find_locations(package) == Locations(
        model_repository=package / "_data" / "model_repository", doors=package / "_data" / "backends"
    )


def test_neither(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the model repository folder .* does not exist"):
        find_locations(tmp_path / "backends" / "vireo_server")
