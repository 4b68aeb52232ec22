# SPDX-License-Identifier: MIT
"""A server that runs: started, waited for, drained and stopped."""

from __future__ import annotations

import http.client
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vireo_server.heartbeat import read_beats
from vireo_server.launching.backends import assemble_backends
from vireo_server.launching.command import server_command
from vireo_server.launching.environment import server_environment
from vireo_server.launching.errors import LaunchError, ModelLoadError, PortError, ServerDiedError, StartTimeoutError
from vireo_server.launching.failures import load_failures
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints, choose_ports
from vireo_server.launching.process import ServerProcess
from vireo_server.launching.repository import FILE_MODEL, read_repository
from vireo_server.launching.runtime_folder import cache_folder, clean_leftovers, make_runtime_folder
from vireo_server.launching.triton import find_triton
from vireo_server.locations import find_locations

DECODE_MODEL = "decode"

_LISTENING = ("Started HTTPService at", "Started GRPCInferenceService at", "Started Metrics Service at")
_UNLOADED = "Found 0 live models"
_EXIT_SECONDS = 5
_FAILURE_GRACE_SECONDS = 2.0
_PORT_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a server is started.

    Attributes:
        endpoints: where it listens.
        repository: the model repository; the shipped one if None.
        services: which services to load; all if None.
        doors: folder with the backends; the shipped ones if None.
        start_seconds: how long it may take until it is ready: loading includes compiling networks and kernels.
    """

    endpoints: Endpoints
    repository: Path | None = None
    services: tuple[str, ...] | None = None
    doors: Path | None = None
    start_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not self.start_seconds > 0 or math.isinf(self.start_seconds):
            raise ValueError(f"serve: start_seconds {self.start_seconds!r} is not possible; give a positive number")


class RunningServer:
    """A Triton server that is ready. Made by `start_server` and `running_server`.

    Attributes:
        endpoints: where it listens.
        services: what it serves.
        key: opens the model-control API; nobody else knows it.
        runtime: its runtime folder's path.
    """

    def __init__(
        self, settings: ServerSettings, *, log: ServerLog, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        triton = find_triton()
        repository = read_repository(settings.repository or find_locations().model_repository)
        self._models = repository.to_load(settings.services)
        self.services = tuple(name for name in self._models if name != FILE_MODEL)
        self.endpoints = choose_ports(settings.endpoints)
        self.key = secrets.token_urlsafe(32)
        self._log = log
        for name in clean_leftovers():
            log.note(f"cleaned up after server {name}, which had been killed")
        self._doors = settings.doors or find_locations().doors
        self._folder = make_runtime_folder()
        self.runtime = self._folder.path
        try:
            assemble_backends(self._folder.backends, triton=triton, doors=self._doors)
            self._process = ServerProcess(
                server_command(
                    triton,
                    backends=self._folder.backends,
                    repository=repository.folder,
                    models=self._models,
                    endpoints=self.endpoints,
                    region_prefix=self._folder.region_prefix,
                    key=self.key,
                    exit_seconds=_EXIT_SECONDS,
                ),
                environment=server_environment(
                    triton, backends=self._folder.backends, runtime=self.runtime, cache=cache_folder()
                ),
                folder=self.runtime,
                log=log,
            )
        except BaseException:
            self._folder.close()
            raise
        try:
            self._wait_until_ready(settings.start_seconds, interrupted=interrupted)
        except BaseException:
            self.kill()
            raise

    @property
    def http_url(self) -> str:
        """host:port of the HTTP API, the form `tritonclient.http` takes."""
        return self.endpoints.http_url

    @property
    def grpc_url(self) -> str:
        """host:port of the gRPC API, the form `tritonclient.grpc` takes."""
        return self.endpoints.grpc_url

    @property
    def metrics_url(self) -> str:
        """host:port of the metrics; they are at `/metrics`."""
        return self.endpoints.metrics_url

    @property
    def pid(self) -> int:
        """The process id of `tritonserver`."""
        return self._process.pid

    @property
    def log(self) -> str:
        """The last lines of the server's output as they came."""
        return self._log.text()

    def is_running(self) -> bool:
        """Say whether the process of the server runs."""
        return self._process.exit_code() is None

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the server's process, at most so long, and say whether it ended."""
        return self._process.wait(seconds)

    def open_streams(self) -> int:
        """Give how many streams the decode stage holds now."""
        return sum(
            beat.open_streams for beat in read_beats(self.runtime) if beat.model == DECODE_MODEL and _alive(beat.pid)
        )

    def drain(self, seconds: float, *, interrupted: Callable[[], bool] = lambda: False) -> int:
        """Open no more streams and wait for the open ones.

        Args:
            seconds: how long to wait.
            interrupted: waiting ends when it says so; asked about ten times a second.

        Returns:
            How many streams are still open.
        """
        self._folder.drain()
        end = time.monotonic() + seconds
        while (count := self.open_streams()) and time.monotonic() < end and not interrupted():
            if self._process.wait(0.1):
                break
        return count

    def stop(self, *, drain_seconds: float = 0.0, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Stop the server and remove everything it made; may be called twice.

        Args:
            drain_seconds: how long to wait for open streams first.
            interrupted: all waiting ends when it says so.
        """
        if self.is_running():
            self.drain(drain_seconds, interrupted=interrupted)
            self._process.terminate()
            end = time.monotonic() + 2 * _EXIT_SECONDS
            # Once its models are unloaded Triton takes two more seconds for nothing we need.
            while time.monotonic() < end and not interrupted() and not self._log.has(_UNLOADED):
                if self._process.wait(0.05):
                    break
        self.kill()

    def kill(self) -> None:
        """End the server at once and remove everything it made; may be called twice."""
        self._process.kill()
        self._folder.close()

    def _wait_until_ready(self, seconds: float, *, interrupted: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        failed_at: float | None = None
        while True:
            ended = self._process.exit_code() is not None
            if ended:
                self._process.wait(1.0)
            elif self._log.has(*_LISTENING) and self._says_ready():
                return
            now = time.monotonic()
            if failed_at is None and load_failures(self._log.entries()):
                failed_at = now
            # Other models may fail too: one round shows all, but nobody waits for a large one to load for nothing.
            if failed_at is not None and (ended or now - failed_at > _FAILURE_GRACE_SECONDS):
                raise self._load_error()
            if ended:
                raise self.death()
            if interrupted():
                raise KeyboardInterrupt
            if now > end:
                last = "; ".join(self._log.last_words(count=1))
                raise StartTimeoutError(
                    f"serve: Triton was not ready within {seconds:g} s; its last words: {last!r}; "
                    f"run with --verbose to see what it does"
                )
            self._log.wait(0.1)

    def _says_ready(self) -> bool:
        paths = ["/v2/health/ready", *(f"/v2/models/{model}/ready" for model in self._models)]
        address = self.endpoints.reachable_address.strip("[]")
        connection = http.client.HTTPConnection(address, self.endpoints.http, timeout=5)
        try:
            for path in paths:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    return False
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _load_error(self) -> LaunchError:
        failures = load_failures(self._log.entries())
        reasons = "\n".join(
            f"  {model}: {reason}".replace("\n", "\n    ") for model, reason in sorted(failures.items())
        )
        # A traceback should name the file as its author knows it.
        reasons = reasons.replace(str(self._folder.backends), str(self._doors))
        return ModelLoadError(
            f"serve: {len(failures)} model{'s' * (len(failures) > 1)} could not be loaded:\n{reasons}\n"
            f"mend the model or its configuration, or serve others with --service"
        )

    def death(self) -> LaunchError:
        """Give the error that says why the server's process ended by itself."""
        code = self._process.exit_code()
        reasons = "\n".join(f"  {line}".replace("\n", "\n    ") for line in self._log.last_words(count=5))
        if self._log.has("already in use") or self._log.has("Address already in use"):
            return PortError(
                f"serve: Triton could not listen on one of its ports ({self.endpoints.http_url}, "
                f"{self.endpoints.grpc_url}, {self.endpoints.metrics_url}):\n{reasons}\n"
                f"choose others with --http-port, --grpc-port and --metrics-port; 0 takes any free one"
            )
        return ServerDiedError(
            f"serve: Triton ended by itself ({_exit_words(code)}); its last words:\n{reasons}\n"
            f"run with --verbose to see all of them"
        )


def start_server(
    settings: ServerSettings, *, log: ServerLog, interrupted: Callable[[], bool] = lambda: False
) -> RunningServer:
    """Start a server and wait until it is ready.

    Args:
        settings: what and where.
        log: takes its output.
        interrupted: waiting ends when it says so.

    Raises:
        KeyboardInterrupt: `interrupted` said so.
        LaunchError: what and why, by its class.
    """
    ports = settings.endpoints
    tries = _PORT_TRIES if 0 in (ports.http, ports.grpc, ports.metrics) else 1
    for remaining in reversed(range(tries)):
        try:
            return RunningServer(settings, log=log, interrupted=interrupted)
        except PortError:
            # Another program took a port that was free a moment ago; a given port is refused before.
            if remaining == 0:
                raise
    raise AssertionError("unreachable")


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
    )
    server = start_server(settings, log=ServerLog(say=say, verbose=verbose))
    try:
        yield server
    finally:
        server.stop()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _exit_words(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
