# SPDX-License-Identifier: MIT
"""Streams side by side in one process: a worker thread a stream, the chunk counter, START, END, abort and errors.

# Note [Why a thread a stream]
Triton calls `execute` from one thread. Answered there, a slow stream would hold up all others in the process. So
`execute` only files the request and returns; each stream has a thread that works through its own requests in order
and answers them through their response senders. libav and the pixel kernels release Python's lock, so streams run on
all cores without a process each.

# Note [Whether anybody still waits]
Triton does not tell the steps of an ensemble that their caller has gone, and without an END nothing would ever be
freed. Vireo's own clients (their ids begin with `vireo:`) send the first stage a life sign every 2 s: a request with no
packets and chunk -1, beside the others. The first stage frees a stream that was silent for `_SILENT_SECONDS`, other
clients' after `idle_seconds`, and leaves a mark in the runtime folder by which the later stages free theirs. Should the
first stage die with its caller, a later one frees a stream after its own `idle_seconds`, which do not count while the
server computes: what the stream waits for may be in the works.

The answer to a life sign names the models that compute (`computing` of FORMAT's report). So a caller knows a slow
network from an answer that was lost. One with START and END is of no stream and only asks.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from vireo_server.errors import BadInput, Cancelled, Internal, ScriptFailed, StageError, Unavailable
from vireo_server.heartbeat import Heartbeat
from vireo_server.side import HOST, Side
from vireo_server.wire import Request, Tensors, log_error, log_warning

LIFE_SIGN = -1
"""CHUNK of a request that only says that somebody still waits for the stream."""
WATCHED = "vireo:"
"""How the ids of streams begin for which life signs come."""

_SILENT_SECONDS = 8.0
_LOOK_SECONDS = 1.0
_BACK_SECONDS = 2
LONGEST_SECONDS = 3600.0
"""A later stage waits no longer for a stream's next request, whatever the server computes; nor do callers."""


class Stage(ABC):
    """What one stage does for one stream. Made at START, closed at END, after an error, or when nobody asks any
    more."""

    def listen(self, request: Request) -> None:  # noqa: B027 - the first stage has nobody to listen to
        """Raise what an earlier stage passed on, before anything else is looked at."""

    @abstractmethod
    def open(self, request: Request) -> None:
        """Read what START carries."""

    @abstractmethod
    def step(self, request: Request) -> Tensors:
        """The outputs for one request, END included. Raises StageError when the stream cannot go on."""

    @abstractmethod
    def failure(self, error: StageError) -> Tensors:
        """The outputs that pass an error on to the stages behind; the last stage raises it instead."""

    def close(self) -> None:  # noqa: B027 - most stages hold nothing
        """Free what the stream held."""


