# SPDX-License-Identifier: MIT
"""The script stage, tensor by tensor: kinds and rows, batches across requests, and errors."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from vireo_server.errors import BadInput, Internal, ScriptFailed
from vireo_server.formats import GENERATED, KIND, NO_PICTURE, PTS, REFERENCE, ROW, SOURCE, SPARE, UNKNOWN, UNTOUCHED
from vireo_server.scripting.host import ScriptHost
from vireo_server.scripting.stage import ScriptStage
from vireo_server.scripting.waiting import Waiting
from vireo_server.settings import ScriptSettings
from vireo_server.tags import NOTHING
from vireo_server.testing import sample_frames
from vireo_server.wire import Request

#: Fills a spare frame with the mean of its neighbours, where both are there.
BETWEEN = """
    def process(data):
        frames, kind = data["frames"], data["kind"]
        for i, one in enumerate(kind):
            if one == 1 and 0 < i < len(kind) - 1:
                frames[i][...] = frames[i - 1] // 2 + frames[i + 1] // 2
                kind[i] = 2
"""
FORMAT = replace(NOTHING, width=320, height=180, time_base=(1, 50))


@pytest.fixture
def stage(script):
    hosts = []

    def make(source, **settings):
        hosts.append(ScriptHost(script(source), ScriptSettings(**settings)))
        return ScriptStage(hosts[-1])

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def step(request_of, text):
    """`step(stage, pictures, timing)`: one request; gives OUTPUT, TIMING and FORMAT."""

    def run(stage, pictures, timing, *, format=FORMAT, start=False, end=False):
        tensors = {"INPUT": pictures, "TIMING": np.array(timing, np.int64), "FORMAT": text(format.to_json())}
        request = Request(request_of(tensors, start=start, end=end), stage="script")
        stage.listen(request)
        if start:
            stage.open(request)
        given = stage.step(request)
        return given["OUTPUT"], given["TIMING"], json.loads(given["FORMAT"])

    return run


def rows(*kinds, first=0):
    """TIMING of rows that are all in INPUT, one time step apart."""
    return [[first + index, 1, kind, index] for index, kind in enumerate(kinds)]


def test_spare_frames_become_generated_ones_and_empty_ones_are_dropped(stage, step):
    frames = sample_frames(5)
    output, timing, format = step(
        stage(BETWEEN), frames, rows(SOURCE, SPARE, SOURCE, SPARE, SPARE), start=True, end=True
    )
    assert list(timing[:, KIND]) == [SOURCE, GENERATED, SOURCE, GENERATED, SPARE]
    assert list(timing[:, ROW]) == [0, 1, 2, 3, NO_PICTURE]
    assert list(timing[:, PTS]) == [0, 1, 2, 3, 4]
    assert (output[1] == frames[0] // 2 + frames[2] // 2).all()
    assert (output[2] == frames[2]).all()
    assert format["layout"] == "interleaved"


def test_a_reference_is_seen_and_never_encoded(stage, step):
    frames = sample_frames(3)
    output, timing, _ = step(stage(BETWEEN), frames, rows(REFERENCE, SPARE, SOURCE), start=True, end=True)
    assert list(timing[:, KIND]) == [REFERENCE, GENERATED, SOURCE]
    assert list(timing[:, ROW]) == [NO_PICTURE, 1, 2]
    assert (output[1] == frames[0] // 2 + frames[2] // 2).all()


def test_rows_without_a_picture_are_not_shown_to_the_script(stage, step):
    one = stage("def process(data):\n    assert data['pts'] == [7, 8], data['pts']\n")
    timing = [[UNKNOWN, 0, SPARE, NO_PICTURE], [7, 1, SOURCE, 0], [8, 1, SOURCE, 1]]
    _, given, _ = step(one, sample_frames(2), timing, start=True, end=True)
    assert list(given[:, PTS]) == [7, 8]


def test_batches_go_across_requests_and_a_full_one_waits_for_a_follower(stage, step):
    source = """
        def process(data):
            for frame in data["frames"]:
                frame[...] = len(data["frames"]) + 100 * data["last"]
    """
    one, frames, seen = stage(source, batch=4), sample_frames(3), []
    for chunk in range(4):
        output, timing, _ = step(
            one, frames, rows(SOURCE, SOURCE, SOURCE, first=3 * chunk), start=chunk == 0, end=chunk == 3
        )
        assert output.shape[0] >= 1
        shown = timing[timing[:, ROW] >= 0]
        seen.append([(int(row[PTS]), int(output[row[ROW]].max())) for row in shown])
    assert [len(part) for part in seen] == [0, 4, 4, 4]
    assert [row for part in seen for row in part] == [(pts, 4 if pts < 8 else 104) for pts in range(12)]


def test_buffers_are_never_used_again_while_a_script_holds_a_frame(stage, step):
    source = """
        kept = []

        def process(data):
            for frame in data["frames"]:
                frame[...] = data["pts"][0]
            if data["pts"][0] == 4:
                kept.append(data["frames"][1])
            assert all((frame == 4).all() for frame in kept)
    """
    one = stage(source, batch=4)
    for chunk in range(12):
        output, timing, _ = step(
            one, sample_frames(4), rows(*[SOURCE] * 4, first=4 * chunk), start=chunk == 0, end=chunk == 11
        )
        for row in timing[timing[:, ROW] >= 0]:
            assert (output[row[ROW]] == row[PTS] // 4 * 4).all()
        del output
    module = one._host._script._module
    assert len(module.kept) == 1


def test_buffers_that_nobody_holds_are_used_again():
    made = []

    def empty(shape, dtype):
        made.append(shape)
        return np.empty(shape, dtype)

    waiting = Waiting(2, slots=0, shape=(4, 4, 3), xp=SimpleNamespace(empty=empty))
    for batch in range(12):
        for row in np.array(rows(SOURCE, SOURCE, first=2 * batch)):
            waiting.add(np.full((4, 4, 3), batch, np.uint8), row)
        waited = waiting.take()
        assert (waited.frames == batch).all()
        del waited
    assert len(made) <= 3, "memory does not grow with the video"


def test_a_stream_without_frames_never_calls_the_script(stage, step):
    one = stage("def process(data):\n    raise AssertionError\n")
    output, timing, _ = step(
        one, np.zeros((1, 180, 320, 3), np.uint8), [[UNKNOWN, 0, SPARE, NO_PICTURE]], start=True, end=True
    )
    assert len(output) == 1
    assert list(timing[0, [KIND, ROW]]) == [SPARE, NO_PICTURE]


def test_frames_that_go_past_the_script_are_refused(stage, step):
    with pytest.raises(Internal, match="set its parameter ten_bit to convert"):
        step(stage(BETWEEN), sample_frames(1), [[0, 1, SOURCE, UNTOUCHED]], start=True)


def test_numbers_where_a_video_is_wanted(stage, step):
    one = stage("def process(data):\n    return {'score': [0.5] * len(data['data'])}\n")
    with pytest.raises(ScriptFailed, match=r"process returned numbers \(score\), but this service gives a video"):
        step(one, sample_frames(2), rows(SOURCE, SOURCE), start=True, end=True)


def test_an_error_of_a_stage_before_and_of_our_own_goes_to_the_stages_behind(stage, step, request_of, text):
    one = stage(BETWEEN)
    error = BadInput("damaged", stage="decode", seconds=1.0)
    with pytest.raises(BadInput, match=r"decode at 00:00:01.000: damaged"):
        step(one, sample_frames(1), rows(SOURCE), format=FORMAT.failed(error), start=True)
    given = one.failure(error)
    assert given["OUTPUT"].shape == (1, 1, 1, 3)
    assert given["TIMING"].tolist() == [[UNKNOWN, 0, SPARE, NO_PICTURE]]
    assert json.loads(given["FORMAT"])["error"]["message"] == "damaged"


def test_profiling_must_be_true_or_false_and_is_not_shown_to_the_script(stage, step):
    source = "def configure(options):\n    assert options == '{}', options\n    return 1\ndef process(data): pass\n"
    _, _, format = step(
        stage(source), sample_frames(1), rows(SOURCE), format=replace(FORMAT, options={"profiling": True}), start=True,
        end=True,
    )  # fmt: skip
    assert format["report"]["profile"]["batches"][0]["frames"] == 1
    with pytest.raises(BadInput, match="option profiling is 'x'; allowed: true, false"):
        step(
            stage(source),
            sample_frames(1),
            rows(SOURCE),
            format=replace(FORMAT, options={"profiling": "x"}),
            start=True,
        )
