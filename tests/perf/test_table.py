# SPDX-License-Identifier: MIT
"""The README's table is what the newest results say."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- perf:begin -->", "<!-- perf:end -->"
LADDER = {
    "ladder.pipelined": ([30.0, 40.0, 50.0], "frames/s", "higher"),
    "ladder.served_4": ([27.0, 38.0, 40.0], "frames/s", "higher"),
    "ladder.pipelined.cpu": ([58.0], "ms", "lower"),
    "ladder.served_4.cpu": ([61.0], "ms", "lower"),
    "ladder.served_4/pipelined": ([0.9, 0.95, 0.8], "ratio", "higher"),
    "memory.one_stream": ([950.0], "MB", "lower"),
}


def test_medians_of_ratios_targets_and_where_it_comes_from(program, results_file):
    text = program("table", results_file("one", LADDER)).stdout
    assert "| (e) our ensemble, 4 streams | 38.0 | 0.90 | 61.0 |" in text
    assert "| 4 streams, of the in-process limit (d) | at least 0.9 | 0.9 (0.8 to 0.95) | yes |" in text
    assert "| memory of one 1080p passthrough stream, MB | at most 900 | 950 | **no** |" in text
    assert "2026-01-02, Some CPU, 2 cores" in text
    assert "commit abc1234" in text


def test_it_goes_between_the_markers_and_nowhere_else(program, results_file, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    results = results_file("one", LADDER)
    for _ in range(2):
        assert program("table", results, "--write", readme).returncode == 0
        text = readme.read_text()
        assert text.startswith(f"before\n{BEGIN}\n")
        assert text.endswith(f"\n{END}\nafter\n")
        assert "old" not in text
        assert text.count("our ensemble, 4 streams") == 1


def test_a_readme_without_markers_is_left_alone(program, results_file, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n")
    done = program("table", results_file("one", LADDER), "--write", readme)
    assert "put both lines where the table belongs" in done.stderr
    assert readme.read_text() == "nothing\n"


def test_the_readme_agrees_with_the_newest_results(program):
    newest = max((ROOT / "perf" / "results").glob("[0-9]*.json"), default=None)
    readme = (ROOT / "README.md").read_text()
    if newest is None:
        assert BEGIN not in readme, "the README has a table of speeds, and perf/results has no file it could be from"
        pytest.skip("nothing has been measured for the README yet")
    table = program("table").stdout
    assert f"{BEGIN}\n{table}{END}" in readme, "run: python -m perf.table --write README.md"
