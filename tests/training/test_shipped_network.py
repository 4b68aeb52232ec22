# SPDX-License-Identifier: MIT
"""The shipped super-resolution network keeps what its model card promises; every number is computed here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from vireo_training.evaluation import EVALUATED_CRFS, Upscale, bicubic_x2, evaluation_clip, onnx_network, score


@pytest.fixture(scope="module")
def network(repository: Path) -> Upscale:
    return onnx_network(repository / "super_resolution_network" / "1" / "model.onnx")


@pytest.fixture(scope="module")
def measured(network: Upscale, held_out: dict[str, NDArray[np.uint8]]) -> dict[str, dict[str, tuple[float, float]]]:
    """(bicubic, network) PSNR-Y by photograph and quality, from the shipped file, now."""
    return {
        name: {_key(crf): score(network, picture, crf=crf) for crf in EVALUATED_CRFS}
        for name, picture in held_out.items()
    }


def _key(crf: int | None) -> str:
    return "uncompressed" if crf is None else f"crf {crf}"


def test_it_beats_bicubic_on_photographs_it_never_saw(measured: dict[str, dict[str, tuple[float, float]]]) -> None:
    gains = {name: rows["crf 18"][1] - rows["crf 18"][0] for name, rows in measured.items()}
    assert len(gains) >= 3
    assert np.mean(list(gains.values())) >= 1.0, gains
    assert min(gains.values()) >= 0.4, gains


def test_it_never_harms_a_strongly_compressed_photograph(measured: dict[str, dict[str, tuple[float, float]]]) -> None:
    for name, rows in measured.items():
        for key, (bicubic, ours) in rows.items():
            assert ours > bicubic - 0.05, (name, key)


def test_the_written_numbers_are_what_the_file_gives(
    repository: Path, measured: dict[str, dict[str, tuple[float, float]]]
) -> None:
    # `torch` was measured by the training code: the ONNX file is within 0.05 dB of the network it was trained as.
    written: dict[str, Any] = json.loads((repository / "super_resolution_network" / "evaluation.json").read_text())
    assert written["psnr_y"].keys() == measured.keys()
    for name, rows in measured.items():
        for key, (bicubic, ours) in rows.items():
            row = written["psnr_y"][name][key]
            assert bicubic == pytest.approx(row["bicubic"], abs=0.05), (name, key)
            assert ours == pytest.approx(row["torch"], abs=0.05), (name, key)
            assert ours == pytest.approx(row["onnx"], abs=0.05), (name, key)


def test_openvino_and_onnx_runtime_agree(
    repository: Path, network: Upscale, held_out: dict[str, NDArray[np.uint8]]
) -> None:
    degraded, _ = evaluation_clip(held_out["astronaut"], crf=18)
    compiled = openvino.Core().compile_model(
        repository / "super_resolution_network" / "1" / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    planar = np.ascontiguousarray(degraded[:4].transpose(0, 3, 1, 2))
    by_openvino = compiled([planar])["OUTPUT"].transpose(0, 2, 3, 1)
    difference = np.abs(by_openvino.astype(int) - network(degraded[:4]))
    # Sums in another order may fall on the other side of a half, nothing more.
    assert difference.max() <= 1
    assert difference.mean() < 0.001


def test_a_batch_is_its_rows(network: Upscale, held_out: dict[str, NDArray[np.uint8]]) -> None:
    degraded, _ = evaluation_clip(held_out["chelsea"], crf=18)
    assert np.array_equal(network(degraded[:3])[1:2], network(degraded[1:2]))


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 17, 33), (1, 1, 40)])
def test_any_size_is_doubled(network: Upscale, shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert network(picture).shape == (shape[0], shape[1] * 2, shape[2] * 2, 3)


@pytest.mark.parametrize("level", [0, 16, 128, 235, 255])
def test_a_flat_grey_stays_flat_and_grey(network: Upscale, level: int) -> None:
    result = network(np.full((1, 32, 32, 3), level, np.uint8))[0, 16:-16, 16:-16].astype(int)
    assert np.abs(result - level).max() <= 2


def test_nothing_is_shifted(network: Upscale, held_out: dict[str, NDArray[np.uint8]]) -> None:
    degraded, _ = evaluation_clip(held_out["coffee"], crf=18)
    ours, plain = (each[0].astype(float).mean(axis=2) for each in (network(degraded[:1]), bicubic_x2(degraded[:1])))

    def distance(rows: int, columns: int) -> float:
        return float(np.square(np.roll(ours, (rows, columns), (0, 1)) - plain)[8:-8, 8:-8].mean())

    assert min((distance(r, c), (r, c)) for r in (-1, 0, 1) for c in (-1, 0, 1))[1] == (0, 0)
