# SPDX-License-Identifier: MIT
"""A server that runs: started, drained and stopped."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vireo_server.heartbeat import STUCK_VARIABLE, read_beats
from vireo_server.launching.backends import assemble_backends
from vireo_server.launching.command import server_command
from vireo_server.launching.control import ModelControl
from vireo_server.launching.environment import server_environment
from vireo_server.launching.errors import LaunchError, ModelLoadError, PortError
from vireo_server.launching.gpu_memory import choose_gpu, pool_for
from vireo_server.launching.health import Health, HealthPort, ServiceHealth
from vireo_server.launching.loading import LoadRequests, ServerInfo
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints, choose_ports
from vireo_server.launching.process import ServerProcess
from vireo_server.launching.readiness import Starting, says_ready
from vireo_server.launching.repository import FILE_MODEL, read_repository
from vireo_server.launching.revision import RevisingControl, serve_from
from vireo_server.launching.runtime_folder import cache_folder, make_runtime_folder
from vireo_server.launching.triton import find_triton
from vireo_server.launching.watchdog import Watchdog
from vireo_server.locations import find_locations

DECODE_MODEL = "decode"
"""The first stage of a service, or `<service>_decode` where decoding is part of its own."""

_EXIT_SECONDS = 5
STALL_SECONDS = 30.0


def never() -> bool:
    """Interrupt nothing."""
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
        health_port: where `/livez` and `/readyz` are answered; 0 for any free one.
        stuck_seconds: a stage that works on one request for longer is replaced; each stage's own limit if None.
        stall_seconds: a start in which nothing moves for so long is given up, once, and begun again.
        gpu: which of the machine's GPUs, by `nvidia-smi`'s number; the first that may be seen if None.
    """

    endpoints: Endpoints
    repository: Path | None = None
    services: tuple[str, ...] | None = None
    doors: Path | None = None
    start_seconds: float = 300.0
    health_port: int = 0
    stuck_seconds: float | None = None
    stall_seconds: float | None = STALL_SECONDS
    gpu: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.start_seconds < math.inf:
            raise ValueError(f"serve: start_seconds {self.start_seconds!r} is not possible; give a positive number")
        if not 0 <= self.health_port <= 65535:
            raise PortError(f"serve: --health-port {self.health_port!r} is no port; give 1 to 65535, or 0 for any free")
        if self.stuck_seconds is not None and not 0 < self.stuck_seconds < math.inf:
            raise LaunchError(f"serve: --stuck-seconds {self.stuck_seconds!r} is not possible; give more than 0")


