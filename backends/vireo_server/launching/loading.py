# SPDX-License-Identifier: MIT
"""Loading a service into a server that runs, and unloading one: `vireo load`, `vireo unload`.

# Note [Who may ask]
Model control is closed over the network: whoever may load a model runs a program of theirs. But whoever can write into
the server's runtime folder is its own user (the folder is theirs alone, mode 0700), and can do all that anyway. So a
request is a file in that folder, the server's own process does the loading, and no key is handed to anybody. Only
names of services in the server's own repository are taken.

# Note [What is unloaded]
The service, each of its versions, and every stage that no service uses that is still served. Triton would answer the
next request of a stream under way with an error, so a service that has streams is not unloaded, unless it is forced.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vireo_media.errors import VireoError
from vireo_media.versions import split_version, versioned

from vireo_server.heartbeat import read_beats
from vireo_server.launching.errors import LaunchError, ModelLoadError, ServerDiedError, StartTimeoutError
from vireo_server.launching.log import ServerLog
from vireo_server.launching.repository import Repository, read_repository
from vireo_server.launching.revision import RevisingControl
from vireo_server.launching.runtime_folder import locked_folders
from vireo_server.launching.watchdog import Watchdog

_INFO = "server.json"
_REQUEST, _REPLY = ".request", ".reply"
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class ServerInfo:
    """What a server tells of itself in its runtime folder.

    Attributes:
        http: host:port of its HTTP API.
        grpc: host:port of its gRPC API.
        repository: its model repository.
    """

    http: str
    grpc: str
    repository: str


@dataclass(frozen=True)
class _Wanted:
    """What is asked for.

    `version` None: to load only what the service's name stands for, and new runs go where they went; to unload all.
    """

    verb: Literal["load", "unload"]
    service: str
    version: int | None = None
    share: float = 1.0
    force: bool = False

    @property
    def model(self) -> str:
        return self.service if self.version is None else versioned(self.service, self.version)


@dataclass(frozen=True)
class Loaded:
    """What was done.

    Attributes:
        grpc: host:port of the gRPC API of the server that has the service now.
        http: host:port of its HTTP API.
        goes: where new runs go, in words; None where that was not asked for.
    """

    grpc: str
    http: str
    goes: str | None


@dataclass(frozen=True)
class Unloaded:
    """What was done.

    Attributes:
        grpc: host:port of the gRPC API of the server that had the service.
        models: what was unloaded: the service, its versions, and the stages that nobody uses any more.
        streams: how many streams were cut off.
    """

    grpc: str
    models: tuple[str, ...]
    streams: int


class LoadRequests:
    """The server's side: looks for requests in the runtime folder, from a thread of its own.

    Args:
        runtime: the runtime folder.
        info: what to tell of the server.
        control: loads its models.
        watchdog: must not take a model that is being loaded for one that died.
        log: takes what happens.
        served: gives the names of the services that are served.
        loaded: called with the name of a service that was loaded.
        unloaded: called with the name of a service that was unloaded.
    """

    def __init__(
        self,
        runtime: Path,
        *,
        info: ServerInfo,
        control: RevisingControl,
        watchdog: Watchdog,
        log: ServerLog,
        served: Callable[[], Sequence[str]],
        loaded: Callable[[str], None],
        unloaded: Callable[[str], None],
    ) -> None:
        self._runtime, self._info, self._control = runtime, info, control
        self._watchdog, self._log = watchdog, log
        self._served, self._loaded, self._unloaded = served, loaded, unloaded
        self._stopped = threading.Event()
        _write(runtime / _INFO, asdict(info))
        threading.Thread(target=self._watch, name="vireo-loading", daemon=True).start()

    def stop(self) -> None:
        """Take no more requests."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            for path in self._requests():
                try:
                    wanted = _Wanted(**json.loads(path.read_text(encoding="utf-8")))
                    path.unlink()
                except (OSError, ValueError, TypeError):
                    path.unlink(missing_ok=True)
                    continue
                _answer(path.with_suffix(_REPLY), self._do(wanted))

    def _requests(self) -> list[Path]:
        # Looked for ten times a second, for as long as the server runs: a glob would take ten times as long.
        try:
            names = os.listdir(self._runtime)
        except FileNotFoundError:  # The server stops.
            return []
        return [self._runtime / name for name in sorted(names) if name.endswith(_REQUEST)]

    def _do(self, wanted: _Wanted) -> dict[str, Any]:
        """Do what is wanted; gives what came of it, or what went wrong."""
        try:
            return {"error": None, **(self._load(wanted) if wanted.verb == "load" else self._unload(wanted))}
        except (LaunchError, VireoError, OSError) as error:
            self._log.note(f"error: {error}")
            return {"error": str(error)}

    def _load(self, wanted: _Wanted) -> dict[str, Any]:
        began = time.monotonic()
        service = wanted.model
        repository = read_repository(Path(self._info.repository))
        repository.to_load([service])
        models = (*repository.steps_of(service), service)
        with self._watchdog.loading(models):
            self._load_all(models)
        goes = self._share(repository, wanted)
        self._loaded(service)
        self._log.note(f"{service} is loaded after {time.monotonic() - began:.1f} s" + (f"; {goes}" if goes else ""))
        return {"goes": goes}

    def _unload(self, wanted: _Wanted) -> dict[str, Any]:
        repository, served = read_repository(Path(self._info.repository)), self._served()
        services = self._services_of(wanted, repository, served)
        steps = repository.left_alone(services, served=served)
        streams = self._streams(steps)
        if streams and not wanted.force:
            them = "them" if streams > 1 else "it"
            raise ModelLoadError(
                f"serve: {services[0]!r} has {_open_streams(streams)}; allowed is none; wait for {them} to end, or cut "
                f"{them} off with --force"
            )
        models = (*services, *steps)
        with self._watchdog.loading(models):
            for model in models:
                self._control.unload(model)
            self._watchdog.forget(models)
        for service in services:
            self._unloaded(service)
        cut = f"; {_open_streams(streams)} cut off" if streams else ""
        self._log.note(f"{services[0]} is unloaded, and with it {', '.join(models[1:]) or 'nothing else'}{cut}")
        return {"models": models, "streams": streams}

    def _services_of(self, wanted: _Wanted, repository: Repository, served: Sequence[str]) -> list[str]:
        """The services that go: a version, or all of a service."""
        if wanted.version is None:
            services = [name for name in served if wanted.service in (name, split_version(name)[0])]
        elif wanted.version == 1:
            raise ModelLoadError(
                f"serve: version 1 of {wanted.service!r} cannot be unloaded alone, its name stands for all; allowed "
                "are the others; leave out --version to unload all of them"
            )
        else:
            services = [name for name in served if name == wanted.model]
        if not services:
            raise ModelLoadError(
                f"serve: no service {wanted.model!r} is served; there are {', '.join(served) or 'none'}; name one"
            )
        if wanted.version is not None and wanted.version in repository.shares(wanted.service).of:
            raise ModelLoadError(
                f"serve: new runs of {wanted.service!r} go to version {wanted.version}; allowed is a version that gets "
                f"none; send them elsewhere first: vireo load {wanted.service} --version 1"
            )
        return sorted(services, key=lambda name: split_version(name)[1])

    def _streams(self, models: Sequence[str]) -> int:
        """How many streams go through these stages: each is in all of them that keep any."""
        counts: dict[str, int] = {}
        for beat in read_beats(self._runtime):
            counts[beat.model] = counts.get(beat.model, 0) + beat.open_streams
        return max((counts.get(model, 0) for model in models), default=0)

    def _share(self, repository: Repository, wanted: _Wanted) -> str | None:
        """Send new runs to the version that was loaded; says in words where they go, if that was asked for."""
        if wanted.version is None:
            return None
        shares = repository.shares(wanted.service).give(wanted.version, wanted.share)
        for version in shares.of:
            repository.to_load([versioned(wanted.service, version)])
        with self._watchdog.loading((wanted.service,)):
            self._control.share(shares)
        return ", ".join(f"version {version}: {share:.0%}" for version, share in shares.of.items())

    def _load_all(self, models: Sequence[str]) -> None:
        new = [model for model in models if not self._control.is_loaded(model)]
        try:
            for model in models:
                self._control.load(model)
        except (LaunchError, OSError):
            # Stages without their service are of no use to anybody; what was there before goes on as it was.
            for model in reversed(new):
                with suppress(LaunchError, OSError):
                    self._control.unload(model)
            raise


