# SPDX-License-Identifier: MIT
"""The life signs of a stage: who runs, since when it computes, how many streams it holds, and whether it may take more.

`vireo serve` makes a runtime folder and names it in the environment variable VIREO_RUNTIME_DIR. Every process of a
stage writes `<model>-<pid>.json` there; the server reads them to drain before it stops and to find stages that hang.
Under plain `tritonserver` the variable is unset and everything here does nothing.

Times are seconds of `time.monotonic()`, which on Linux is one clock for all processes of a machine and never jumps.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

RUNTIME_DIR_VARIABLE = "VIREO_RUNTIME_DIR"
DRAINING_FILE = "draining"
STUCK_VARIABLE = "VIREO_STUCK_SECONDS"
DEFAULT_LIMIT_SECONDS = 120.0

_BEAT_SECONDS = 0.5
_DRAINING_CACHE_SECONDS = 0.2
_ORPHAN_SECONDS = 10.0
# A request may take long; the thread that writes the file only waits for Python's lock, which no library keeps so long.
_SILENT_SECONDS = 15.0
_MARKS_SECONDS = 600.0
_COMPUTING_CACHE_SECONDS = 0.5


@dataclass(frozen=True)
class Beat:
    """What one process of a stage last said about itself.

    Attributes:
        pid: process id of the stage.
        model: name of the Triton model.
        open_streams: how many streams it holds.
        busy_since: when the oldest request that still runs began (monotonic seconds), None if idle.
        updated: when this was written (monotonic seconds).
        limit_seconds: a request that runs longer, or a file that is older, means that the process hangs.
    """

    pid: int
    model: str
    open_streams: int
    busy_since: float | None
    updated: float
    limit_seconds: float

    def __post_init__(self) -> None:
        if self.pid <= 0 or self.open_streams < 0 or not self.limit_seconds > 0:
            raise ValueError(
                f"heartbeat: {self!r} is not possible; "
                f"pid and limit_seconds must be positive and open_streams not negative"
            )

    def fault(self, now: float) -> str | None:
        """Say how the process hangs, or nothing if it does not.

        Args:
            now: monotonic seconds.
        """
        if self.busy_since is not None and now - self.busy_since > self.limit_seconds:
            return f"has worked on one request for more than {self.limit_seconds:g} s"
        silent = min(self.limit_seconds, _SILENT_SECONDS)
        if now - self.updated > silent:
            return f"has given no sign of life for more than {silent:g} s"
        return None


class Heartbeat:
    """The door side: one for each process of a stage, made in `initialize` and closed in `finalize`.

    A thread writes the file twice a second, so a request costs no disk access, and a process that is frozen as a whole
    shows as a file that is no longer updated. A change of the number of streams is written at once. The thread also
    ends the process when its server has been dead for ten seconds: Triton's own watch does not end one that hangs.

    Args:
        model: name of the Triton model.
        limit_seconds: how long one request may run before the server takes the process for hung, and replaces it;
            VIREO_STUCK_SECONDS, else 120 s, if None.
        folder: the runtime folder; taken from VIREO_RUNTIME_DIR if None. Without either, nothing is ever written.
    """

    def __init__(self, model: str, *, limit_seconds: float | None = None, folder: Path | None = None) -> None:
        if folder is None and os.environ.get(RUNTIME_DIR_VARIABLE):
            folder = Path(os.environ[RUNTIME_DIR_VARIABLE])
        self._model = model
        self._limit_seconds = _default_limit() if limit_seconds is None else limit_seconds
        self._folder = folder
        self._lock = threading.Lock()
        self._open_streams = 0
        self._running: dict[object, tuple[int, float]] = {}
        self._closed = threading.Event()
        self._draining = False
        self._draining_looked = self._computing_looked = float("-inf")
        self._computing: tuple[str, ...] = ()
        if folder is not None:
            self._parent = os.getppid()
            self._path = folder / f"{model}-{os.getpid()}.json"
            self._write()
            self._thread = threading.Thread(target=self._beat, name="vireo-heartbeat", daemon=True)
            self._thread.start()

    def streams(self, count: int) -> None:
        """Say how many streams this process holds now."""
        with self._lock:
            changed = count != self._open_streams
            self._open_streams = count
        if changed:
            self._write()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark the time inside as computing; may be nested and entered from several threads."""
        token = object()
        with self._lock:
            self._running[token] = threading.get_ident(), time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._running[token]

    def progress(self) -> None:
        """Say that what this thread computes has come forward: how long it may take counts anew."""
        here, now = threading.get_ident(), time.monotonic()
        with self._lock:
            self._running |= {token: (here, now) for token, (thread, _) in self._running.items() if thread == here}

    def computing(self) -> tuple[str, ...]:
        """See `computing_models`; looks at most twice a second."""
        now = time.monotonic()
        if now - self._computing_looked >= _COMPUTING_CACHE_SECONDS:
            self._computing_looked, self._computing = now, tuple(sorted(computing_models()))
        return self._computing

    def draining(self) -> bool:
        """Say whether the server is about to stop: decode must then refuse new streams (UNAVAILABLE)."""
        if self._folder is None or self._draining:
            return self._draining
        now = time.monotonic()
        if now - self._draining_looked >= _DRAINING_CACHE_SECONDS:
            self._draining_looked = now
            self._draining = (self._folder / DRAINING_FILE).exists()
        return self._draining

    def abandon(self, stream: str) -> None:
        """Tell the later stages that nobody waits for a stream any more."""
        if self._folder is None:
            return
        with suppress(OSError):
            for mark in self._folder.glob("abandoned-*"):
                if time.time() - mark.stat().st_mtime > _MARKS_SECONDS:
                    mark.unlink(missing_ok=True)
            self._mark(stream).touch()

    def is_abandoned(self, stream: str) -> bool:
        """Say whether an earlier stage told so."""
        return self._folder is not None and self._mark(stream).exists()

    def _mark(self, stream: str) -> Path:
        assert self._folder is not None
        return self._folder / f"abandoned-{hashlib.sha256(stream.encode()).hexdigest()[:24]}"

    def close(self) -> None:
        """Stop beating and take the file away; may be called twice."""
        if self._folder is None or self._closed.is_set():
            return
        self._closed.set()
        self._thread.join(timeout=5 * _BEAT_SECONDS)
        with self._lock:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        orphan_since = None
        while not self._closed.wait(_BEAT_SECONDS):
            self._write()
            if os.getppid() == self._parent:
                continue
            orphan_since = orphan_since or time.monotonic()
            if time.monotonic() - orphan_since > _ORPHAN_SECONDS:
                os._exit(1)

    def _write(self) -> None:
        if self._folder is None:
            return
        with self._lock:
            if self._closed.is_set():
                return
            beat = Beat(
                pid=os.getpid(),
                model=self._model,
                open_streams=self._open_streams,
                busy_since=min((since for _, since in self._running.values()), default=None),
                updated=time.monotonic(),
                limit_seconds=self._limit_seconds,
            )
            new = self._path.with_suffix(".new")
            # A full disk, or a folder that the stopping server took away before this process ended, is no reason to
            # fail a request: the next beat tries again.
            with suppress(OSError):
                new.write_text(json.dumps(asdict(beat)), encoding="utf-8")
                new.replace(self._path)


