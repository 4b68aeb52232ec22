# SPDX-License-Identifier: MIT
"""Loading a service into a server that runs: `vireo load`.

# Note [Who may ask]
Model control is closed over the network: whoever may load a model runs a program of theirs. But whoever can write into
the server's runtime folder is its own user (the folder is theirs alone, mode 0700), and can do all that anyway. So a
request is a file in that folder, the server's own process does the loading, and no key is handed to anybody. Only
names of services in the server's own repository are taken.
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

from vireo_media.errors import VireoError
from vireo_media.versions import versioned

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
    """What is asked for; `version` None: only what the service's name stands for, and new runs go where they went."""

    service: str
    version: int | None
    share: float

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


class LoadRequests:
    """The server's side: looks for requests in the runtime folder, from a thread of its own.

    Args:
        runtime: the runtime folder.
        info: what to tell of the server.
        control: loads its models.
        watchdog: must not take a model that is being loaded for one that died.
        log: takes what happens.
        loaded: called with the name of a service that was loaded.
    """

    def __init__(
        self,
        runtime: Path,
        *,
        info: ServerInfo,
        control: RevisingControl,
        watchdog: Watchdog,
        log: ServerLog,
        loaded: Callable[[str], None],
    ) -> None:
        self._runtime, self._info, self._control = runtime, info, control
        self._watchdog, self._log, self._loaded = watchdog, log, loaded
        self._stopped = threading.Event()
        _write(runtime / _INFO, asdict(info))
        threading.Thread(target=self._watch, name="vireo-loading", daemon=True).start()

    def stop(self) -> None:
        """Take no more requests."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            for path in sorted(self._runtime.glob(f"*{_REQUEST}")):
                try:
                    wanted = _Wanted(**json.loads(path.read_text(encoding="utf-8")))
                    path.unlink()
                except (OSError, ValueError, TypeError):
                    path.unlink(missing_ok=True)
                    continue
                _answer(path.with_suffix(_REPLY), self._load(wanted))

    def _load(self, wanted: _Wanted) -> dict[str, str | None]:
        """Load a service; gives where new runs go, or what went wrong."""
        began = time.monotonic()
        try:
            service = wanted.model
            repository = read_repository(Path(self._info.repository))
            repository.to_load([service])
            models = (*repository.steps_of(service), service)
            with self._watchdog.loading(models):
                self._load_all(models)
            goes = self._share(repository, wanted)
        except (LaunchError, VireoError, OSError) as error:
            self._log.note(f"error: {error}")
            return {"error": str(error)}
        self._loaded(service)
        self._log.note(f"{service} is loaded after {time.monotonic() - began:.1f} s" + (f"; {goes}" if goes else ""))
        return {"error": None, "goes": goes}

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
    wanted = _Wanted(service, version, share)
    folder, info = _find_server(address)
    request = folder / f"{secrets.token_hex(8)}{_REQUEST}"
    reply = request.with_suffix(_REPLY)
    _write(request, asdict(wanted))
    deadline = time.monotonic() + seconds
    while not reply.exists():
        if folder not in locked_folders():
            raise ServerDiedError(f"load: the server at {info.http} ended while it was to load {service!r}")
        if time.monotonic() > deadline:
            request.unlink(missing_ok=True)
            raise StartTimeoutError(
                f"load: {service!r} was not loaded within {seconds:g} s; the server's log says what it does"
            )
        time.sleep(_LOOK_SECONDS)
    answer = json.loads(reply.read_text(encoding="utf-8"))
    reply.unlink()
    if answer["error"] is not None:
        raise ModelLoadError(str(answer["error"]).replace("serve: ", "load: ", 1))
    return Loaded(grpc=info.grpc, http=info.http, goes=answer["goes"])


def _find_server(address: str | None) -> tuple[Path, ServerInfo]:
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
        f"load: {wanted} was looked for among those that you started with `vireo serve` on this machine: {running}; "
        "start one, or name one with --url"
    )


def _answer(path: Path, answer: Mapping[str, str | None]) -> None:
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
