# SPDX-License-Identifier: MIT
"""Running segments through a service: some at once, each tried again where that can help, all into the journal."""

import itertools
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from vireo_media.description import StreamDescription
from vireo_media.exchange import Exchange, Reply
from vireo_media.segments import Segment
from vireo_media.services import ServiceDescription
from vireo_media.times import CodedPacket, clock

from vireo_client.errors import (
    CancelledError,
    FaultError,
    ServiceError,
    StageDiedError,
    UnavailableError,
    WaitError,
)
from vireo_client.journal import SegmentResult, packets_digest
from vireo_client.progress import ProgressCounter
from vireo_client.servers import Server, Servers
from vireo_client.transport import Connection, wait_error

__all__ = ["Patience", "SegmentResult", "SegmentRunner", "SegmentSink", "SegmentStore"]

_WINDOW = 3
"""Requests of a sequence that may be unanswered: one is decoded, one computed, one encoded."""
_STOP_SECONDS = 30.0
"""How long freeing what the server holds may take, when a run is stopped."""
_LOOK_SECONDS = 0.2
"""How often a wait looks whether the run was stopped."""
_REPLACE_SECONDS = 30.0
"""How long to wait until a dead stage was replaced, before the segment is sent again."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long and how often the client waits before it gives up.

    A reply may take `reply_seconds` after a stage of the service was last seen at work, and `longest_seconds` in all,
    as long as the server keeps a stream. A server that is gone or restarting is tried again for `unavailable_seconds`,
    at first after `first_pause_seconds`, then after twice as long each time up to 5 s; one that is full, and says so,
    for `full_seconds`. A segment that fails inside the server, or waits too long, is sent again at most `most_faults`
    times, one whose stage died at most `most_deaths` times; each time it gets further than before, counting begins
    anew.
    """

    reply_seconds: float = 120.0
    longest_seconds: float = 3600.0
    unavailable_seconds: float = 60.0
    full_seconds: float = 600.0
    first_pause_seconds: float = 0.25
    most_faults: int = 2
    most_deaths: int = 3
    """A server gives a stage up at its fifth early death in a row: one segment must not get it there alone."""


class SegmentSink(Protocol):
    """What takes the replies of one segment."""

    def take(self, reply: Reply) -> None:
        """The next reply."""

    def finish(
        self, *, output: Mapping[str, Any] | None, result: SegmentResult | None = None, digest: str | None = None
    ) -> None:
        """The segment is whole; `output` is REPORT.output, `digest` that of its packets where the store resumes."""


class SegmentStore(Protocol):
    """Where finished segments are kept: on disk (`Journal`), or in memory (`NumberStore`)."""

    resumes: bool
    """Whether a later run may find what this one finished."""

    def finished(self, index: int, packets: Iterable[CodedPacket]) -> SegmentResult | None:
        """What an earlier run made of these packets, None where it made nothing of them."""

    def write(self, index: int) -> AbstractContextManager[SegmentSink]:
        """What takes the replies of segment `index`; without `finish` nothing is kept."""


