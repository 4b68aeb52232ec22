# SPDX-License-Identifier: MIT
"""The PyTorch script of demo/, where PyTorch is installed."""

from pathlib import Path

import numpy as np
import pytest
from vireo_server.scripting.batch import Batch, check
from vireo_server.scripting.script import Script

pytest.importorskip("torch", reason="no PyTorch: pip install torch")


def test_it_sharpens_and_gives_pictures_that_the_stage_takes():
    script = Script(Path(__file__).parents[3] / "demo" / "torch_network.py")
    assert script.takes_device_arrays
    script.setup("{}")
    frames = np.full((2, 16, 24, 3), 100, np.uint8)
    frames[:, 8, 12] = 150
    batch = Batch(frames=frames.copy(), pts=[0, 1], kind=[0, 0], time_base=(1, 25))
    data = batch.data(None)
    outcome = check(script.process(data, profiling=False, seconds=0.0), data, batch)
    assert outcome.frames.shape == frames.shape
    assert (outcome.frames[:, 8, 12] == 250).all()  # 150 + 0.5 * 4 * 50
    assert (outcome.frames[:, 8, 11] == 75).all()
    assert (outcome.frames[:, :4] == 100).all()
