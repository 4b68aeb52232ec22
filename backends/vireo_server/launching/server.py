# SPDX-License-Identifier: MIT
"""A server that runs: started, drained and stopped."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vireo_server.heartbeat import read_beats
from vireo_server.launching.backends import assemble_backends
from vireo_server.launching.command import server_command
from vireo_server.launching.control import ModelControl
from vireo_server.launching.environment import server_environment
from vireo_server.launching.errors import LaunchError, ModelLoadError, PortError
from vireo_server.launching.loading import LoadRequests, ServerInfo
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints, choose_ports
from vireo_server.launching.process import ServerProcess
from vireo_server.launching.readiness import Starting
from vireo_server.launching.repository import FILE_MODEL, read_repository
from vireo_server.launching.runtime_folder import SHARED_MEMORY, cache_folder, clean_leftovers, make_runtime_folder
from vireo_server.launching.triton import find_triton
from vireo_server.launching.watchdog import Watchdog
from vireo_server.locations import find_locations

DECODE_MODEL = "decode"

_EXIT_SECONDS = 5
_PORT_TRIES = 3
_ENOUGH_SHARED_MEMORY_BYTES = 1 << 30


def _never() -> bool:
    return False


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
        if not 0 < self.start_seconds < math.inf:
            raise ValueError(f"serve: start_seconds {self.start_seconds!r} is not possible; give a positive number")


class RunningServer:
    """A Triton server that is ready. Made by `start_server` and `running_server`.

    Attributes:
        endpoints: where it listens.
        services: what it serves.
        key: opens the model-control API; nobody else knows it.
        runtime: the path of its runtime folder.
    """

    def __init__(self, settings: ServerSettings, *, log: ServerLog, interrupted: Callable[[], bool] = _never) -> None:
        triton = find_triton()
        doors = settings.doors or find_locations().doors
        repository = read_repository(settings.repository or find_locations().model_repository)
        models = repository.to_load(settings.services)
        self.services = tuple(name for name in models if name != FILE_MODEL)
        self.endpoints = choose_ports(settings.endpoints)
        self.key = secrets.token_urlsafe(32)
        self._log = log
        self._watchdog: Watchdog | None = None
        self._requests: LoadRequests | None = None
        self._folder = make_runtime_folder()
        self.runtime = self._folder.path
        try:
            assemble_backends(self._folder.backends, triton=triton, doors=doors)
            self._process = ServerProcess(
                server_command(
                    triton,
                    backends=self._folder.backends,
                    repository=repository.folder,
                    models=models,
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
                secret=self.key,
            )
        except BaseException:
            self._folder.close()
            raise
        self._starting = Starting(process=self._process, log=log, endpoints=self.endpoints, models=models)
        try:
            self._starting.wait_until_ready(settings.start_seconds, interrupted=interrupted)
        except ModelLoadError as error:
            self.kill()
            # A traceback should name the file as its author knows it.
            raise ModelLoadError(str(error).replace(str(self._folder.backends), str(doors))) from None
        except BaseException:
            self.kill()
            raise
        control = ModelControl(self.endpoints, key=self.key, load_seconds=settings.start_seconds)
        self._watchdog = Watchdog(self.pid, runtime=self.runtime, control=control, log=log, is_running=self.is_running)
        self._requests = LoadRequests(
            self.runtime,
            info=ServerInfo(http=self.http_url, grpc=self.grpc_url, repository=str(repository.folder)),
            control=control,
            watchdog=self._watchdog,
            log=log,
            loaded=self._add_service,
        )

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

    def death(self) -> LaunchError:
        """Give the error that says why the server's process ended by itself."""
        return self._starting.death()

    def given_up(self) -> dict[str, str]:
        """Give the models that kept dying and are not loaded any more, each with the reason."""
        return {} if self._watchdog is None else self._watchdog.given_up()

    def _add_service(self, service: str) -> None:
        self.services = tuple(dict.fromkeys([*self.services, service]))

    def open_streams(self) -> int:
        """Give how many streams the decode stage holds now."""
        beats = read_beats(self.runtime)
        return sum(beat.open_streams for beat in beats if beat.model == DECODE_MODEL and _alive(beat.pid))

    def drain(self, seconds: float, *, interrupted: Callable[[], bool] = _never) -> int:
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

    def stop(self, *, drain_seconds: float = 0.0, interrupted: Callable[[], bool] = _never) -> None:
        """Stop the server and remove everything it made; may be called twice.

        Args:
            drain_seconds: how long to wait for open streams first.
            interrupted: all waiting ends when it says so.
        """
        self._let_go()
        if self.is_running():
            self.drain(drain_seconds, interrupted=interrupted)
            self._process.terminate()
            end = time.monotonic() + 2 * _EXIT_SECONDS
            # Once its models are unloaded Triton takes three more seconds for nothing we need.
            while time.monotonic() < end and not interrupted() and self._log.live_models():
                if self._process.wait(0.05):
                    break
        self.kill()

    def kill(self) -> None:
        """End the server at once and remove everything it made; may be called twice."""
        self._let_go()
        self._process.kill()
        self._folder.close()

    def _let_go(self) -> None:
        """Load and replace nothing from now on."""
        for one in (self._requests, self._watchdog):
            if one is not None:
                one.stop()


def start_server(
    settings: ServerSettings, *, log: ServerLog, interrupted: Callable[[], bool] = _never
) -> RunningServer:
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


def _warn_of_little_shared_memory(log: ServerLog) -> None:
    size = shutil.disk_usage(SHARED_MEMORY).total
    if size < _ENOUGH_SHARED_MEMORY_BYTES:
        log.note(
            f"warning: {str(SHARED_MEMORY)!r} has {size >> 20} MB; frames travel through it, and stages fail when it "
            f"is full; have at least {_ENOUGH_SHARED_MEMORY_BYTES >> 20} MB (a container: --shm-size=2g)"
        )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
