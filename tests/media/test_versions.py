# SPDX-License-Identifier: MIT
"""Versions of a service: names, shares, and which one a run goes to."""

import pytest
from vireo_media.errors import OptionError
from vireo_media.versions import Shares, split_version, versioned


@pytest.mark.parametrize(("version", "model"), [(1, "grade"), (2, "grade.2"), (30, "grade.30")])
def test_a_name_and_back(version, model):
    assert versioned("grade", version) == model
    assert split_version(model) == ("grade", version)


@pytest.mark.parametrize("model", ["grade.1", "grade.x", "grade.02", "grade."])
def test_what_is_no_version_is_a_name(model):
    assert split_version(model) == (model, 1)


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.5])
def test_a_version_that_cannot_be(version):
    with pytest.raises(OptionError, match=r"version cannot be .* allowed is 1 or more"):
        versioned("grade", version)


@pytest.mark.parametrize(
    "text", ["2", "[]", '{"1": 0.5}', '{"0": 1}', '{"1": "x"}', '{"1": 0, "2": 1}', "{", '{"a": 1}']
)
def test_shares_that_cannot_be(text):
    with pytest.raises(OptionError, match=r"'grade'.*allowed is"):
        Shares.from_json("grade", text)


def test_shares_survive_as_text():
    shares = Shares("grade", {1: 0.8, 2: 0.2})
    assert Shares.from_json("grade", shares.to_json()) == shares
    assert Shares("grade").to_json() == ""
    assert Shares.from_json("grade", None) == Shares("grade") == Shares.from_json("grade", "")


def test_giving_a_share_leaves_the_others_in_proportion():
    canary = Shares("grade").give(2, 0.2)
    assert canary.of == {1: 0.8, 2: 0.2}
    assert canary.give(3, 0.5).of == {1: 0.4, 2: 0.1, 3: 0.5}
    assert canary.give(2, 1.0).of == {2: 1.0}
    assert canary.give(2, 1.0).give(2, 0.25).of == {1: 0.75, 2: 0.25}
    assert canary.give(2, 0.0) == canary.give(1, 1.0) == Shares("grade")
    with pytest.raises(OptionError, match=r"version 1 cannot have 0.5 of the runs"):
        Shares("grade").give(1, 0.5)
    with pytest.raises(OptionError, match=r"share cannot be 1.5; allowed is a number in 0..1"):
        canary.give(2, 1.5)


def test_a_run_s_name_decides_and_the_shares_hold():
    shares = Shares("grade", {1: 0.75, 2: 0.25})
    chosen = [shares.choose(f"run {number}") for number in range(4000)]
    assert chosen == [shares.choose(f"run {number}") for number in range(4000)]
    assert 0.23 < chosen.count(2) / len(chosen) < 0.27
    # More for version 2 takes runs from version 1, and none the other way.
    more = Shares("grade", {1: 0.5, 2: 0.5})
    assert all(more.choose(f"run {number}") == 2 for number, version in enumerate(chosen) if version == 2)
