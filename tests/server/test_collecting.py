# SPDX-License-Identifier: MIT
"""collect by itself: what it keeps of rows, what it says of a whole video, and which settings it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from vireo_server.collecting import CollectStage
from vireo_server.errors import BadInput, Cancelled, Internal, SettingError
from vireo_server.results import Result, results_of
from vireo_server.settings import CollectSettings
from vireo_server.tags import NOTHING
from vireo_server.wire import Request

SCORES = Result(name="SCORES", dtype=np.dtype(np.float32), shape=(3,))
SOURCE, SPARE, REFERENCE = 0, 1, 3


@pytest.fixture
def ask(request_of, text):
    """`ask(stage, values, rows, end=True)`: one request; `rows` are (pts, kind, row of values)."""

    def make(stage, values, rows, *, end=False, format=NOTHING):
        timing = np.array([(pts, 10, kind, row) for pts, kind, row in rows], np.int64)
        tensors = {"SCORES": np.asarray(values, np.float32), "TIMING": timing, "FORMAT": text(format.to_json())}
        request = Request(request_of(tensors, chunk=0, end=end), stage="collect")
        stage.listen(request)
        return stage.step(request)

    return make


def stage(*consensus):
    return CollectStage(CollectSettings(consensus=consensus), [SCORES])


def test_spare_and_reference_rows_are_dropped_and_the_others_keep_their_times(ask):
    values = np.arange(9).reshape(3, 3)
    found = ask(stage(), values, [(5, SPARE, -2), (7, SOURCE, 2), (8, REFERENCE, 1), (9, SOURCE, 0), (9, SOURCE, -2)])
    assert found["SCORES"].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert found["TIMING"].tolist() == [[7, 10, 0, 0], [9, 10, 0, 1]]
    assert json.loads(found["REPORT"])["frames_out"] == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mean", [2.5, 2.5, 1]), ("max", [4, 9, 1]), ("direction", np.array([10, 10, 4]) / np.sqrt(216))],
)
def test_the_whole_video_is_answered_once_at_the_end(ask, kind, expected):
    subject = stage(f"SCORES={kind}")
    first = ask(subject, [[4, 0, 1], [0, 9, 1]], [(0, SOURCE, 0), (1, SOURCE, 1)])
    assert first["SCORES_VIDEO"].shape == (0, 3)
    last = ask(subject, [[3, 1, 1], [3, 0, 1]], [(2, SOURCE, 0), (3, SOURCE, 1)], end=True)
    assert last["SCORES_VIDEO"].dtype == np.float32
    assert np.allclose(last["SCORES_VIDEO"], [expected])


@pytest.mark.parametrize("kind", ["mean", "max", "direction"])
def test_where_requests_end_changes_no_bit_of_it(ask, kind):
    values = (
        np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
        * 10.0 ** np.arange(-3, 3)[np.random.default_rng(1).integers(6, size=(200, 1))]
    )
    answers = set()
    for size in (1, 3, 17, 200):
        subject = stage(f"SCORES={kind}")
        for start in range(0, 200, size):
            part = values[start : start + size]
            rows = [(start + place, SOURCE, place) for place in range(len(part))]
            found = ask(subject, part, rows, end=start + size >= 200)
        answers.add(found["SCORES_VIDEO"].tobytes())
    assert len(answers) == 1


def test_numbers_that_are_not_there_do_not_hide_those_that_are(ask):
    found = ask(stage("SCORES=max"), [[np.nan, 1, np.nan], [2, 0, np.nan]], [(0, SOURCE, 0), (1, SOURCE, 1)], end=True)
    assert np.array_equal(found["SCORES_VIDEO"], [[2, 1, np.nan]], equal_nan=True)


def test_a_video_of_which_nothing_was_looked_at_is_refused(ask):
    subject = stage("SCORES=mean")
    assert len(ask(subject, np.zeros((1, 3)), [(0, SPARE, -2)])["SCORES"]) == 0
    with pytest.raises(BadInput, match="no picture of this video was looked at: it has none, or none that `sample`"):
        ask(subject, np.zeros((1, 3)), [(0, SPARE, -2)], end=True)


def test_a_network_that_answers_for_fewer_rows_is_found_out(ask):
    with pytest.raises(Internal, match="SCORES has 1 rows and TIMING asks for row 1"):
        ask(stage(), np.zeros((1, 3)), [(0, SOURCE, 0), (1, SOURCE, 1)])


def test_an_error_of_an_earlier_stage_reaches_the_caller(ask):
    failed = replace(NOTHING, error=Cancelled("gone", stage="decode").to_json())
    with pytest.raises(Cancelled, match="gone"):
        ask(stage(), np.zeros((1, 3)), [(0, SPARE, -2)], format=failed)
    with pytest.raises(BadInput, match="broken"):
        stage().failure(BadInput("broken", stage="decode"))


@pytest.mark.parametrize("text", ["SCORES", "SCORES=median", "OTHER=mean"])
def test_a_consensus_that_cannot_be_keeps_the_model_from_loading(text):
    with pytest.raises(SettingError, match=r"NAME=KIND with a NAME of SCORES and a KIND of mean, max, direction"):
        stage(text)


def test_results_are_what_a_configuration_declares_beside_the_contract():
    tensors = [
        {"name": "TIMING", "data_type": "TYPE_INT64", "dims": ["-1", "4"]},
        {"name": "FACES", "data_type": "TYPE_FP32", "dims": ["-1", "32", "5"]},
        {"name": "FACES_VIDEO", "data_type": "TYPE_FP32", "dims": ["-1", "32", "5"]},
    ]
    (found,) = results_of(json.dumps({"input": [], "output": tensors}), side="output")
    assert found == Result(name="FACES", dtype=np.dtype(np.float32), shape=(32, 5))
    assert found.spare_row().shape == (1, 32, 5)
    assert found.misfit(np.zeros((4, 32, 5), np.float32)) is None
    assert found.misfit(np.zeros((4, 32, 5))) == "float64 with rows of [32, 5]; allowed: float32 with rows of [32, 5]"
    assert found.misfit(np.zeros((4, 32), np.float32))
