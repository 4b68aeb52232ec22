# SPDX-License-Identifier: MIT
"""The script stage where a service gives numbers: named results with a row a frame, and no pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
from vireo_server.errors import BadInput, ScriptFailed
from vireo_server.formats import KIND, ROW, SPARE
from vireo_server.results import Result
from vireo_server.scripting.host import ScriptHost
from vireo_server.scripting.stage import ScriptStage
from vireo_server.settings import ScriptSettings
from vireo_server.tags import NOTHING
from vireo_server.wire import Request

MEANS = Result(name="MEAN", dtype=np.dtype(np.float32), shape=(3,))
SCRIPT = """
    import numpy as np
    def process(data):
        return {"MEAN": np.array([frame.mean((0, 1)) for frame in data["frames"]], np.float32)}
"""


@pytest.fixture
def stage(script):
    hosts = []

    def make(source, **settings):
        hosts.append(ScriptHost(script(source), ScriptSettings(**settings)))
        return ScriptStage(hosts[-1], results=[MEANS])

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def step(request_of, text):
    """`step(stage, codes, end=True)`: one request with flat pictures of these codes."""

    def run(stage, codes, *, start=False, end=False):
        pictures = np.repeat(np.array(codes, np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)
        timing = np.array([[10 * code, 1, 0, row] for row, code in enumerate(codes)], np.int64)
        tensors = {"INPUT": pictures, "TIMING": timing, "FORMAT": text(replace(NOTHING, width=8, height=8).to_json())}
        request = Request(request_of(tensors, start=start, end=end), stage="script")
        stage.listen(request)
        if start:
            stage.open(request)
        return stage.step(request)

    return run


@pytest.mark.parametrize("sizes", [(7,), (1, 1, 1, 1, 1, 1, 1), (3, 4)])
def test_every_frame_has_its_row_however_requests_are_cut(stage, step, sizes):
    subject, rows, sent = stage(SCRIPT, batch=3), [], 0
    for place, size in enumerate(sizes):
        codes = list(range(sent, sent + size))
        sent += size
        given = step(subject, codes, start=place == 0, end=sent == 7)
        assert set(given) == {"MEAN", "TIMING", "FORMAT"}
        for timing in given["TIMING"]:
            if timing[KIND] != SPARE:
                rows.append((int(timing[0]), given["MEAN"][timing[ROW]].tolist()))
    assert rows == [(10 * code, [code] * 3) for code in range(7)]


def test_a_request_that_fills_no_batch_gives_one_spare_row(stage, step):
    given = step(stage(SCRIPT, batch=4), [1, 2], start=True)
    assert given["TIMING"][:, KIND].tolist() == [SPARE]
    assert given["MEAN"].shape == (1, 3)


def test_an_error_travels_in_tensors_of_the_same_shape(stage):
    given = stage(SCRIPT).failure(BadInput("broken", stage="decode"))
    assert given["MEAN"].shape == (1, 3)
    assert json.loads(given["FORMAT"])["error"]["message"] == "broken"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", r"process returned frames, but this service gives numbers; return a dict with MEAN float32 \[3\]"),
        ('{"MAEN": np.zeros((1, 3), np.float32)}', r"process returned MAEN; allowed: exactly MEAN float32 \[3\]"),
        ('{"MEAN": np.zeros((1, 3))}', r"returned MEAN as float64 with rows of \[3\]; allowed: float32 with rows of"),
        ('{"MEAN": np.zeros((1, 4), np.float32)}', r"returned MEAN as float32 with rows of \[4\]; allowed: float32"),
    ],
)
def test_what_does_not_fit_the_configuration_is_explained(stage, step, returned, said):
    subject = stage(f"""
    import numpy as np
    def process(data):
        return {returned}
    """)
    with pytest.raises(ScriptFailed, match=said):
        step(subject, [5], start=True, end=True)