def _default_limit() -> float:
    """Seconds; a value that makes no sense is the server's to refuse, not a stage's to die of."""
    try:
        seconds = float(os.environ.get(STUCK_VARIABLE, DEFAULT_LIMIT_SECONDS))
    except ValueError:
        return DEFAULT_LIMIT_SECONDS
    return seconds if 0 < seconds < math.inf else DEFAULT_LIMIT_SECONDS


def count_start(model: str) -> int:
    """Give how often a process of this model was started on its server, this one included; always 1 under plain
    `tritonserver`."""
    folder = os.environ.get(RUNTIME_DIR_VARIABLE)
    if not folder:
        return 1
    path = Path(folder) / f"{model}.starts"
    with suppress(OSError), path.open("ab") as file:  # a byte a start
        file.write(b".")
        return file.tell()
    return 1


def stage_processes(models: Collection[str]) -> set[int]:
    """Give the process ids of these models' stages, as their own server sees them; none under plain `tritonserver`.

    One that is missing later was replaced, and what it had not answered then is never answered.
    """
    folder = os.environ.get(RUNTIME_DIR_VARIABLE)
    return {beat.pid for beat in read_beats(Path(folder)) if beat.model in models} if folder else set()


def computing_models() -> set[str]:
    """Give the models one of whose processes works on a request and does not hang; none under plain `tritonserver`."""
    folder, now = os.environ.get(RUNTIME_DIR_VARIABLE), time.monotonic()
    beats = read_beats(Path(folder)) if folder else []
    return {beat.model for beat in beats if beat.busy_since is not None and beat.fault(now) is None}


def read_beats(folder: Path) -> list[Beat]:
    """Give what every process of every stage last wrote, those of dead processes included, by file name.

    Args:
        folder: the runtime folder.
    """
    beats = []
    for path in sorted(folder.glob("*-*.json")):
        # A stage that ends takes its file away between the listing and the reading.
        try:
            beats.append(Beat(**json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            continue
    return beats
