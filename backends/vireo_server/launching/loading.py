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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vireo_server.launching.control import ModelControl
from vireo_server.launching.errors import LaunchError, ModelLoadError, ServerDiedError, StartTimeoutError
from vireo_server.launching.log import ServerLog
from vireo_server.launching.repository import read_repository
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
        control: ModelControl,
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
                    service = str(json.loads(path.read_text(encoding="utf-8"))["load"])
                    path.unlink()
                except (OSError, ValueError, KeyError, TypeError):
                    path.unlink(missing_ok=True)
                    continue
                _answer(path.with_suffix(_REPLY), error=self._load(service))

    def _load(self, service: str) -> str | None:
        """Load a service; returns what went wrong."""
        began = time.monotonic()
        try:
            repository = read_repository(Path(self._info.repository))
            repository.to_load([service])
            models = (*repository.steps_of(service), service)
            with self._watchdog.loading(models):
                self._load_all(models)
        except (LaunchError, OSError) as error:
            self._log.note(f"error: {error}")
            return str(error)
        self._loaded(service)
        self._log.note(f"{service} is loaded after {time.monotonic() - began:.1f} s")
        return None

    def _load_all(self, models: Sequence[str]) -> None:
        done: list[str] = []
        try:
            for model in models:
                self._control.load(model)
                done.append(model)
        except (LaunchError, OSError):
            # Stages without their service are of no use to anybody.
            for model in reversed(done):
                with suppress(LaunchError, OSError):
                    self._control.unload(model)
            raise


def load_service(service: str, *, address: str | None = None, seconds: float = 300.0) -> ServerInfo:
    """Load a service into a server of this user on this machine; again after its files were changed.

    Args:
        service: the name of an ensemble in the server's repository.
        address: host:port of its HTTP or gRPC API; not needed where one server runs.
        seconds: how long it may take.

    Returns:
        The server that has it now.

    Raises:
        ModelLoadError: there is no such server or service, or it could not be loaded, and why.
        ServerDiedError: the server ended meanwhile.
        StartTimeoutError: the time is over.
    """
    folder, info = _find_server(address)
    request = folder / f"{secrets.token_hex(8)}{_REQUEST}"
    reply = request.with_suffix(_REPLY)
    _write(request, {"load": service})
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
    error = json.loads(reply.read_text(encoding="utf-8"))["error"]
    reply.unlink()
    if error is not None:
        raise ModelLoadError(str(error).replace("serve: ", "load: ", 1))
    return info


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


def _answer(path: Path, *, error: str | None) -> None:
    try:
        _write(path, {"error": error})
    except FileNotFoundError:
        return  # the server stops, and its folder is gone


def _write(path: Path, value: object) -> None:
    """Write a file that appears whole, for its owner alone."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    new.rename(path)