def load_service(
    service: str,
    *,
    version: int | None = None,
    share: float = 1.0,
    address: str | None = None,
    seconds: float = 300.0,
) -> Loaded:
    """Load a service into a server of this user on this machine; again after its files were changed.

    Args:
        service: the name of an ensemble in the server's repository.
        version: load this version beside the others and send new runs to it; streams that are open stay where they
            are. None: load what the name stands for, again if it was changed, which ends the streams that it holds.
        share: how many of the new runs go to that version, 0..1.
        address: host:port of its HTTP or gRPC API; not needed where one server runs.
        seconds: how long it may take.

    Raises:
        ModelLoadError: there is no such server, service, version or share, or it could not be loaded, and why.
        ServerDiedError: the server ended meanwhile.
        StartTimeoutError: the time is over.
    """
    wanted = _Wanted("load", service, version=version, share=share)
    info, answer = _ask(wanted, address=address, seconds=seconds)
    return Loaded(grpc=info.grpc, http=info.http, goes=answer["goes"])


def unload_service(
    service: str,
    *,
    version: int | None = None,
    force: bool = False,
    address: str | None = None,
    seconds: float = 60.0,
) -> Unloaded:
    """Unload a service from a server of this user on this machine, with the stages that nobody else uses.

    Args:
        service: its name.
        version: only this version, to which no new runs go; None: all of them.
        force: cut open streams off.
        address: host:port of the server's HTTP or gRPC API; not needed where one server runs.
        seconds: how long it may take.

    Raises:
        ModelLoadError: there is no such server or service, it has open streams, or it could not be unloaded, and why.
        ServerDiedError: the server ended meanwhile.
        StartTimeoutError: the time is over.
    """
    wanted = _Wanted("unload", service, version=version, force=force)
    info, answer = _ask(wanted, address=address, seconds=seconds)
    return Unloaded(grpc=info.grpc, models=tuple(answer["models"]), streams=answer["streams"])


