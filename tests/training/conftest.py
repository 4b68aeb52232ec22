# SPDX-License-Identifier: MIT
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vireo_training.photographs import load, photographs_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The model repository that is served."""
    return ROOT / "model_repository"


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """The committed clip of the demo."""
    return ROOT / "demo" / "sample.mp4"


@pytest.fixture(scope="session")
def held_out() -> dict[str, NDArray[np.uint8]]:
    """The photographs no network was trained on, (H, W, 3) uint8 each."""
    return {photograph.name: load(photograph) for photograph in photographs_for("held_out")}
