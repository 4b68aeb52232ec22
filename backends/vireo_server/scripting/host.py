# SPDX-License-Identifier: MIT
"""Where a script lives: one thread that alone calls it, and the turns of its streams.

# Note [Streams take turns where a script cannot tell them apart]
A script whose `configure` returns an object gets it back with every batch, so batches of several streams may come in
any order. One whose `configure` returns None keeps what it knows in globals: it serves one stream at a time, and the
next is configured when that one has ended. A script without `configure` is not told of streams at all and so has no
memory of one to mix up.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vireo_server.errors import Cancelled, Internal, ScriptFailed, SettingError, StageError, Unavailable
from vireo_server.formats import UNKNOWN
from vireo_server.scripting.batch import Batch, Outcome, WrongReturnError, check
from vireo_server.scripting.script import STAGE, Script
from vireo_server.settings import ScriptSettings
from vireo_server.side import HOST, Side

_R = TypeVar("_R")
_LOOK_SECONDS = 0.5


class ScriptHost:
    """A script that is ready: imported, set up, warmed up.

    Args:
        path: the script.
        settings: how it is called.
        busy: marks the time in which it computes.
        note: says once what whoever runs the server should know.
        side: where the service keeps its pixels.

    Raises:
        SettingError: the script does not load, or fails in `setup`, `warmup`, or with a batch of a warm-up size.
    """

    def __init__(
        self,
        path: Path,
        settings: ScriptSettings,
        *,
        busy: Callable[[], AbstractContextManager[None]] = nullcontext,
        note: Callable[[str], None] = lambda text: None,
        side: Side = HOST,
    ) -> None:
        self.settings, self._note, self._side = settings, note, side
        #: Seconds that `import`, `setup`, `warmup` and the warm-up batches took.
        self.preparation: dict[str, float] = {}
        self._busy = busy
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._turn = threading.Condition()
        self._configuring, self._holder, self._noted = False, False, False
        threading.Thread(target=self._run, name="script", daemon=True).start()
        try:
            self._script = self._prepare("import", lambda: Script(path))
            self._prepare("setup", lambda: self._script.setup(settings.config))
            self._prepare("warmup", self._script.warmup)
            for width, height in settings.warmup_sizes():
                self._rehearse(width, height)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The script's file name."""
        return self._script.path.name

    @property
    def side(self) -> Side:
        """Where the script's frames are: the service's side if it takes them there, else the host."""
        return self._side if self._script.takes_device_arrays else HOST

    @property
    def fills_slots(self) -> bool:
        """See `Script.fills_slots`."""
        return self._script.fills_slots

    def close(self) -> None:
        """Call nothing any more."""
        self._closed = True
        self._calls.put(None)

    def begin(self, options: str, *, is_cancelled: Callable[[], bool] = lambda: False) -> ScriptStream:
        """Begin a stream: wait for its turn if need be and call `configure(options)`, a JSON string.

        Raises:
            Unavailable: another stream held the script for too long.
            Cancelled: `is_cancelled` said so while it waited.
            BadInput, ScriptFailed: `configure` refused or failed.
        """
        if not self._script.keeps_streams_apart:
            return ScriptStream(self, None, seconds=0.0)
        with self._wait(is_cancelled):
            began = time.perf_counter()
            state = self.call(lambda: self._script.configure(options))
            seconds = time.perf_counter() - began
            if state is None:
                self._holder = True
        return ScriptStream(self, state, seconds=seconds, release=self._release if state is None else None)

    def call(self, function: Callable[[], _R]) -> _R:
        """The result of a function that is called on the script's thread."""
        if self._closed:
            raise Internal("the script is closed; make it again", stage=STAGE)
        future: Future[_R] = Future()
        self._calls.put((future, function))
        return future.result()

    def process(self, batch: Batch, state: Any, *, profiling: bool) -> tuple[Outcome, dict[str, Any]]:
        """One batch through the script; returns what it made, and the times.

        Raises:
            ScriptFailed: the script failed, or returned what is not allowed.
        """
        known = batch.pts[0] != UNKNOWN
        seconds = batch.pts[0] * batch.time_base[0] / batch.time_base[1] if known else None
        data = batch.data(state)
        began = time.perf_counter()
        returned = self.call(lambda: self._script.process(data, profiling=profiling, seconds=seconds))
        took = time.perf_counter() - began
        try:
            outcome = check(returned, data, batch)
        except WrongReturnError as error:
            raise ScriptFailed(f"{self.name}: {error}", stage=STAGE, seconds=seconds) from error
        marks = data.get("profile")
        times: dict[str, Any] = {"frames": len(batch.pts), "seconds": round(took, 6)}
        if isinstance(marks, dict) and marks:
            times["parts"] = {str(name): round(float(value), 6) for name, value in marks.items()}
        return outcome, times

    def _run(self) -> None:
        self._side.enter()
        while (item := self._calls.get()) is not None:
            future, function = item
            try:
                with self._busy():
                    result = function()
            except BaseException as error:  # noqa: BLE001 - handed to whoever called
                future.set_exception(error)
            else:
                future.set_result(result)

    def _prepare(self, name: str, function: Callable[[], _R]) -> _R:
        began = time.perf_counter()
        result = self.call(function)
        self.preparation[name] = round(time.perf_counter() - began, 6)
        return result

    def _rehearse(self, width: int, height: int) -> None:
        """A batch of one real shape, as a stream of its own: what compiles does it now, and what fails says so."""
        count = frames_a_batch(self.settings, width=width, height=height)
        frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        frames = self.side.xp.asarray(frames)
        batch = Batch(frames=frames, pts=range(count), kind=[0] * count, time_base=(1, 25), last=True)
        began = time.perf_counter()
        try:
            stream = self.begin(self.settings.warmup_options)
            stream.process(batch, profiling=False)
            stream.close()
        except StageError as error:
            raise SettingError(
                f"the script does not work with {count} frames of {width}x{height}, the warm-up's: {error.message}"
            ) from error
        self.preparation[f"{count} frames of {width}x{height}"] = round(time.perf_counter() - began, 6)

    @contextmanager
    def _wait(self, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """The time in which one stream is configured: no other holds the script, none is configured beside it."""
        limit = time.monotonic() + self.settings.wait_seconds
        with self._turn:
            while self._holder or self._configuring:
                if self._holder and not self._noted:
                    self._noted = True
                    self._note(
                        f"{self.name} serves one stream at a time, others wait: its configure returns None; let it "
                        "return an object, which comes back as data['state'], to serve several at once"
                    )
                self._turn.wait(_LOOK_SECONDS)
                if is_cancelled():
                    self._turn.notify()
                    raise Cancelled("the caller has gone", stage=STAGE)
                if time.monotonic() > limit:
                    self._turn.notify()
                    raise Unavailable(
                        f"{self.name} serves one stream at a time (its configure returns None), and another held it "
                        f"for {self.settings.wait_seconds:g} s (parameter wait_seconds); try again later",
                        stage=STAGE,
                    )
            self._configuring = True
        try:
            yield
        finally:
            with self._turn:
                self._configuring = False
                self._turn.notify()

    def _release(self) -> None:
        with self._turn:
            self._holder = False
            self._turn.notify()


class ScriptStream:
    """One stream's use of a script. Made by `ScriptHost.begin`; `configure_seconds` is what `configure` took."""

    def __init__(
        self, host: ScriptHost, state: Any, *, seconds: float, release: Callable[[], None] | None = None
    ) -> None:
        self.host, self.configure_seconds = host, round(seconds, 6)
        self._state, self._release = state, release

    @property
    def takes_turns(self) -> bool:
        """Whether no other stream runs until this one is closed."""
        return self._release is not None

    def process(self, batch: Batch, *, profiling: bool) -> tuple[Outcome, dict[str, Any]]:
        """See `ScriptHost.process`."""
        return self.host.process(batch, self._state, profiling=profiling)

    def close(self) -> None:
        """Let the next stream have its turn; may be called twice."""
        release, self._release, self._state = self._release, None, None
        if release is not None:
            release()


def frames_a_batch(settings: ScriptSettings, *, width: int, height: int) -> int:
    """How many frames of a size go into one batch."""
    return max(1, min(settings.batch, settings.batch_pixels // (width * height)))