class RunningServer:
    """A Triton server that is ready. Made by `start_server` and `running_server`.

    Attributes:
        endpoints: where it listens.
        services: what it serves.
        key: opens the model-control API; nobody else knows it.
        runtime: the path of its runtime folder.
    """

    def __init__(self, settings: ServerSettings, *, log: ServerLog, interrupted: Callable[[], bool] = never) -> None:
        triton = find_triton()
        doors = settings.doors or find_locations().doors
        repository = read_repository(settings.repository or find_locations().model_repository)
        models = repository.to_load(settings.services)
        self.services = tuple(name for name in models if name != FILE_MODEL)
        gpu = choose_gpu(settings.gpu)
        pool = None if gpu is None else pool_for(repository, self.services, gpu.gpu)
        if gpu is not None:
            log.note(f"{gpu}; {pool}")
        self.endpoints = choose_ports(settings.endpoints)
        self.key = secrets.token_urlsafe(32)
        self._log = log
        self._watchdog: Watchdog | None = None
        self._requests: LoadRequests | None = None
        self._process: ServerProcess | None = None
        self._repository = repository
        self._folder = make_runtime_folder()
        self.runtime = self._folder.path
        try:
            self._health = HealthPort(settings.health_port, self.health)
        except BaseException:
            self._folder.close()
            raise
        try:
            served = serve_from(repository, self._folder.repository)
            environment = server_environment(
                triton, backends=self._folder.backends, runtime=self.runtime, cache=cache_folder()
            )
            if gpu is not None:
                environment |= gpu.environment
            if settings.stuck_seconds is not None:
                environment[STUCK_VARIABLE] = str(settings.stuck_seconds)
            assemble_backends(self._folder.backends, triton=triton, doors=doors)
            self._process = ServerProcess(
                server_command(
                    triton,
                    backends=self._folder.backends,
                    repository=served,
                    models=models,
                    endpoints=self.endpoints,
                    region_prefix=self._folder.region_prefix,
                    key=self.key,
                    exit_seconds=_EXIT_SECONDS,
                    pool=pool,
                ),
                environment=environment,
                folder=self.runtime,
                log=log,
                secret=self.key,
            )
        except BaseException:
            self._health.close()
            self._folder.close()
            raise
        self._starting = Starting(
            process=self._process,
            log=log,
            endpoints=self.endpoints,
            models=models,
            stall_seconds=settings.stall_seconds,
        )
        try:
            self._starting.wait_until_ready(settings.start_seconds, interrupted=interrupted)
        except ModelLoadError as error:
            self.kill()
            # A traceback should name the file as its author knows it.
            known = str(error).replace(str(self._folder.backends), str(doors))
            raise ModelLoadError(known.replace(str(served), str(repository.folder))) from None
        except BaseException:
            self.kill()
            raise
        control = ModelControl(
            self.endpoints,
            key=self.key,
            pid=self.pid,
            log=log,
            load_seconds=settings.start_seconds,
            stall_seconds=settings.stall_seconds or STALL_SECONDS,
        )
        self._watchdog = Watchdog(
            self.pid,
            runtime=self.runtime,
            control=control,
            log=log,
            is_running=self.is_running,
            kill_server=self._process.kill,
        )
        self._requests = LoadRequests(
            self.runtime,
            info=ServerInfo(http=self.http_url, grpc=self.grpc_url, repository=str(repository.folder)),
            control=RevisingControl(**vars(control), original=repository.folder, served=served),
            watchdog=self._watchdog,
            log=log,
            served=lambda: self.services,
            loaded=self._add_service,
            unloaded=self._remove_service,
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
    def health_url(self) -> str:
        """host:port of `/livez` and `/readyz`."""
        return self._health.url

    @property
    def pid(self) -> int:
        """The process id of `tritonserver`."""
        return self._running.pid

    @property
    def log(self) -> str:
        """The last lines of the server's output as they came."""
        return self._log.text()

    def is_running(self) -> bool:
        """Say whether the process of the server runs."""
        return self._process is not None and self._process.exit_code() is None

    @property
    def _running(self) -> ServerProcess:
        assert self._process is not None
        return self._process

    def health(self) -> Health:
        """Give the state of the server and of each service, as it is at this moment."""
        running = self.is_running()
        if self._watchdog is None:
            starting = ServiceHealth(ready=False, faults={})
            services = dict.fromkeys(self.services, starting)
            return Health(alive=True, state="starting", open_streams=0, services=services)
        alive = running and says_ready(self.endpoints, ["/v2/health/live"])
        faults = self._watchdog.faults()
        services = {}
        for name in self.services:
            steps = self._repository.steps_by_ensemble.get(name, (name,))
            own = {model: faults[model] for model in steps if model in faults}
            ready = alive and not own and says_ready(self.endpoints, [f"/v2/models/{name}/ready"])
            services[name] = ServiceHealth(ready=ready, faults=own)
        state = "dead" if not alive else "draining" if self._folder.is_draining else "serving"
        return Health(alive=alive, state=state, open_streams=self.open_streams(), services=services)

    def death(self) -> LaunchError:
        """Give the error that says why the server's process ended by itself."""
        return self._starting.death()

    def given_up(self) -> dict[str, str]:
        """Give the models that kept dying and are not loaded any more, each with the reason."""
        return {} if self._watchdog is None else self._watchdog.given_up()

    def _add_service(self, service: str) -> None:
        self._repository = read_repository(self._repository.folder)
        self.services = tuple(dict.fromkeys([*self.services, service]))

    def _remove_service(self, service: str) -> None:
        self.services = tuple(name for name in self.services if name != service)

    def open_streams(self) -> int:
        """Give how many streams the stages that decode hold now."""
        beats = (beat for beat in read_beats(self.runtime) if f"_{beat.model}".endswith(f"_{DECODE_MODEL}"))
        return sum(beat.open_streams for beat in beats if _alive(beat.pid))

    def drain(self, seconds: float, *, interrupted: Callable[[], bool] = never) -> int:
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
            if self._running.wait(0.1):
                break
        return count

    def stop(self, *, drain_seconds: float = 0.0, interrupted: Callable[[], bool] = never) -> None:
        """Stop the server and remove everything it made; may be called twice.

        Args:
            drain_seconds: how long to wait for open streams first.
            interrupted: all waiting ends when it says so.
        """
        self._let_go()
        if self.is_running():
            self.drain(drain_seconds, interrupted=interrupted)
            self._running.terminate()
            end = time.monotonic() + 2 * _EXIT_SECONDS
            # Once its models are unloaded Triton takes three more seconds for nothing we need.
            while time.monotonic() < end and not interrupted() and self._log.live_models():
                if self._running.wait(0.05):
                    break
        self.kill()

    def kill(self) -> None:
        """End the server at once and remove everything it made; may be called twice."""
        self._let_go()
        self._running.kill()
        self._health.close()
        self._folder.close()

    def _let_go(self) -> None:
        """Load and replace nothing from now on."""
        for one in (self._requests, self._watchdog):
            if one is not None:
                one.stop()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
