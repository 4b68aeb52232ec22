# SPDX-License-Identifier: MIT
"""Nothing is lost when things die, nothing hangs on hostile input, nothing grows: each a short piece of `make soak`."""

import pytest

pytestmark = pytest.mark.server


def test_fuzzed_packets_and_files_get_an_answer(soak):
    found = soak(cases=60)["fuzz"]
    assert sum(found["ended"].values()) == 60
    assert found["reached_a_frame"] >= 30
    assert found["open_streams_at_the_end"] == 0


def test_clip_after_clip_holds_no_more_than_the_first(soak):
    found = soak(clips=25)["clips"]
    assert found["at_the_end"]["open_streams"] == 0
    assert found["at_the_end"]["shared_mb"] > 0, "what is measured is there"


def test_callers_who_go_away_are_cleaned_up_after_and_a_full_server_says_when_to_come_back(soak):
    """80 callers of a server whose limit is 64."""
    found = soak(abandoned=80)["abandoned"]
    assert found["most_open"] <= 64
    assert found["refused_with_a_time"] >= 1


def test_whatever_is_killed_the_bytes_are_the_same(soak):
    """A stage, the server and the client, each once."""
    found = soak(kills=3, frames=600, seed=7)["kills"]
    assert [kill["victim"] for kill in found["each"]] == ["decode", "server", "client"]
    assert found["same_bytes"] == 3
    assert found["during_the_run"] >= 2
    assert any("decode (process" in line and "signal 9, SIGKILL" in line for line in found["each"][0]["log"])
