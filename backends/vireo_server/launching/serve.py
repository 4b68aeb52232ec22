# SPDX-License-Identifier: MIT
"""`vireo serve`: a server in the foreground, from its first line to its last."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from vireo_server.launching.errors import LaunchError
from vireo_server.launching.json_lines import json_line
from vireo_server.launching.log import LogFormat, ServerLog
from vireo_server.launching.ports import Endpoints
from vireo_server.launching.server import RunningServer, ServerSettings
from vireo_server.launching.starting import start_server

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_SECONDS = 0.2
# Note [When Triton itself dies]
# It is started again, on the same ports, since its callers try again for a minute. One that dies soon after it was
# ready, three times in a row, would do so for ever; one that lives longer in between has callers to serve.
_SOON_SECONDS = 15.0
_GIVE_UP_AFTER = 3


def serve(
    *,
    http_port: int = 8000,
    grpc_port: int = 8001,
    metrics_port: int = 8002,
    repository: Path | None = None,
    services: Sequence[str] | None = None,
    address: str = "127.0.0.1",
    drain_seconds: float = 30.0,
    verbose: bool = False,
    health_port: int = 8003,
    stuck_seconds: float | None = None,
    gpu: int | None = None,
    log_format: LogFormat = "text",
) -> int:
    """Serve until a signal says stop. The log goes to standard error, a line that says ready to standard output.

    Triton is started again when it dies.

    The first SIGTERM, SIGINT or SIGHUP stops taking new streams, waits for open ones, and stops; the second stops at
    once. Call it from the main thread.

    Args:
        http_port: 0 for any free one.
        grpc_port: 0 for any free one.
        metrics_port: 0 for any free one.
        repository: the model repository; the shipped one if None.
        services: which services to load; all if None or empty.
        address: where to listen.
        drain_seconds: how long to wait for open streams before stopping.
        verbose: say every line of Triton's, tables included.
        health_port: where `/livez` and `/readyz` are answered, on 127.0.0.1; 0 for any free one.
        stuck_seconds: a stage that works on one request for longer is replaced; each stage's own limit if None.
        gpu: which of the machine's GPUs, one a server; the first that may be seen if None.
        log_format: "text" for people, "json" for one object a line.

    Returns:
        The exit code: 0 after a signal, 1 if the server could not start or ended by itself (standard error says why).
    """

    def say(text: str) -> None:
        _say(json_line(text, source="vireo") if log_format == "json" else text)

    def start(settings: ServerSettings) -> RunningServer:
        log = ServerLog(say=_say, verbose=verbose, format=log_format)
        return start_server(settings, log=log, interrupted=signals.any)

    with _stop_signals() as signals:
        early_deaths = 0
        server: RunningServer | None = None
        try:
            settings = ServerSettings(
                endpoints=Endpoints(address=address, http=http_port, grpc=grpc_port, metrics=metrics_port),
                repository=repository,
                services=tuple(services) if services else None,
                health_port=health_port,
                stuck_seconds=stuck_seconds,
                gpu=gpu,
            )
            _check_drain(drain_seconds)
            while True:
                server = start(settings)
                began = time.monotonic()
                # Whoever started this may have closed its end by now; the server serves all the same.
                with suppress(OSError):
                    line = _ready_line(server)
                    print(json_line(line, source="vireo") if log_format == "json" else line, flush=True)
                while not signals.any() and server.is_running():
                    time.sleep(_LOOK_SECONDS)
                if signals.any():
                    break
                early_deaths = early_deaths + 1 if time.monotonic() - began < _SOON_SECONDS else 1
                say(f"vireo {server.death()}")
                server.kill()
                if early_deaths >= _GIVE_UP_AFTER:
                    say(f"vireo: error: given up: Triton died {early_deaths} times in a row soon after it was ready")
                    return 1
                say("vireo: starting Triton again")
                # On the same ports, or nobody would find it.
                settings = replace(
                    settings,
                    endpoints=server.endpoints,
                    services=server.services,
                    health_port=int(server.health_url.rpartition(":")[2]),
                )
            _drain(server, seconds=drain_seconds, signals=signals, say=say)
            server.stop(interrupted=signals.twice)
        except LaunchError as error:
            say(f"vireo {error}")
            return 1
        except KeyboardInterrupt:
            say("vireo: stopped before it was ready")
            return 0
        finally:
            if server is not None:
                server.kill()
    say("vireo: stopped")
    return 0


class _Signals:
    """Counts the signals that say stop."""

    def __init__(self) -> None:
        self._count = 0

    def take(self, number: int, frame: FrameType | None) -> None:
        """Be a signal handler: only count, for whatever runs now may hold any lock."""
        self._count += 1

    def any(self) -> bool:
        """Say whether one came."""
        return self._count > 0

    def twice(self) -> bool:
        """Say whether a second one came."""
        return self._count > 1


@contextmanager
def _stop_signals() -> Iterator[_Signals]:
    signals = _Signals()
    # An ignored signal stays ignored: that is what `nohup` does to SIGHUP, and a shell to the SIGINT of a job in the
    # background.
    numbers = [number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signals.take) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drain(server: RunningServer, *, seconds: float, signals: _Signals, say: Callable[[str], None]) -> None:
    count = server.open_streams()
    if count and seconds:
        say(
            f"vireo: stopping: waiting up to {seconds:g} s for {count} open stream{'s' * (count > 1)}; "
            f"a second signal stops at once"
        )
    left = server.drain(seconds, interrupted=signals.twice)
    if left:
        say(f"vireo: warning: {left} stream{'s' * (left > 1)} cut off")


def _check_drain(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise LaunchError(f"serve: --drain-seconds {seconds!r} is not possible; give 0 or more seconds")


def _ready_line(server: RunningServer) -> str:
    return (
        f"vireo: ready  http {server.http_url}  grpc {server.grpc_url}  metrics {server.metrics_url}  "
        f"health {server.health_url}  services {', '.join(server.services)}"
    )


def _say(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
