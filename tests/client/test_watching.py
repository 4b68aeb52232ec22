# SPDX-License-Identifier: MIT
"""What a client notices while it waits."""

import threading
import time
from collections.abc import Callable

import pytest
from vireo_client import watching
from vireo_client.errors import StageDiedError


class Stages:
    """A server whose one stage was replaced after the first look, before it had answered anything again."""

    url = "here"

    def __init__(self) -> None:
        self.looks = self.signs = 0
        self.looked = threading.Event()

    def stage_counts(self, service: str) -> dict[str, int]:
        self.looks += 1
        self.looked.set()
        return {"stage": 5 if self.looks == 1 else 0}

    def keep_alive(self, service: str, sequences: list[str], *, computing: Callable[[], None]) -> None:
        self.signs += 1


def test_the_first_look_is_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 1000.0)
    stages = Stages()
    watch = watching.ServerWatch(stages, "service")
    assert stages.looked.wait(10)
    watch.stop()


def test_a_stage_that_was_replaced_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.01)
    stages = Stages()
    watch = watching.ServerWatch(stages, "service")
    moment = watch.moment()
    while stages.looks < 3:
        time.sleep(0.01)
    with pytest.raises(StageDiedError, match="replaced stage while the segment was in it"):
        watch.check((0, moment[1]))
    watch.stop()


@pytest.mark.parametrize(("stage", "moves"), [("decode", False), ("network", True), ("encode", False)])
def test_where_only_counts_tell_a_stage_of_the_services_own_is_at_work(
    monkeypatch: pytest.MonkeyPatch, stage: str, moves: bool
) -> None:
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.01)
    stages = Stages()
    counts = {"decode": 3, "network": 3, "encode": 3, "service": 0}
    stages.stage_counts = lambda service: stages.looked.set() or counts
    watch = watching.ServerWatch(stages, "service")
    assert stages.looked.wait(10)
    before = watch.moved()
    counts = {**counts, stage: 4}
    time.sleep(0.2)
    assert (watch.moved() > before) is moves
    watch.stop()


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_what_just_began_gives_no_life_sign(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A short clip is over before the first one is due, and each would be a request more."""
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_ALIVE_SECONDS", seconds)
    stages = Stages()
    watch = watching.ServerWatch(stages, "service")
    while stages.looks < 3:
        time.sleep(0.01)
    assert bool(stages.signs) == (seconds == 0)
    watch.stop()
