# SPDX-License-Identifier: MIT
"""Running segments through a service: some at once, each tried again where that can help, all into the journal."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction

from vireo_media.description import StreamDescription
from vireo_media.exchange import Exchange, Reply
from vireo_media.segments import Segment
from vireo_media.services import ServiceDescription
from vireo_media.times import clock

from vireo_client.errors import CancelledError, FaultError, ServiceError, UnavailableError, WaitError
from vireo_client.journal import Journal
from vireo_client.progress import ProgressCounter
from vireo_client.transport import Connection, Transport, wait_error

__all__ = ["Patience", "SegmentResult", "SegmentRunner"]

_WINDOW = 3
"""Requests of a sequence that may be unanswered: one is decoded, one computed, one encoded."""
_STOP_SECONDS = 30.0
"""How long freeing what the server holds may take, when a run is stopped."""
_LOOK_SECONDS = 0.2
"""How often a wait looks whether the run was stopped."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long and how often the client waits before it gives up.

    A reply may take `reply_seconds`. A server that is unavailable is tried again for `unavailable_seconds`, at first
    after `first_pause_seconds`, then after twice as long each time. A segment that fails inside the server, or waits
    too long, is sent again at most `most_faults` times.
    """

    reply_seconds: float = 120.0
    unavailable_seconds: float = 30.0
    first_pause_seconds: float = 0.25
    most_faults: int = 2


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """What one finished segment was: frames in and out, and what the service wants the caller to know."""

    index: int
    frames_in: int
    frames_out: int
    notes: tuple[str, ...]


@dataclass(kw_only=True)
class SegmentRunner:
    """Sends segments through `service`, at most `in_flight` at once, spread over `transports`."""

    transports: Sequence[Transport]
    service: ServiceDescription
    stream: StreamDescription
    journal: Journal
    counter: ProgressCounter
    in_flight: int
    chunk_packets: int | None
    patience: Patience
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
            return self._try_segment(segment)
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def _try_segment(self, segment: Segment) -> SegmentResult:
        """One segment, tried again under a new sequence id, and on the next server, where that can help."""
        faults = 0
        deadline: float | None = None
        pause = self.patience.first_pause_seconds
        for attempt in itertools.count():
            transport = self.transports[(segment.index + attempt) % len(self.transports)]
            try:
                return self._attempt(segment, transport)
            except UnavailableError as error:
                deadline = deadline or time.monotonic() + self.patience.unavailable_seconds
                if time.monotonic() + pause > deadline:
                    raise self._final(segment, error, f"tried for {self.patience.unavailable_seconds:g} s") from error
                if self._stopped.wait(pause):
                    raise CancelledError("stopped by the caller") from error
                pause *= 2
            except (FaultError, WaitError) as error:
                faults += 1
                if faults > self.patience.most_faults:
                    raise self._final(segment, error, f"tried {faults} times") from error
            except ServiceError as error:
                raise self._final(segment, error, None) from error
        raise AssertionError("unreachable")

    def _attempt(self, segment: Segment, transport: Transport) -> SegmentResult:
        exchange = Exchange(segment, self.stream, self.service, chunk_packets=self.chunk_packets)
        sequence = None
        try:
            with transport.connect(self.service.name) as connection, self.journal.write(segment.index) as writer:
                sequence = connection.sequence
                while not exchange.is_done:
                    self._send(connection, exchange)
                    reply = self._receive(connection, exchange, transport.url)
                    writer.add(reply.packets, reply.timing)
                    self.counter.set(segment.index, exchange.frames_out)
                exchange.check_frames()
                writer.finish(output=exchange.output)
        finally:
            if sequence is not None and not exchange.is_done:
                transport.abort(self.service.name, sequence)
        return SegmentResult(
            index=segment.index,
            frames_in=exchange.frames_in,
            frames_out=exchange.frames_out,
            notes=tuple(exchange.notes),
        )

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        while exchange.outstanding < _WINDOW:
            request = exchange.next_request()
            if request is None:
                return
            connection.send(request)

    def _receive(self, connection: Connection, exchange: Exchange, url: str) -> Reply:
        deadline = time.monotonic() + self.patience.reply_seconds
        while True:
            if self._stopped.is_set():
                raise CancelledError("stopped by the caller")
            reply = connection.receive(seconds=_LOOK_SECONDS)
            if reply is not None:
                return exchange.receive(*reply)
            if time.monotonic() > deadline:
                what = f"one of {exchange.outstanding} replies"
                raise wait_error(url, seconds=self.patience.reply_seconds, what=what)

    def _final(self, segment: Segment, error: ServiceError, tried: str | None) -> ServiceError:
        """The same error, saying where in the video it happened and how often it was tried."""
        place = f"segment {segment.index}"
        if segment.first_pts is not None and segment.end_pts is not None:
            base = Fraction(*self.stream.time_base)
            place += f" ({clock(segment.first_pts * base)} to {clock(segment.end_pts * base)})"
        return type(error)(f"{place}: {error}" + (f" ({tried})" if tried else ""))