def _ask(wanted: _Wanted, *, address: str | None, seconds: float) -> tuple[ServerInfo, dict[str, Any]]:
    """Send a request to the server and wait for its answer."""
    verb, service = wanted.verb, wanted.service
    folder, info = _find_server(address, verb)
    request = folder / f"{secrets.token_hex(8)}{_REQUEST}"
    reply = request.with_suffix(_REPLY)
    _write(request, asdict(wanted))
    deadline = time.monotonic() + seconds
    while not reply.exists():
        if folder not in locked_folders():
            raise ServerDiedError(f"{verb}: the server at {info.http} ended while it was to {verb} {service!r}")
        if time.monotonic() > deadline:
            request.unlink(missing_ok=True)
            raise StartTimeoutError(
                f"{verb}: {service!r} was not {verb}ed within {seconds:g} s; the server's log says what it does"
            )
        time.sleep(_LOOK_SECONDS)
    answer: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
    reply.unlink()
    if answer["error"] is not None:
        raise ModelLoadError(str(answer["error"]).replace("serve: ", f"{verb}: ", 1))
    return info, answer


def _find_server(address: str | None, verb: str) -> tuple[Path, ServerInfo]:
    found = {}
    for folder in locked_folders():
        if (folder / _INFO).is_file():
            found[folder] = ServerInfo(**json.loads((folder / _INFO).read_text(encoding="utf-8")))
    chosen = {folder: info for folder, info in found.items() if address in (None, info.http, info.grpc)}
    if len(chosen) == 1:
        return next(iter(chosen.items()))
    running = ", ".join(sorted(info.grpc for info in found.values())) or "none"
    wanted = "a server" if address is None else f"the server {address!r}"
    raise ModelLoadError(
        f"{verb}: {wanted} was looked for among those that you started with `vireo serve` on this machine: {running}; "
        "start one, or name one with --url"
    )


def _open_streams(count: int) -> str:
    return f"{count} open stream{'s' * (count != 1)}"


def _answer(path: Path, answer: Mapping[str, Any]) -> None:
    try:
        _write(path, answer)
    except FileNotFoundError:
        return  # the server stops, and its folder is gone


def _write(path: Path, value: object) -> None:
    """Write a file that appears whole, for its owner alone."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    new.rename(path)
