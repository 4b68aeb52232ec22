# SPDX-License-Identifier: MIT
"""Starting a server, again where that helps; and one for as long as a `with` block lasts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vireo_server.launching.errors import CrashError, PortError, StalledError
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints
from vireo_server.launching.runtime_folder import SHARED_MEMORY, clean_leftovers
from vireo_server.launching.server import STALL_SECONDS, RunningServer, ServerSettings, never

_PORT_TRIES = 3
_ENOUGH_SHARED_MEMORY_BYTES = 1 << 30


def start_server(settings: ServerSettings, *, log: ServerLog, interrupted: Callable[[], bool] = never) -> RunningServer:
    """Start a server and wait until it is ready.

    Args:
        settings: what and where.
        log: takes its output.
        interrupted: waiting ends when it says so.

    Raises:
        LaunchError: what and why, by its class.
        KeyboardInterrupt: `interrupted` said so.
    """
    for name in clean_leftovers():
        log.note(f"cleaned up after server {name}, which had been killed")
    _warn_of_little_shared_memory(log)
    ports = settings.endpoints
    crashed = False
    tries = _PORT_TRIES if 0 in (ports.http, ports.grpc, ports.metrics) else 1
    while True:
        try:
            return RunningServer(settings, log=log, interrupted=interrupted)
        except PortError:
            # Another program took a port that was free a moment ago; a given port is refused before.
            tries -= 1
            if not tries:
                raise
        except StalledError as error:
            log.note(f"error: {error}; the server is started again")
            # What stands still twice waits for something, a slow licence server say, and may.
            settings = replace(settings, stall_seconds=None)
        except CrashError as error:
            # On a machine with much else to do Triton may abort (seen at loads over 20).
            if crashed:
                raise
            crashed = True
            log.note(f"error: {error}")
        log.begin_anew()


@contextmanager
def running_server(
    *,
    repository: Path | None = None,
    services: Sequence[str] | None = None,
    address: str = "127.0.0.1",
    http_port: int = 0,
    grpc_port: int = 0,
    metrics_port: int = 0,
    doors: Path | None = None,
    start_seconds: float = 300.0,
    health_port: int = 0,
    stuck_seconds: float | None = None,
    stall_seconds: float | None = STALL_SECONDS,
    gpu: int | None = None,
    say: Callable[[str], None] | None = None,
    verbose: bool = False,
) -> Iterator[RunningServer]:
    """Serve as long as the `with` block lasts: for programs and tests.

    Args:
        repository: the model repository; the shipped one if None.
        services: which services to load; all if None.
        address: where to listen.
        http_port: 0 for any free one.
        grpc_port: 0 for any free one.
        metrics_port: 0 for any free one.
        doors: folder with the backends; the shipped ones if None.
        start_seconds: how long it may take until it is ready.
        health_port: where `/livez` and `/readyz` are answered; 0 for any free one.
        stuck_seconds: a stage that works on one request for longer is replaced; each stage's own limit if None.
        stall_seconds: a start in which nothing moves for so long is given up, once, and begun again; None: never.
        gpu: which of the machine's GPUs; the first that may be seen if None.
        say: called with each line of the log worth saying; the log is kept in `server.log` in any case.
        verbose: say every line of Triton's.

    Raises:
        LaunchError: what and why, by its class.
    """
    settings = ServerSettings(
        endpoints=Endpoints(address=address, http=http_port, grpc=grpc_port, metrics=metrics_port),
        repository=repository,
        services=None if services is None else tuple(services),
        doors=doors,
        start_seconds=start_seconds,
        health_port=health_port,
        stuck_seconds=stuck_seconds,
        stall_seconds=stall_seconds,
        gpu=gpu,
    )
    server = start_server(settings, log=ServerLog(say=say, verbose=verbose))
    try:
        yield server
    finally:
        server.stop()


def _warn_of_little_shared_memory(log: ServerLog) -> None:
    size = shutil.disk_usage(SHARED_MEMORY).total
    if size < _ENOUGH_SHARED_MEMORY_BYTES:
        log.note(
            f"warning: {str(SHARED_MEMORY)!r} has {size >> 20} MB; frames travel through it, and stages fail when it "
            f"is full; have at least {_ENOUGH_SHARED_MEMORY_BYTES >> 20} MB (a container: --shm-size=2g)"
        )
