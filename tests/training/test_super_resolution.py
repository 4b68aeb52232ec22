# SPDX-License-Identifier: MIT
"""The training loop itself, on a few tiny steps. Runs where torch is installed: `pip install 'vireo[training]'`."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vireo_training.evaluation import bicubic_x2, evaluation_clip, onnx_network, psnr_y
from vireo_training.graph import super_resolution_graph

torch = pytest.importorskip("torch", reason="torch is not installed: it trains, and is never needed to serve")


def _train(steps: int):  # type: ignore[no-untyped-def]
    from vireo_training.super_resolution import TrainingSettings, train

    return train(TrainingSettings(channels=8, clips=12, batch=4, crop=24, validate_every=10), steps=steps, minutes=1)


def test_training_is_repeatable_and_learns() -> None:
    (first, run), (second, again) = _train(80), _train(80)
    assert run.validation_psnr_y == again.validation_psnr_y
    for name, value in first.collapsed().items():
        assert np.array_equal(value, second.collapsed()[name]), name
    (untrained, before) = _train(1)
    assert untrained.collapsed().keys() == first.collapsed().keys()
    assert run.validation_psnr_y > before.validation_psnr_y + 0.5


def test_the_written_file_is_the_trained_network(tmp_path: Path, held_out: dict[str, NDArray[np.uint8]]) -> None:
    from vireo_training.super_resolution import torch_network

    network, _ = _train(20)
    path = tmp_path / "model.onnx"
    path.write_bytes(super_resolution_graph(network.collapsed()))
    degraded, original = evaluation_clip(held_out["chelsea"], crf=18)
    in_torch, in_onnx = torch_network(network)(degraded), onnx_network(path)(degraded)
    assert np.abs(in_torch.astype(int) - in_onnx).max() <= 1
    assert abs(psnr_y(in_torch, original) - psnr_y(in_onnx, original)) < 0.01


def test_the_skip_starts_as_bilinear_interpolation(held_out: dict[str, NDArray[np.uint8]]) -> None:
    from vireo_training.super_resolution import SuperResolution, TrainingSettings, torch_network

    network = SuperResolution(TrainingSettings(channels=4))
    with torch.no_grad():
        for layer in network.body:
            layer.narrow.zero_()
            layer.straight.zero_()
    degraded, _ = evaluation_clip(held_out["coffee"], crf=None)
    # Bilinear and bicubic differ little; another siting or phase order would not come near.
    assert psnr_y(torch_network(network)(degraded), bicubic_x2(degraded)) > 36
