# SPDX-License-Identifier: MIT
import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from vireo_training.model_card import fill_in, numbers
from vireo_training.photographs import PHOTOGRAPHS


@pytest.fixture
def folder(repository: Path) -> Path:
    return repository / "super_resolution_network"


def test_the_card_shows_the_numbers_of_the_evaluation(folder: Path) -> None:
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert numbers(evaluation) in (folder / "README.md").read_text()


def test_the_card_names_every_photograph(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for photograph in PHOTOGRAPHS:
        assert photograph.name.removesuffix("_left").removesuffix("_right") in card
        assert photograph.credit.split(",")[0] in card, photograph.name


def test_the_card_says_the_size_of_the_network(folder: Path) -> None:
    model = onnx.load(folder / "1" / "model.onnx")
    tensors = [numpy_helper.to_array(each) for each in model.graph.initializer]
    parameters = sum(tensor.size for tensor in tensors if tensor.ndim > 0)
    multiply_adds = sum(tensor.size for tensor in tensors if tensor.ndim == 4)
    card = (folder / "README.md").read_text()
    assert f"{parameters:,} parameters".replace(",", " ") in card
    assert f"{multiply_adds:,} multiply-adds an input pixel".replace(",", " ") in card


def test_numbers_go_between_the_marks(folder: Path, tmp_path: Path) -> None:
    for name in ("README.md", "evaluation.json"):
        shutil.copy(folder / name, tmp_path)
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    evaluation["psnr_y"] = {"moon": {"crf 18": {"bicubic": 30.0, "torch": 31.5, "onnx": 31.5}}}
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    fill_in(tmp_path)
    card, before = (tmp_path / "README.md").read_text(), (folder / "README.md").read_text()
    assert "| moon | 30.00 → 31.50 (+1.50) |" in card
    assert "| astronaut |" not in card
    assert card.splitlines()[0] == before.splitlines()[0]
    assert card.splitlines()[-1] == before.splitlines()[-1]


def test_a_card_without_marks_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "evaluation.json", tmp_path)
    (tmp_path / "README.md").write_text("# A network\n")
    with pytest.raises(ValueError, match="put both marks where numbers belong"):
        fill_in(tmp_path)
