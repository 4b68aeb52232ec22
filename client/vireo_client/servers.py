# SPDX-License-Identifier: MIT
"""Several servers as one: segments are spread, a server that fails is avoided for a while and tried again later."""

import threading
import time
from collections.abc import Sequence

from vireo_client.errors import ServiceError
from vireo_client.service import same_service
from vireo_client.transport import Transport
from vireo_client.watching import ServerWatch

__all__ = ["Server", "Servers"]

_MOST_PAUSE_SECONDS = 5.0


class Server:
    """One server in a run: how to reach it, and since when it is avoided."""

    def __init__(self, transport: Transport, service: str, *, first_pause: float) -> None:
        self.transport = transport
        self.watch = ServerWatch(transport, service)
        self._first_pause = self._pause = first_pause
        self.free_at = 0.0
        self.must_check = False

    def failed(self, *, again_seconds: float | None) -> None:
        """Avoid it for as long as it asked for, or else for longer each time."""
        pause = self._pause if again_seconds is None else again_seconds
        if again_seconds is None:
            self._pause = min(2 * self._pause, _MOST_PAUSE_SECONDS)
            # It may come back as another version.
            self.must_check = True
        self.free_at = time.monotonic() + pause

    def succeeded(self) -> None:
        """It works: forget how it failed."""
        self._pause = self._first_pause


class Servers:
    """The servers of one run. `description` is the service's text that all of them must have, None where unknown.

    Servers that `skipped` names failed before the run began: they are checked before they are used.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        service: str,
        *,
        description: str | None = None,
        skipped: Sequence[Transport] = (),
        first_pause: float,
    ) -> None:
        self._service, self._description = service, description
        self.all = [Server(transport, service, first_pause=first_pause) for transport in transports]
        self.notes: list[str] = []
        self._lock = threading.Lock()
        for server in self.all:
            server.must_check = server.transport is not transports[0]
            if server.transport in skipped:
                server.failed(again_seconds=None)

    def choose(self, number: int) -> tuple[Server, float]:
        """The server for try `number`, and for how many seconds it must be left alone before."""
        now = time.monotonic()
        order = [self.all[(number + i) % len(self.all)] for i in range(len(self.all))]
        server = min(order, key=lambda server: max(server.free_at, now))
        return server, max(0.0, server.free_at - now)

    def check(self, server: Server) -> None:
        """Before a server is used for the first time or after it failed: it must serve the very same thing.

        Raises ServiceError where the last server that was left serves something else; UnavailableError.
        """
        if not server.must_check or self._description is None:
            return
        found = server.transport.configuration(self._service).description
        with self._lock:
            server.must_check = False
            if same_service(found, self._description) or server not in self.all:
                return
            if len(self.all) == 1:
                raise ServiceError(
                    f"service {self._service!r} at {server.transport.url!r} is another one than when the run began "
                    "(its configuration or its weights changed); the parts of a video must come from one; run again"
                )
            self.all = [other for other in self.all if other is not server]
            self.notes.append(
                f"the server at {server.transport.url!r} serves another revision of {self._service!r}; it was left out"
            )
        raise _left_out(server)

    def stop(self) -> None:
        """Watch none of them any more."""
        for server in self.all:
            server.watch.stop()


def _left_out(server: Server) -> ServiceError:
    from vireo_client.errors import UnavailableError

    server.watch.stop()
    return UnavailableError(f"the server at {server.transport.url!r} was left out")
