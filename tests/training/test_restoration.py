# SPDX-License-Identifier: MIT
"""The shipped restoration network keeps what its model card promises; every number is computed here."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vireo_training.coding import Coding
from vireo_training.evaluation import psnr_y
from vireo_training.graph import CONDITIONS
from vireo_training.restoration_evaluation import EVALUATED, Restore, conditions, evaluation_clip, onnx_restorer, score

Rows = dict[str, dict[str, tuple[float, float]]]


@pytest.fixture(scope="module")
def network(repository: Path) -> Restore:
    return onnx_restorer(repository / "restoration_network" / "1" / "model.onnx")


@pytest.fixture(scope="module")
def measured(network: Restore, held_out: dict[str, NDArray[np.uint8]]) -> Rows:
    """(before, after) PSNR-Y by photograph and coding, from the shipped file, now: the middle of each."""
    fine = ("H.264 CRF 14", "H.264 CRF 18", "MPEG-2 q 2", "MPEG-2 q 4", "JPEG 95")
    kept = (*fine, "H.264 CRF 32", "MPEG-2 q 8", "JPEG 50")
    smaller = {name: picture[:256, :320] for name, picture in held_out.items()}
    return {
        name: {key: score(network, picture, EVALUATED[key][0], noise=EVALUATED[key][1]) for key in kept}
        for name, picture in smaller.items()
    }


def gains(measured: Rows, coding: str) -> list[float]:
    return [rows[coding][1] - rows[coding][0] for rows in measured.values()]


@pytest.mark.parametrize(("coding", "least"), [("MPEG-2 q 8", 0.5), ("JPEG 50", 0.5), ("H.264 CRF 32", 0.25)])
def test_it_repairs_photographs_it_never_saw(measured: Rows, coding: str, least: float) -> None:
    assert np.mean(gains(measured, coding)) >= least
    assert min(gains(measured, coding)) >= -0.05


@pytest.mark.parametrize("coding", ["H.264 CRF 14", "H.264 CRF 18", "MPEG-2 q 2", "MPEG-2 q 4", "JPEG 95"])
def test_what_is_fine_loses_nothing(measured: Rows, coding: str) -> None:
    assert min(gains(measured, coding)) >= -0.02


def test_noise_that_it_is_told_of_goes(network: Restore, held_out: dict[str, NDArray[np.uint8]]) -> None:
    coded, original = evaluation_clip(held_out["coffee"][:200, :300], Coding("h264", 18), noise=10)
    before = psnr_y(coded.pictures, original)
    told, untold = (psnr_y(network(coded.pictures, conditions(coded, noise=noise)), original) for noise in (10, 0))
    assert told > before + 2
    assert told > untold + 1


def test_strength_0_changes_nothing_and_half_lies_between(
    network: Restore, held_out: dict[str, NDArray[np.uint8]]
) -> None:
    coded, _ = evaluation_clip(held_out["coffee"][:100, :100], Coding("jpeg", 20), noise=0)
    none, half, whole = (
        network(coded.pictures, conditions(coded, noise=0, strength=strength)).astype(int) for strength in (0, 0.5, 1)
    )
    assert np.array_equal(none, coded.pictures)
    unclipped = (whole > 0) & (whole < 255)
    assert np.abs(2 * half - none - whole)[unclipped].max() <= 2
    assert np.abs(whole - none).max() > 10


def test_the_written_numbers_are_what_the_file_gives(
    repository: Path, network: Restore, held_out: dict[str, NDArray[np.uint8]]
) -> None:
    written = json.loads((repository / "restoration_network" / "evaluation.json").read_text())
    assert written["psnr_y"].keys() == held_out.keys()
    for coding in ("MPEG-2 q 8", "H.264 CRF 32"):
        row = written["psnr_y"]["coffee"][coding]
        before, after = score(network, held_out["coffee"], EVALUATED[coding][0], noise=EVALUATED[coding][1])
        assert before == pytest.approx(row["before"], abs=0.05)
        # `torch` was measured by the training code.
        assert after == pytest.approx(row["torch"], abs=0.05)


def test_the_columns_are_those_that_preprocess_writes(repository: Path) -> None:
    text = (repository / "restoration_preprocess" / "config.pbtxt").read_text()
    assert '"strength=1, quantizer_step, loop_filter, noise=0"' in text
    assert CONDITIONS == ("strength", "quantizer_step", "loop_filter", "noise")
