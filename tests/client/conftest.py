# SPDX-License-Identifier: MIT
"""Clips for the client's tests, and a client on a service in this process."""

from pathlib import Path

import pytest
from vireo_client.running import Patience
from vireo_media.testing import numbered_clip

# Tests that make servers fail must not wait as long as people would.
SHORT = Patience(reply_seconds=1.0, unavailable_seconds=0.5, first_pause_seconds=0.05)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 s with B-frames, a closed GOP a second, and sound: five segments, the last of 2 s."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    numbered_clip(path, frames=450, gop=25, bframes=2, size=(160, 96), audio="aac")
    return path


@pytest.fixture
def short() -> Patience:
    return SHORT
