# SPDX-License-Identifier: MIT
"""What a client must notice by itself while it waits: a stage that was replaced, a server that answers nothing at all.

# Note [What a dead stage never says]
A request that a stage had put off (which is how all of Vireo's stages answer) is never answered once the stage's
process is dead, and Triton keeps the caller's stream open. `vireo serve` unloads and loads such a model within some
2 s. Triton's statistics show it: the model and the ensembles that use it are missing for a while, and their counts
begin again at 0. So a thread reads them twice a second, over a connection of its own: a slow upload holds up neither
this nor the life signs that go with it.

# Note [Slow, or lost]
A network may need minutes for a chunk, and Triton counts a request when it is answered. So the answers to life signs
say which stages compute at the moment: as long as one of the service's does, a reply may still come, and one that hangs
is replaced by the server. Under plain `tritonserver`, which does not say, only the counts tell; those of the first and
the last stage are other services' too.
"""

import threading
import time
from collections.abc import Mapping

from vireo_client.errors import ServiceError, StageDiedError, UnavailableError
from vireo_client.transport import Connection, Transport

__all__ = ["ServerWatch"]

_LOOK_SECONDS = 0.5
_ALIVE_SECONDS = 2.0
"""How often a sequence's life sign is sent; the server frees one that was silent for some 8 s."""
_UNSEEN_SECONDS = 3.0
"""A dead stage is gone from the statistics within about 1 s."""
_LOST_SECONDS = 30.0
"""A server that answers no question for so long counts as gone, although its connection looks whole."""


class ServerWatch:
    """Watches the stages of `service` on one server while its context is open, from a thread of its own.

    A sequence takes `moment()` when it begins and calls `check` while it waits.
    """

    def __init__(self, transport: Transport, service: str) -> None:
        self._transport, self._service = transport, service
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._changes: list[str] = []
        self._counts: Mapping[str, int] | None = None
        self._ready = True
        self._answered = time.monotonic()
        self._losses = 0
        self._moved = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vireo-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Does not wait for a question under way."""
        self._stopped.set()

    def moment(self) -> tuple[int, int]:
        """Now, in terms of what was replaced so far."""
        with self._lock:
            return len(self._changes), self._losses

    def moved(self) -> float:
        """When a stage of the service was last seen at work (`time.monotonic()`)."""
        return self._moved

    def add(self, connection: Connection) -> None:
        """Send life signs of this sequence from now on."""
        with self._lock:
            self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        """Send none any more."""
        with self._lock:
            self._connections.discard(connection)

    def check(self, moment: tuple[int, int]) -> None:
        """Raise StageDiedError, UnavailableError where what was sent since `moment` will never be answered."""
        with self._lock:
            changes, losses = self._changes[moment[0] :], self._losses
        if changes:
            raise StageDiedError(
                f"service {self._service!r}: the server at {self._transport.url!r} replaced {', '.join(changes)} "
                "while the segment was in it; its log says why"
            )
        if losses > moment[1]:
            raise UnavailableError(
                f"service {self._service!r}: the server at {self._transport.url!r} has answered nothing for "
                f"{_LOST_SECONDS:g} s; it hangs, or the network lost the connection"
            )

    def wait_until_ready(
        self, moment: tuple[int, int], *, seconds: float, deaths: int, stopped: threading.Event
    ) -> None:
        """After a stage died: wait until it was replaced since `moment` and all stages are there, at most so long.

        One that was replaced before the first look cannot be seen to have been: where all stages are there for some
        seconds, that is enough. After further `deaths` of the same segment it is for three times as long each: Triton
        calls a stage dead that only hangs, and the server replaces that one later.
        """
        unseen_seconds = _UNSEEN_SECONDS * 3**deaths
        began = time.monotonic()
        while time.monotonic() - began < seconds and not stopped.wait(0.1):
            with self._lock:
                seen = len(self._changes) > moment[0] or self._counts is None
                if self._ready and (seen or time.monotonic() - began > unseen_seconds):
                    return

    def _watch(self) -> None:
        signs = time.monotonic()  # What begins is no news to the server.
        # The first look is at once: a stage that dies in the first moment and is back in the next shows by its counts.
        while not self._stopped.is_set():
            try:
                counts = self._transport.stage_counts(self._service)
            except UnavailableError:
                # Nobody is there: whoever waits is told so by the broken stream, unless the network swallows that too.
                with self._lock:  # A server that is started again counts from 0, and nothing was replaced.
                    self._counts = {}
                self._silent()
            except ServiceError:
                self._silent()
            else:
                self._answered = time.monotonic()
                if counts is None:
                    return
                self._compare(counts)
            if time.monotonic() - signs >= _ALIVE_SECONDS:
                signs = time.monotonic()
                with self._lock:
                    sequences = [connection.sequence for connection in self._connections]
                self._transport.keep_alive(self._service, sequences, computing=self._computing)
            self._stopped.wait(_LOOK_SECONDS)

    def _computing(self) -> None:
        self._moved = time.monotonic()

    def _compare(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            before = self._counts or {}
            if any(counts[name] > before.get(name, counts[name]) for name in list(counts)[1:-2]):
                self._moved = time.monotonic()
            replaced = [name for name, count in counts.items() if count < before.get(name, 0)]
            # -1 stands for a model that is not there; it was noted when it went.
            self._changes += replaced
            self._ready = all(count >= 0 for count in counts.values())
            self._counts = counts

    def _silent(self) -> None:
        if time.monotonic() - self._answered > _LOST_SECONDS:
            with self._lock:
                self._losses += 1
            self._answered = time.monotonic()
            self._transport.reconnect()
