# SPDX-License-Identifier: MIT
"""The shipped networks for extraction keep what their model cards promise; every number is computed here."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from vireo_training.camera_motion import MOTIONS, windows
from vireo_training.photographs import load, photographs_for


def network(repository: Path, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = repository / name / "1" / "model.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("number", range(4))
def test_camera_motion_on_photographs_that_took_no_part_in_training(repository: Path, number: int) -> None:
    photograph = photographs_for("held_out")[number]
    judged = windows([load(photograph)], count=128, seed=4000 + number)
    (scores,) = network(repository, "shot_classification_network").run(["OUTPUT"], {"INPUT": judged.frames})
    right = float((scores.argmax(1) == judged.labels).mean())
    assert right >= 0.9
    written = json.loads((repository / "shot_classification_network" / "evaluation.json").read_text())
    # Other windows of the same photograph: within what 128 and 512 of them may differ.
    assert right == pytest.approx(written["accuracy"][photograph.name]["all"], abs=0.06)


def test_light_and_contrast_change_no_answer(repository: Path) -> None:
    judged = windows([load(photographs_for("held_out")[0])], count=64, seed=1)
    session = network(repository, "shot_classification_network")
    darker = (judged.frames * 0.6 + 20).astype(np.uint8)
    answers = [session.run(["OUTPUT"], {"INPUT": frames})[0].argmax(1) for frames in (judged.frames, darker)]
    assert (answers[0] == answers[1]).mean() > 0.95


def test_a_window_played_backwards_is_the_opposite_motion(repository: Path) -> None:
    judged = windows([load(photographs_for("held_out")[2])], count=64, seed=2)
    opposite = {"pan_left": "pan_right", "tilt_up": "tilt_down", "zoom_in": "zoom_out"}
    opposite |= {after: before for before, after in opposite.items()}
    backwards = np.ascontiguousarray(judged.frames[:, ::-1])
    (scores,) = network(repository, "shot_classification_network").run(["OUTPUT"], {"INPUT": backwards})
    expected = [opposite.get(MOTIONS[label], MOTIONS[label]) for label in judged.labels]
    assert np.mean([MOTIONS[place] == motion for place, motion in zip(scores.argmax(1), expected, strict=True)]) >= 0.9


def test_embeddings_have_length_one_and_a_batch_is_its_rows(repository: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 3, 96, 96), np.uint8)
    session = network(repository, "features_network")
    (together,) = session.run(["OUTPUT"], {"INPUT": pictures})
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([session.run(["OUTPUT"], {"INPUT": pictures[place : place + 1]})[0] for place in range(5)])
    assert np.allclose(alone, together, atol=1e-5)
