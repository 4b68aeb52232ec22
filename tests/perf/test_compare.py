# SPDX-License-Identifier: MIT
"""What counts as slower."""

import pytest

RATIO = "ladder.served_4/pipelined"


def ratio(*values):
    return {RATIO: (list(values), "ratio", "higher")}


def test_a_drop_beyond_the_noise_is_named_and_fails(program, results_file):
    old, new = results_file("old", ratio(0.95, 0.96, 0.97)), results_file("new", ratio(0.79, 0.80, 0.81))
    done = program("compare", old, new)
    assert done.returncode == 1
    assert "worse:\n  ladder.served_4/pipelined: 0.96 -> 0.8 ratio, 16.7 % worse (noise 3.0 %)" in done.stdout


@pytest.mark.parametrize("new", [(0.78, 0.93, 0.99), (0.94, 0.94, 0.95)], ids=["repetitions differ", "too little"])
def test_what_the_repetitions_explain_is_no_change(program, results_file, new):
    done = program("compare", results_file("old", ratio(0.80, 0.96, 0.97)), results_file("new", ratio(*new)))
    assert done.returncode == 0
    assert done.stdout == "1 of 1 are the same within the noise\n"


def test_less_is_better_where_a_measurement_says_so(program, results_file):
    old = results_file("old", {"memory.one_stream": ([500.0], "MB", "lower")})
    new = results_file("new", {"memory.one_stream": ([600.0], "MB", "lower")})
    assert "500 -> 600 MB, 20.0 % worse" in program("compare", old, new).stdout
    assert "600 -> 500 MB, 16.7 % better" in program("compare", new, old).stdout


def test_times_drift_with_the_machine_and_are_compared_only_on_demand(program, results_file):
    old = results_file("old", {"ladder.pipelined": ([30.0, 31.0], "frames/s", "higher")})
    new = results_file("new", {"ladder.pipelined": ([20.0, 21.0], "frames/s", "higher")})
    assert program("compare", old, new).returncode == 0
    done = program("compare", "--times", old, new)
    assert done.returncode == 1
    assert "ladder.pipelined" in done.stdout


def test_what_is_not_measured_any_more_is_said(program, results_file):
    done = program("compare", results_file("old", ratio(0.9)), results_file("new", {}))
    assert f"not measured any more:\n  {RATIO}\n" in done.stdout


def test_a_file_of_something_else_says_so(program, results_file, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    done = program("compare", results_file("old", {}), tmp_path / "other.json")
    assert "is no results' file of perf.run" in done.stderr