@dataclass(kw_only=True)
class SegmentRunner:
    """Sends segments through `service`, at most `in_flight` at once, spread over `servers`.

    `request` is the caller's name for this run: it is in every sequence's id, and so in the servers' logs.
    """

    servers: Servers
    service: ServiceDescription
    stream: StreamDescription
    journal: SegmentStore
    counter: ProgressCounter
    in_flight: int
    chunk_packets: int | None
    patience: Patience
    request: str
    _stopped: threading.Event = field(default_factory=threading.Event)
    _idle: threading.Condition = field(default_factory=threading.Condition)
    _active: int = 0

    def run(self, segments: Iterator[Segment]) -> list[SegmentResult]:
        """Run all of them; each is read from the source only when there is room for it.

        Results are in the order of the video. The first error stops the others and is raised.
        """
        results: list[SegmentResult] = []
        running: set[Future[SegmentResult]] = set()
        with ThreadPoolExecutor(self.in_flight, thread_name_prefix="vireo-segment") as pool:
            try:
                for segment in segments:
                    running.add(pool.submit(self._run_segment, segment))
                    if len(running) >= self.in_flight:
                        running = self._collect(running, results)
                while running:
                    running = self._collect(running, results)
            except BaseException:  # Ctrl-C too
                self._stop()
                raise
        return sorted(results, key=lambda result: result.index)

    def _stop(self) -> None:
        """Whoever runs a segment looks at this within `_LOOK_SECONDS` and aborts its sequence. Waits for that.

        Not for the pool's threads: Ctrl-C while a thread is being started leaves one that the pool does not know.
        """
        self._stopped.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._active, timeout=_STOP_SECONDS)

    def _collect(self, running: set[Future[SegmentResult]], results: list[SegmentResult]) -> set[Future[SegmentResult]]:
        """Wait until at least one is done; what still runs."""
        done: set[Future[SegmentResult]] = set()
        while not done:  # In short waits, because a long one would keep Ctrl-C waiting too.
            done, running = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        # All of them first, so that a run that fails says the first error in the video, not the fastest.
        failures = [future for future in done if future.exception() is not None]
        results += [future.result() for future in done if future not in failures]
        for future in failures:
            future.result()
        return running

    def _run_segment(self, segment: Segment) -> SegmentResult:
        with self._idle:
            if self._stopped.is_set():
                raise CancelledError("stopped by the caller")
            self._active += 1
        try:
            found = self.journal.finished(segment.index, segment.packets())
            if found is None:
                return self._try_segment(segment)
            self.counter.set(segment.index, found.frames_out)
            return found
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def _try_segment(self, segment: Segment) -> SegmentResult:
        """One segment, tried again under a new sequence id, and on the next server, where that can help."""
        tries = _Tries(self.patience)
        for number in itertools.count(segment.index):
            server, pause = self.servers.choose(number)
            self._pause(pause)
            try:
                self.servers.check(server)
                result = self._attempt(segment, server, tries)
            except UnavailableError as error:
                server.failed(again_seconds=_spread(error.again_seconds))
                if spent := tries.unavailable(error):
                    raise self._final(segment, error, tries, spent) from error
            except FaultError as error:
                if spent := tries.fault(error):
                    raise self._final(segment, error, tries, spent) from error
            except WaitError as error:
                server.failed(again_seconds=None)
                if spent := tries.fault(error):
                    raise self._final(segment, error, tries, spent) from error
            except ServiceError as error:
                raise self._final(segment, error, tries, None) from error
            else:
                server.succeeded()
                return result
        raise AssertionError("unreachable")

    def _attempt(self, segment: Segment, server: Server, tries: "_Tries") -> SegmentResult:
        exchange = Exchange(segment, self.stream, self.service, chunk_packets=self.chunk_packets)
        transport, watch, moment = server.transport, server.watch, server.watch.moment()
        label = f"{self.request}:{segment.index}"
        tries.sequence = None
        with (
            transport.connect(self.service.name, label=label) as connection,
            self.journal.write(segment.index) as writer,
        ):
            tries.sequence = connection.sequence
            watch.add(connection)
            try:
                while not exchange.is_done:
                    self._send(connection, exchange)
                    reply = self._receive(connection, exchange, server, moment)
                    writer.take(reply)
                    tries.reached(exchange.frames_in)
                    self.counter.set(segment.index, exchange.frames_out)
            except BaseException as error:
                if isinstance(error, StageDiedError):
                    # Not before: to a stage that is dead or away nothing can be said.
                    watch.wait_until_ready(moment, seconds=_REPLACE_SECONDS, deaths=tries.deaths, stopped=self._stopped)
                transport.abort(self.service.name, connection.sequence)
                raise
            finally:
                watch.remove(connection)
            exchange.check_frames()
            result = SegmentResult(
                index=segment.index,
                frames_in=exchange.frames_in,
                frames_out=exchange.frames_out,
                notes=tuple(exchange.notes),
                device=exchange.device,
            )
            digest = packets_digest(segment.packets()) if self.journal.resumes else None
            writer.finish(output=exchange.output, result=result, digest=digest)
        return result

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        while exchange.outstanding < _WINDOW:
            request = exchange.next_request()
            if request is None:
                return
            connection.send(request)

    def _receive(self, connection: Connection, exchange: Exchange, server: Server, moment: tuple[int, int]) -> Reply:
        url = server.transport.url
        began, patience = time.monotonic(), self.patience
        while True:
            if self._stopped.is_set():
                raise CancelledError("stopped by the caller")
            reply = connection.receive(seconds=_LOOK_SECONDS)
            if reply is not None:
                return exchange.receive(*reply)
            server.watch.check(moment)
            now = time.monotonic()
            if now > min(max(began, server.watch.moved()) + patience.reply_seconds, began + patience.longest_seconds):
                what = f"one of {exchange.outstanding} replies"
                raise wait_error(url, seconds=round(now - began), what=what)

    def _pause(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise CancelledError("stopped by the caller")

    def _final(self, segment: Segment, error: ServiceError, tries: "_Tries", spent: str | None) -> ServiceError:
        """The same error, saying where in the video it happened, how often it was tried, and the last sequence's id."""
        place = f"segment {segment.index}"
        if segment.first_pts is not None and segment.end_pts is not None:
            base = Fraction(*self.stream.time_base)
            place += f" ({clock(segment.first_pts * base)} to {clock(segment.end_pts * base)})"
        named = f" (stream {tries.sequence})" if tries.sequence else ""
        first, separator, lines = str(error).partition("\n")
        return type(error)(f"{place}: {first}" + (f" ({spent})" if spent else "") + named + separator + lines)


class _Tries:
    """What was tried for one segment, and whether to try on."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._faults = self._best = 0
        self.deaths = 0
        self._since: float | None = None
        self.sequence: str | None = None

    def reached(self, frames: int) -> None:
        """Whoever gets further than ever is not at what makes the service fail."""
        if frames > self._best:
            self._best, self._faults, self.deaths, self._since = frames, 0, 0, None

    def unavailable(self, error: UnavailableError) -> str | None:
        """How long it was tried, in words, where that is enough."""
        patience, now = self._patience, time.monotonic()
        self._since = self._since or now
        most = patience.unavailable_seconds if error.again_seconds is None else patience.full_seconds
        return f"tried for {most:g} s" if now - self._since > most else None

    def fault(self, error: ServiceError) -> str | None:
        """How often it was tried, in words, where that is enough."""
        if isinstance(error, StageDiedError):
            self.deaths += 1
        else:
            self._faults += 1
        enough = self._faults > self._patience.most_faults or self.deaths > self._patience.most_deaths
        return f"tried {self._faults + self.deaths} times" if enough else None


def _spread(seconds: float | None) -> float | None:
    """A server that is full tells all the same time; they must not come back in the same moment."""
    return None if seconds is None else seconds * random.uniform(0.5, 1.5)
