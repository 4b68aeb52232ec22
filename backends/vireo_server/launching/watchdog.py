# SPDX-License-Identifier: MIT
"""The watchdog: a stage that died or hangs is replaced, and one that keeps dying is given up.

Triton leaves a dead stub dead, goes on saying that its model is ready, and fails every request to it. Unloading the
model and loading it again is what brings it back.

Note [What a dead stage owes]
A request that `execute` was still working on is answered with an error within about a second. One that the stage had
put off (`get_response_sender`, answered later from a thread) is never answered, whatever is done to the model: its
caller must stop waiting by itself and send the segment again under a new id.

Note [When a stage takes Triton along]
A stage that is killed while it holds the lock of its shared memory makes Triton 2.51 abort ("boost::interprocess::
lock_exception"; seen most in the first half second of a stream). It may then take a minute to end: until then requests
wait that nobody will answer. So a Triton that says it crashed is ended, and `vireo serve` starts another.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vireo_server.heartbeat import Beat, read_beats
from vireo_server.launching.control import ModelControl
from vireo_server.launching.errors import ModelLoadError
from vireo_server.launching.log import ServerLog
from vireo_server.launching.runtime_folder import SHARED_MEMORY
from vireo_server.launching.stages import Stage, running_stages

_LOOK_SECONDS = 0.5
# So long Triton may write where it crashed.
_CRASH_SECONDS = 3.0
# Where this thread itself did not run for so long, a paused container say, neither did the stages: they get as long
# to show that they live before any counts as hung.
_PAUSED_SECONDS = 5.0
# Note [When a model is given up]
# One that dies soon after it was ready, five times in a row, would do so for ever: the fault is in it or in what is
# sent to it again and again. One that lives longer in between is replaced each time, for its other streams' sake.
_SOON_SECONDS = 5.0
_GIVE_UP_AFTER = 5
_PAUSE_SECONDS = (0.0, 0.5, 1.0, 2.0)


@dataclass
class _Record:
    """What is known of one model: when it was last ready (monotonic seconds), and its early deaths in a row."""

    ready: float
    early_deaths: int = 0


class Watchdog:
    """Looks after the stages of one server, from a thread of its own.

    Args:
        server_pid: process id of `tritonserver`.
        runtime: its runtime folder, with the stages' heartbeats.
        control: loads and unloads its models.
        log: takes what happens.
        is_running: says whether the server runs; a dead server's stages are not looked after.
        kill_server: ends the server and its stages.
    """

    def __init__(
        self,
        server_pid: int,
        *,
        runtime: Path,
        control: ModelControl,
        log: ServerLog,
        is_running: Callable[[], bool],
        kill_server: Callable[[], None],
    ) -> None:
        self._server_pid = server_pid
        self._is_running = is_running
        self._kill_server = kill_server
        self._runtime = runtime
        self._control = control
        self._log = log
        self._stopped = threading.Event()
        self._stages: dict[int, Stage] = {}
        self._records: dict[str, _Record] = {}
        self._given_up: dict[str, str] = {}
        self._killed: set[int] = set()
        self._replacing: set[str] = set()
        self._started = self._looked = self._trusted_from = time.monotonic()
        self._changing = threading.Lock()
        self._being_loaded: set[str] = set()
        self._retired: set[int] = set()
        self._unloaded: set[str] = set()
        self._look_for_new()
        self._thread = threading.Thread(target=self._watch, name="vireo-watchdog", daemon=True)
        self._thread.start()

    def given_up(self) -> dict[str, str]:
        """Give the models that are not loaded any more, each with the reason."""
        return dict(self._given_up)

    @contextmanager
    def loading(self, models: Sequence[str]) -> Iterator[None]:
        """Leave models alone while they are loaded on purpose, perhaps again; afterwards they count as new.

        Their old processes end then, or a while later when their last request is answered: that is no death.
        """
        with self._changing:
            self._look_for_new()
            old = {pid: stage.model for pid, stage in self._stages.items() if stage.model in models}
            self._being_loaded.update(models)
        try:
            yield
        finally:
            with self._changing:
                self._look_for_new()
                replaced = {stage.model for pid, stage in self._stages.items() if pid not in old}
                for pid, model in old.items():
                    stage = self._stages.get(pid)
                    if stage is not None and (model in replaced or stage.is_dead()):
                        self._retire(stage)
                for model in models:
                    self._given_up.pop(model, None)
                    self._records[model] = _Record(ready=time.monotonic())
                self._being_loaded.difference_update(models)

    def forget(self, models: Sequence[str]) -> None:
        """Look no more after models that were unloaded on purpose, until there are processes of them again."""
        with self._changing:
            self._look_for_new()
            self._unloaded.update(models)
            for stage in [stage for stage in self._stages.values() if stage.model in models]:
                self._retire(stage)

    def faults(self) -> dict[str, str]:
        """Give the models that cannot serve at this moment, each with the reason. Looks for itself, at once."""
        now = time.monotonic()
        beats = {beat.pid: beat for beat in read_beats(self._runtime)}
        found = dict.fromkeys(tuple(self._replacing), "being replaced")
        for stage in tuple(self._stages.values()):
            if stage.is_dead():
                found.setdefault(stage.model, f"its process {stage.pid} died")
            elif stage.pid in beats and (fault := beats[stage.pid].fault(now)):
                found.setdefault(stage.model, f"its process {stage.pid} {fault}")
        return found | {model: f"given up: {reason}" for model, reason in tuple(self._given_up.items())}

    def stop(self) -> None:
        """Replace nothing from now on. A load that runs ends with the server."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the border of this thread: a watchdog that is dead guards nothing
                self._log.note(f"error: the watchdog stumbled and goes on: {traceback.format_exc()}")

    def _look(self) -> None:
        if not self._is_running():
            return
        if self._log.crashed:
            if not self._stopped.wait(_CRASH_SECONDS) and self._is_running():
                self._log.note("error: Triton crashed and does not end; killing it")
                self._kill_server()
            return
        beats = {beat.pid: beat for beat in read_beats(self._runtime)}
        self._kill_stuck(beats)
        for model, dead in self._deaths(beats).items():
            if self._stopped.is_set() or not self._is_running():
                return
            self._replacing.add(model)
            try:
                self._replace(model, dead, beats)
            finally:
                self._replacing.discard(model)

    def _look_for_new(self) -> None:
        for stage in running_stages(self._server_pid):
            if stage.pid not in self._retired and stage.pid not in self._stages:
                self._stages[stage.pid] = stage
                self._unloaded.discard(stage.model)

    def _retire(self, stage: Stage) -> None:
        """A process that ends, now or later, as it should."""
        self._stages.pop(stage.pid, None)
        self._retired.add(stage.pid)

    def _deaths(self, beats: Collection[int]) -> dict[str, list[Stage]]:
        """Give the models that lost processes, each with those that were known.

        The kernel's list of a server's processes is as long as its threads are many, and takes milliseconds to read:
        it is read where somebody unknown beats, or somebody is missing.
        """
        with self._changing:
            if self._missing() or set(beats) - self._stages.keys() - self._retired:
                self._look_for_new()
            return self._missing()

    def _missing(self) -> dict[str, list[Stage]]:
        """Give the models without a living process, as far as is known, each with its dead ones."""
        dead: dict[str, list[Stage]] = {}
        living = set(self._being_loaded)
        for stage in self._stages.values():
            if not stage.is_dead():
                living.add(stage.model)
            elif stage.model not in self._being_loaded:
                dead.setdefault(stage.model, []).append(stage)
        # A process may die before it is seen here, and a dead one does not tell its model.
        for model in self._log.models_with_process() - living - self._given_up.keys() - self._unloaded:
            dead.setdefault(model, [])
        return dead

    def _kill_stuck(self, beats: dict[int, Beat]) -> None:
        now = time.monotonic()
        if now - self._looked > _PAUSED_SECONDS:
            self._trusted_from = now + _PAUSED_SECONDS
        self._looked = now
        if now < self._trusted_from:
            return
        for pid, stage in list(self._stages.items()):
            if stage.model in self._being_loaded:
                continue
            if pid not in beats or pid in self._killed or not (fault := beats[pid].fault(now)) or stage.is_dead():
                continue
            self._killed.add(pid)
            self._log.note(f"error: {stage.model} (process {pid}) {fault}; killing it")
            stage.send(signal.SIGKILL)

    def _replace(self, model: str, dead: Sequence[Stage], beats: dict[int, Beat]) -> None:
        record = self._records.setdefault(model, _Record(ready=self._started))
        record.early_deaths = record.early_deaths + 1 if time.monotonic() - record.ready < _SOON_SECONDS else 1
        if not dead:
            self._log.note(f"error: {model} died as soon as it was loaded")
        for stage in dead:
            lost = f", and with it {_streams(beats[stage.pid])}" if stage.pid in beats else ""
            self._log.note(f"error: {model} (process {stage.pid}) died ({stage.ending()}){lost}")
        began = time.monotonic()
        while not self._stopped.is_set():
            if record.early_deaths >= _GIVE_UP_AFTER:
                self._give_up(model, dead)
                return
            if self._stopped.wait(_PAUSE_SECONDS[record.early_deaths - 1]):
                return
            try:
                self._unload(model, dead)
                self._control.load(model)
                self._look_for_new()
            except ModelLoadError as error:
                self._note(f"error: {error}")
                record.early_deaths += 1
            except TimeoutError as error:
                # A Triton that hangs in itself cannot be mended from outside; `vireo serve` starts another.
                self._note(f"error: {model} could not be replaced ({error}); Triton hangs: killing it")
                self._kill_server()
                return
            except OSError as error:
                # The server itself is dying or stopping, which others look after.
                self._note(f"error: {model} could not be loaded again: {error}")
                return
            else:
                record.ready = time.monotonic()
                self._note(f"{model} is back after {record.ready - began:.1f} s")
                return

    def _unload(self, model: str, dead: Sequence[Stage]) -> None:
        # The other instances of the model go too.
        self._control.unload(model)
        for stage in dead:
            (SHARED_MEMORY / stage.region).unlink(missing_ok=True)
            (self._runtime / f"{model}-{stage.pid}.json").unlink(missing_ok=True)
            self._stages.pop(stage.pid, None)
        for stage in [stage for stage in self._stages.values() if stage.model == model]:
            self._stages.pop(stage.pid)

    def _give_up(self, model: str, dead: Sequence[Stage]) -> None:
        reason = f"{_GIVE_UP_AFTER} times in a row it died within {_SOON_SECONDS:g} s or could not be loaded"
        with suppress(ModelLoadError, OSError):
            self._unload(model, dead)
        self._given_up[model] = reason
        self._note(
            f"error: {model} is given up: {reason}; services that use it are down; mend it, or what is sent to it, and "
            f"start the server again"
        )

    def _note(self, text: str) -> None:
        # While the server stops, models that do not load are no news.
        if not self._stopped.is_set():
            self._log.note(text)


def _streams(beat: Beat) -> str:
    return f"{beat.open_streams} open stream{'s' * (beat.open_streams != 1)}"
