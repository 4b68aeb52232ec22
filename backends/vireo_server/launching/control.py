# SPDX-License-Identifier: MIT
"""Triton's model-control API, which only the holder of the key may use."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vireo_server.launching.command import CONTROL_HEADER
from vireo_server.launching.errors import ModelLoadError
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints
from vireo_server.launching.readiness import says_ready
from vireo_server.launching.stalling import StallWatch

_LOOK_SECONDS = 0.5
_UNLOAD_SECONDS = 60.0


@dataclass(frozen=True)
class ModelControl:
    """Loads and unloads models of one server.

    Attributes:
        endpoints: where it listens.
        key: opens the API.
        pid: process id of `tritonserver`.
        log: takes what happens.
        load_seconds: how long loading may take.
        stall_seconds: what stands still for so long while it is loaded is loaded again, once.
    """

    endpoints: Endpoints
    key: str = field(repr=False)
    pid: int
    log: ServerLog
    load_seconds: float
    stall_seconds: float

    def unload(self, model: str) -> None:
        """Unload a model; ensembles that use it are not available until it is loaded again.

        Raises:
            ModelLoadError: Triton refused, and why.
            OSError: the server does not answer.
        """
        self._post(model, "unload", seconds=_UNLOAD_SECONDS)

    def load(self, model: str) -> None:
        """Load a model and wait until it is ready; ensembles that use it become available.

        Raises:
            ModelLoadError: it could not be loaded, and why.
            OSError: the server does not answer.
        """
        with self._watched() as killed:
            try:
                self._post(model, "load", seconds=self.load_seconds)
            except ModelLoadError:
                if not killed.is_set():
                    raise
        if killed.is_set():
            self._post(model, "load", seconds=self.load_seconds)

    @contextmanager
    def _watched(self) -> Iterator[threading.Event]:
        """End what stands still while it is loaded, once; gives whether that happened."""
        done, killed = threading.Event(), threading.Event()

        def watch() -> None:
            stalling = StallWatch(self.pid, self.log, seconds=self.stall_seconds, serves=True)
            while not done.wait(_LOOK_SECONDS):
                if stalling.stands_still():
                    self.log.note(f"error: loading stands still; killing and loading again {stalling.explain()}")
                    killed.set()
                    stalling.kill()
                    return

        thread = threading.Thread(target=watch, name="vireo-stalling", daemon=True)
        thread.start()
        try:
            yield killed
        finally:
            done.set()
            thread.join()

    def is_loaded(self, model: str) -> bool:
        """Say whether Triton has a model ready."""
        return says_ready(self.endpoints, [f"/v2/models/{model}/ready"])

    def _post(self, model: str, verb: str, *, seconds: float) -> None:
        address = self.endpoints.reachable_address.strip("[]")
        connection = http.client.HTTPConnection(address, self.endpoints.http, timeout=seconds)
        try:
            headers = {CONTROL_HEADER: self.key, "Content-Type": "application/json"}
            connection.request("POST", f"/v2/repository/models/{model}/{verb}", body="{}", headers=headers)
            response = connection.getresponse()
            answer = response.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise ConnectionError(f"the server broke off while it was to {verb} {model!r}: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ModelLoadError(f"serve: Triton did not {verb} the model {model!r}: {_reason(answer)}")


def _reason(answer: str) -> str:
    try:
        return str(json.loads(answer)["error"]).strip()
    except (ValueError, KeyError, TypeError):
        return answer.strip()
