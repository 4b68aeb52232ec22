# SPDX-License-Identifier: MIT
"""Whether a server that loads its models still gets on.

Note [When loading stands still]
Triton 2.51 gives up a stage that it hears nothing from for about a second while it is loaded: because the machine is
so busy, was paused, or the stage is stopped. Then it waits for the end of that process, which waits for the next
message of Triton's: for ever, and with as many such as it has threads that load, nothing else is loaded either. So does
a stage that waits for a lock nobody gives back. A second start hardly ever comes to the same.

So the kernel is asked what the processes do that are not loaded yet: one that computes, or waits for a disk, or has a
thread that always waits for its turn on a processor, gets on. Life signs, which a stage may give while it is loaded,
take a thousandth of a processor, Triton itself half a hundredth; such threads wait for their turn too where many do,
but not always.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vireo_server.launching.log import ServerLog
from vireo_server.launching.stages import Stage, descendants, running_stages

STACKS_SIGNAL = signal.SIGUSR1
"""Makes a stage write where each of its threads is; see `backends.py`."""

_LOOKS, _LOOK_SECONDS = 3, 5.0
_BUSY_SHARE = 0.02
_QUEUED_SHARE = 0.9
_WRITING_SECONDS = 1.0


@dataclass(frozen=True)
class _Work:
    """Seconds that the threads of a process computed; those that each was ready to but had no processor, by its id;
    whether one waits for a disk."""

    computed: float
    queued: Mapping[int, float]
    waits_for_disk: bool


class StallWatch:
    """Looks at the processes of a server until all its models are loaded.

    Args:
        server_pid: process id of `tritonserver`.
        log: its log.
        seconds: how long nothing must happen to be called standing still.
        serves: the server has streams already, so that what Triton itself does and says counts for nothing.
    """

    def __init__(self, server_pid: int, log: ServerLog, *, seconds: float, serves: bool = False) -> None:
        self._server_pid, self._log, self._seconds, self._serves = server_pid, log, seconds, serves
        self._every = min(_LOOK_SECONDS, seconds / _LOOKS)
        self._work: dict[int, _Work] = {}
        self._lines = -1
        self._looked = self._moved = time.monotonic()

    def stands_still(self) -> bool:
        """Say whether nothing has happened for so long; to be asked again and again."""
        now = time.monotonic()
        if now - self._looked < self._every:
            return False
        before, self._work = self._work, self._read()
        lines, self._lines = self._lines, 0 if self._serves else self._log.lines
        between, self._looked = now - self._looked, now
        # Where this process itself did not run, a paused container say, neither did the others.
        paused = between > self._seconds / 2 + self._every
        changed = lines != self._lines or before.keys() != self._work.keys()
        if paused or changed or any(_gets_on(before[pid], work, between) for pid, work in self._work.items()):
            self._moved = now
        return bool(self._work) and now - self._moved > self._seconds

    def explain(self) -> str:
        """Have the stages that are not loaded write their stacks to the log, and name them."""
        stages = self._loading()
        if not stages:
            return "Triton itself"
        names = []
        for stage in sorted(stages, key=lambda stage: stage.model):
            names.append(f"{stage.model} (process {stage.pid}{', stopped by a signal' * stage.is_stopped()})")
            stage.send(STACKS_SIGNAL)
        time.sleep(_WRITING_SECONDS)
        return ", ".join(names)

    def kill(self) -> None:
        """End the stages that are not loaded: then Triton says that they could not be."""
        for stage in self._loading():
            stage.send(signal.SIGKILL)

    def _loading(self) -> list[Stage]:
        loaded = self._log.live_models()
        return [stage for stage in running_stages(self._server_pid) if stage.model not in loaded]

    def _read(self) -> dict[int, _Work]:
        if self._serves:
            found = {stage.pid: _work(stage.pid) for stage in self._loading()}
            return {pid: work for pid, work in found.items() if work is not None}
        loaded = self._log.live_models()
        idle = {stage.pid for stage in running_stages(self._server_pid) if stage.model in loaded}
        found = {pid: _work(pid) for pid in (self._server_pid, *descendants(self._server_pid)) if pid not in idle}
        return {pid: work for pid, work in found.items() if work is not None}


def _gets_on(before: _Work, now: _Work, seconds: float) -> bool:
    return (
        now.waits_for_disk
        or now.computed - before.computed > _BUSY_SHARE * seconds
        or any(now.queued[task] - before.queued.get(task, 0.0) > _QUEUED_SHARE * seconds for task in now.queued)
    )


def _work(pid: int) -> _Work | None:
    """None of a process that has ended."""
    computed, queued, waits = 0.0, {}, False
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                # Documentation/scheduler/sched-stats: nanoseconds on a processor, and waiting for one.
                on, ready, _ = (task / "schedstat").read_text(encoding="ascii").split()
                computed += int(on) / 1e9
                queued[int(task.name)] = int(ready) / 1e9
                state = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
                waits = waits or state == "D"
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Work(computed=computed, queued=queued, waits_for_disk=waits)
