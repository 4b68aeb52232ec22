# SPDX-License-Identifier: MIT
"""Waiting until a server is ready, and saying why it is not."""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vireo_server.launching.errors import (
    CrashError,
    LaunchError,
    ModelLoadError,
    PortError,
    ServerDiedError,
    StalledError,
    StartTimeoutError,
)
from vireo_server.launching.failures import load_failures
from vireo_server.launching.log import ServerLog
from vireo_server.launching.ports import Endpoints
from vireo_server.launching.process import ServerProcess
from vireo_server.launching.stalling import StallWatch

# A process that answers on our port may be another server that took it a moment ago; ours says that it listens.
_LISTENING = ("Started HTTPService at", "Started GRPCInferenceService at", "Started Metrics Service at")
_FAILURE_GRACE_SECONDS = 2.0
_PROBE_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0
# Time in which this process itself did not run, a paused container say, is not the server's.
_PAUSED_SECONDS = 20.0


@dataclass(frozen=True)
class Starting:
    """A server that was started and is not known to be ready.

    Attributes:
        process: its process.
        log: its log.
        endpoints: where it is to listen.
        models: what it loads.
        stall_seconds: how long loading may stand still; None: as long as it may take.
    """

    process: ServerProcess
    log: ServerLog
    endpoints: Endpoints
    models: Sequence[str]
    stall_seconds: float | None = None

    def wait_until_ready(self, seconds: float, *, interrupted: Callable[[], bool]) -> None:
        """Wait until every model is ready and every port listens.

        Args:
            seconds: how long it may take.
            interrupted: waiting ends when it says so.

        Raises:
            ModelLoadError: a model did not load, and why.
            PortError: another program took a port meanwhile.
            ServerDiedError: Triton ended by itself for another reason.
            StalledError: loading stands still.
            StartTimeoutError: the time is over.
            KeyboardInterrupt: `interrupted` said so.
        """
        began = looked = time.monotonic()
        stalling = StallWatch(self.process.pid, self.log, seconds=self.stall_seconds) if self.stall_seconds else None
        patience_asked = False
        failed_at: float | None = None
        while True:
            ended = self.process.exit_code() is not None
            if ended:
                self.process.wait(1.0)
            elif self.log.has(*_LISTENING) and self._says_ready():
                return
            now = time.monotonic()
            if now - looked > _PAUSED_SECONDS:
                began += now - looked
            looked = now
            if failed_at is None and load_failures(self.log.entries()):
                failed_at = now
            # Other models may fail too: one round shows all, but nobody waits for a large one to load for nothing.
            if failed_at is not None and (ended or now - failed_at > _FAILURE_GRACE_SECONDS):
                raise self._load_error()
            if ended:
                raise self.death()
            if interrupted():
                raise KeyboardInterrupt
            if now - began > seconds:
                raise self._timeout(seconds)
            if stalling is not None and stalling.stands_still():
                raise StalledError(
                    f"serve: loading stands still: for {self.stall_seconds:g} s nothing was computed, read or said; it "
                    f"waits for {stalling.explain()}; the stacks before this line say where"
                )
            if now - began > _PATIENCE_SECONDS and not patience_asked:
                patience_asked = True
                self.log.note(f"still loading {self._missing()}; the first start compiles kernels and networks")
            self.log.wait(0.1)

    def death(self) -> LaunchError:
        """Give the error that says why the process ended by itself."""
        code = self.process.exit_code()
        ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        reasons = "\n".join(f"  {line}".replace("\n", "\n    ") for line in self.log.last_words(count=5))
        if self.log.has("ddress already in use") or self.log.has("already in use "):
            return PortError(
                f"serve: Triton could not listen on one of its ports ({self.endpoints.http_url}, "
                f"{self.endpoints.grpc_url}, {self.endpoints.metrics_url}):\n{reasons}\n"
                f"choose others with --http-port, --grpc-port and --metrics-port; 0 takes any free one"
            )
        kind = CrashError if code is not None and code < 0 else ServerDiedError
        return kind(
            f"serve: Triton ended by itself ({ending}); its last words:\n{reasons}\n"
            f"start it again; run with --verbose to see all it says"
        )

    def _says_ready(self) -> bool:
        models = [f"/v2/models/{model}/ready" for model in self.models]
        # Triton says that the metrics are there some milliseconds before it listens.
        return says_ready(self.endpoints, ["/v2/health/ready", *models]) and says_ready(
            self.endpoints, ["/metrics"], port=self.endpoints.metrics
        )

    def _load_error(self) -> LaunchError:
        failures = sorted(load_failures(self.log.entries()).items())
        reasons = "\n".join(f"  {model}: {reason}".replace("\n", "\n    ") for model, reason in failures)
        remedy = "mend the model or its configuration, or serve others with --service"
        if "No module named" in reasons:
            # Stages run isolated, so that what works in a shell may be missing in them.
            remedy = (
                f"stages see the packages of {sys.prefix!r} alone, neither PYTHONPATH nor those of "
                f"'pip install --user'; install what is missing there"
            )
        return ModelLoadError(
            f"serve: {len(failures)} model{'s' * (len(failures) > 1)} could not be loaded:\n{reasons}\n{remedy}"
        )

    def _missing(self) -> str:
        return ", ".join(sorted(set(self.models) - self.log.live_models())) or "nothing"

    def _timeout(self, seconds: float) -> LaunchError:
        last = self.log.last_words(count=1)
        return StartTimeoutError(
            f"serve: Triton was not ready within {seconds:g} s; not loaded yet: {self._missing()}; "
            f"its last words: {last!r}; run with --verbose to see what it does"
        )


def says_ready(endpoints: Endpoints, paths: Sequence[str], *, port: int | None = None) -> bool:
    """Say whether Triton answers 200 to each of these questions, on its HTTP port where no other is named."""
    connection = http.client.HTTPConnection(
        endpoints.reachable_address.strip("[]"), port or endpoints.http, timeout=_PROBE_SECONDS
    )
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