class Streams:
    """All open streams of one stage in this process.

    A request that is worked on counts as computing, so that one that hangs is noticed. A stage whose streams may wait
    for each other gives the `heartbeat` that it marks itself, or all who wait would look as if they hung. `side` is
    where the stage's pixels are, which each thread has to enter. `when_idle` is called when the last of the
    streams that were open has ended.
    """

    def __init__(
        self,
        make_stage: Callable[[], Stage],
        *,
        name: str,
        idle_seconds: float,
        max_streams: int | None = None,
        heartbeat: Heartbeat | None = None,
        side: Side = HOST,
        when_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._make_stage, self.name, self._side = make_stage, name, side
        self._when_idle = when_idle
        self._idle_seconds, self._max_streams = idle_seconds, max_streams
        self._lock, self._saying = threading.Lock(), threading.Lock()
        self._open: dict[str, _Stream] = {}
        self._computed = float("-inf")
        self._busy: Callable[[], AbstractContextManager[None]] = nullcontext
        if heartbeat is None:
            heartbeat = Heartbeat(name)
            self._busy = heartbeat.busy
        self.heartbeat = heartbeat

    def submit(self, request: Request) -> None:
        """File a request with its stream; the answer comes later, when `execute` has returned."""
        alive = _is_life_sign(request)
        if not alive:
            request.keep()
        with self._lock:
            stream = self._open.get(request.stream)
            if stream is not None:
                stream.seen = time.monotonic()
            if not alive:
                if stream is None:
                    stream = self._open[request.stream] = _Stream(self, request.stream)
                    stream.thread.start()
                stream.requests.put(request)
        if alive:
            self._acknowledge(request)

    def abandon(self, stream: str) -> None:
        """Tell the later stages that a stream's caller ended it: where one of them is away, they hear nothing else."""
        if stream.startswith(WATCHED):  # Others may use an id again.
            self.heartbeat.abandon(stream)

    def admit(self) -> None:
        """Refuse a new stream when there is no room for it, rather than let it wait without a word."""
        if self.heartbeat.draining():
            raise Unavailable("the server is shutting down and takes no new streams; try again later", stage=self.name)
        if self._max_streams is not None and self.working() > self._max_streams:
            raise Unavailable(
                f"{self._max_streams} streams are open, which is the limit (max_streams of model {self.name!r}); "
                f"one may have ended when you try again in {_BACK_SECONDS} s",
                stage=self.name,
            )

    def working(self) -> int:
        """How many streams hold a stage."""
        with self._lock:
            return sum(stream.stage is not None for stream in self._open.values())

    def _say_working(self) -> None:
        """Tell how many streams hold a stage; what is told last is what was counted last."""
        with self._saying:
            count = self.working()
            self.heartbeat.streams(count)
            self._side.streams(count)

    def close(self) -> None:
        """End every stream; for when the model is unloaded."""
        with self._lock:
            streams = list(self._open.values())
        for stream in streams:
            stream.requests.put(None)
        for stream in streams:
            stream.thread.join(timeout=5)
        self._side.close()
        self.heartbeat.close()

    # The parts of a stream that need the lock of all.

    def _take(self, stream: _Stream) -> Request | None:
        """The stream's next request; None when it is over or nobody waits for it any more.

        The stream leaves the table under the same lock that `submit` files under, so no request is filed with a
        thread that has ended.
        """
        while True:
            try:
                return stream.requests.get(timeout=min(_LOOK_SECONDS, self._idle_seconds))
            except queue.Empty:
                why = self._abandoned(stream)
            if why is None:
                continue
            with self._lock:
                if not stream.requests.empty():
                    return stream.requests.get()
                del self._open[stream.name]
            if stream.stage is not None:
                log_warning(f"{self.name}: stream {stream.name} {why} after chunk {stream.chunk}; closed")
            return None

    def _abandoned(self, stream: _Stream) -> str | None:
        """Say why nobody waits for the stream any more, or nothing if somebody may; see Note [Whether ...]."""
        now = time.monotonic()
        silent, limit = now - stream.seen, self._idle_seconds
        is_first = self._max_streams is not None
        if not is_first:
            if self.heartbeat.is_abandoned(stream.name):
                return "was abandoned by its caller"
            if self.heartbeat.computing():
                self._computed = now
            if silent < LONGEST_SECONDS:
                silent = min(silent, now - self._computed)
        if is_first and stream.name.startswith(WATCHED):
            limit = min(limit, _SILENT_SECONDS)
        if silent < limit:
            return None
        if is_first:
            self.heartbeat.abandon(stream.name)
        return f"had no request for {limit:g} s"

    def _acknowledge(self, request: Request) -> None:
        """Answer a life sign: with no pictures, and what the server computes."""
        alive = Cancelled("somebody waits for this stream", stage=self.name)
        try:
            tensors = self._make_stage().failure(alive)
            format = json.loads(str(tensors["FORMAT"]))
            format["report"]["computing"] = self.heartbeat.computing()
            request.answer({**tensors, "FORMAT": json.dumps(format)})
        except Exception:  # noqa: BLE001 - the last stage raises; and a GPU that failed may keep any from being made
            request.refuse(alive)

    def _forget(self, stream: _Stream) -> bool:
        """Take a finished stream off the table; False when a new one under the same id is already waiting."""
        with self._lock:
            if not stream.requests.empty():
                return False
            self._open.pop(stream.name, None)
            return True

    def _gone(self) -> None:
        """A stream's thread ends; if it was the last, the process is idle."""
        with self._lock:
            is_idle = not self._open
        if is_idle:
            self._when_idle()


class _Stream:
    """One stream: its queue, its thread, its stage."""

    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name
        self.requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=f"stream {name}", daemon=True)
        self.stage: Stage | None = None
        self._error: StageError | None = None
        self._passes_on: Stage | None = None
        self.chunk = -1
        self.seen = time.monotonic()

    def _run(self) -> None:
        streams = self.streams
        while True:
            request = streams._take(self)
            if request is None:
                break
            with streams._busy():
                self._answer(request)
            streams._say_working()
            if request.end:
                self._close()
                if streams._forget(self):
                    break
        self._close()
        streams._say_working()
        streams._gone()

    def _answer(self, request: Request) -> None:
        """Every request is answered, whatever is wrong with it or with us: its caller would wait for ever."""
        try:
            self._try_to_answer(request)
        except Exception as error:  # noqa: BLE001 - the border between our code and Triton
            log_error(f"{self.streams.name}: stream {self.name} chunk {self.chunk}: {traceback.format_exc()}")
            fault = Internal(
                f"{type(error).__name__}: {error}; this is a fault of the server, its log has the traceback",
                stage=self.streams.name,
            )
            try:
                self._fail(fault)
                request.answer(self._pass_on(fault))
            except StageError as refused:
                request.refuse(refused)
            except Exception:  # noqa: BLE001 - with a GPU that failed nothing can be made or freed, not even to say so
                request.refuse(fault)

    def _try_to_answer(self, request: Request) -> None:
        self.streams._side.enter()
        try:
            try:
                tensors = self._step(request)
            except StageError as error:
                self._tell(error)
                self._fail(error)
                tensors = self._pass_on(error)
            request.answer(tensors)
        except StageError as error:
            request.refuse(error)

    def _step(self, request: Request) -> Tensors:
        if request.start:
            self._close()
            self._error, self.chunk = None, -1
            self._passes_on = self.stage = self.streams._make_stage()
        if self._error is not None:
            raise self._error
        if self.stage is None:
            raise self._unknown()
        try:
            self.stage.listen(request)
        except StageError as error:
            self._error = error  # Its own stage told it to the log.
            raise
        if request.cancelled:
            raise Cancelled("the caller has gone", stage=self.streams.name)
        self._count(request)
        if request.start:
            self.stage.open(request)
        return self.stage.step(request)

    def _count(self, request: Request) -> None:
        """Hold the chunk counter against what came; see the contract, CHUNK."""
        chunk = int(request.array("CHUNK").reshape(-1)[0])
        if chunk != self.chunk + 1:
            kind = "is missing" if chunk > self.chunk + 1 else "came twice or too late"
            named = self.chunk + 1 if chunk > self.chunk + 1 else chunk
            raise Internal(
                f"chunk {named} {kind}: got {chunk} after {self.chunk}; send the segment again as a new stream",
                stage=self.streams.name,
            )
        self.chunk = chunk

    def _unknown(self) -> StageError:
        return Internal(
            f"stream {self.name} is not known here: it was closed after {self.streams._idle_seconds:g} s without a "
            "request, or this stage was restarted; send the segment again as a new stream",
            stage=self.streams.name,
        )

    def _tell(self, error: StageError) -> None:
        """Once in the log, by the stage where it began. A full server and a caller who stops are no news there."""
        if self._error is None and isinstance(error, BadInput | Internal | ScriptFailed):
            log_warning(f"{self.streams.name}: stream {self.name} failed at chunk {self.chunk}: {error} [{error.code}]")

    def _fail(self, error: StageError) -> None:
        self._error = error
        self._close()

    def _pass_on(self, error: StageError) -> Tensors:
        stage = self._passes_on if self._passes_on is not None else self.streams._make_stage()
        return stage.failure(error)

    def _close(self) -> None:
        stage, self.stage = self.stage, None
        if stage is not None:
            stage.close()


def _is_life_sign(request: Request) -> bool:
    if request.start is not request.end:
        return False
    try:
        chunk = request.array("CHUNK").reshape(-1)
    except StageError:
        return False
    return bool(chunk.size and chunk[0] == LIFE_SIGN)
