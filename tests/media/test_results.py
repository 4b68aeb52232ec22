# SPDX-License-Identifier: MIT
"""Numbers as files: JSON, JSON lines, CSV; with names, without, and with several items a row."""

import csv
import io
import json

import numpy as np
import pytest
from vireo_media.errors import ExchangeError, OptionError, OutputError
from vireo_media.results import join_results, result_format, write_results
from vireo_media.services import ServiceDescription

SERVICE = ServiceDescription(
    name="some",
    kind="extraction",
    segments=False,
    results={
        "MOTION": {"labels": ["still", "moving"], "video": True},
        "FACES": {"columns": ["x", "score"]},
        "EMBEDDING": {},
    },
)
OUTPUT = {"width": 64, "height": 48, "time_base": [1, 100]}
NAN = np.nan


def part(first, *, video=()):
    rows = np.array([[first, 4, 0, 0], [first + 50, 4, 0, 1]], np.int64)
    results = {
        "EMBEDDING": np.array([[0.5, -1], [1 / 3, 0]], np.float32),
        "MOTION": np.array([[0.25, 0.75], [1, 0]], np.float32),
        "MOTION_VIDEO": np.array(video, np.float32).reshape(-1, 2),
        "FACES": np.array([[[1, 9], [2, 8]], [[NAN, NAN], [NAN, NAN]]], np.float32),
    }
    return rows, results


@pytest.fixture
def extraction():
    return join_results(SERVICE, [part(0), part(100, video=[0.6, 0.4])], OUTPUT, notes=["a note"])


def test_replies_are_joined_in_order(extraction):
    assert extraction.seconds.tolist() == [0, 0.5, 1, 1.5]
    assert extraction.durations.tolist() == [0.04] * 4
    assert list(extraction.results) == ["MOTION", "FACES", "EMBEDDING"], "as the service lists them"
    assert extraction.results["EMBEDDING"].shape == (4, 2)
    assert np.allclose(extraction.video["MOTION"], [0.6, 0.4])
    assert (extraction.width, extraction.height, extraction.warnings) == (64, 48, ("a note",))


def test_json_names_what_the_service_names(extraction):
    document = json.loads(write_results(extraction, "json"))
    assert document["video"] == {"MOTION": {"still": 0.6, "moving": 0.4}}
    assert document["notes"] == ["a note"]
    assert document["rows"][0] == {
        "time": 0.0,
        "duration": 0.04,
        "MOTION": {"still": 0.25, "moving": 0.75},
        "FACES": [{"x": 1.0, "score": 9.0}, {"x": 2.0, "score": 8.0}],
        "EMBEDDING": [0.5, -1.0],
    }
    assert document["rows"][1]["FACES"] == []
    assert document["rows"][1]["EMBEDDING"][0] == 0.333333


def test_json_lines_have_a_row_each_and_the_rest_at_the_end(extraction):
    lines = [json.loads(line) for line in write_results(extraction, "jsonl").splitlines()]
    document = extraction.to_json()
    assert lines[:4] == document.pop("rows")
    assert lines[4] == document


def test_csv_has_a_line_for_each_item_and_one_for_the_video(extraction):
    lines = list(csv.DictReader(io.StringIO(write_results(extraction, "csv"))))
    assert [line["time"] for line in lines] == ["0.0", "0.0", "0.5", "1.0", "1.0", "1.5", "video"]
    assert [line["FACES.x"] for line in lines] == ["1.0", "2.0", "", "1.0", "2.0", "", ""]
    assert lines[0]["EMBEDDING.1"] == "-1.0"
    assert lines[-1]["MOTION.still"] == "0.6"
    assert lines[-1]["EMBEDDING.0"] == ""


def test_parts_that_do_not_make_a_whole_are_refused():
    with pytest.raises(ExchangeError, match="2 answers for the whole video in MOTION_VIDEO; allowed is one"):
        join_results(SERVICE, [part(0, video=[1, 0]), part(9, video=[1, 0])], OUTPUT, notes=[])
    with pytest.raises(ExchangeError, match=r"ended without a REPORT\.output"):
        join_results(SERVICE, [], None, notes=[])


@pytest.mark.parametrize(
    ("name", "wanted", "format"),
    [
        ("a.json", None, "json"),
        ("a.CSV", None, "csv"),
        ("-", None, "json"),
        ("-", "csv", "csv"),
        ("a", "jsonl", "jsonl"),
    ],
)
def test_the_format_is_the_suffix_unless_it_is_said(name, wanted, format):
    assert result_format(name, wanted=wanted) == format


def test_a_format_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(OutputError, match=r"gives numbers, not a video; allowed are names that end in \.json, \.jsonl"):
        result_format("out.mp4")
    with pytest.raises(OptionError, match="format cannot be 'xml'; allowed is json, jsonl, csv"):
        result_format("out.json", wanted="xml")
