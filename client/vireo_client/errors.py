# SPDX-License-Identifier: MIT
"""What can go wrong between a client and a service. Every error is also the builtin that fits it best.

    VireoError(Exception)                          vireo_media.errors: InputError, OutputError, OptionError, ...
    └── ServiceError
        ├── UnavailableError(ConnectionError)      no server, or it is full, draining or restarting: tried again
        │   └── RestartingError                    a model is just being replaced: back within seconds
        ├── WaitError(TimeoutError)                nothing came for too long: tried again
        ├── FaultError(RuntimeError)               a bug on the server: tried again twice
        │   └── StageDiedError                     a stage's process died: tried again when it is back
        ├── ScriptFailedError(RuntimeError)        the service's own script failed: final
        ├── RefusedError(ValueError)               the service refuses the input: final
        ├── UnknownServiceError(LookupError)       nobody serves that name
        └── CancelledError(RuntimeError)           stopped by the caller

A message has four parts: what failed, what came, what is allowed, what to do.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from vireo_media.errors import VireoError

__all__ = [
    "CancelledError",
    "FaultError",
    "RefusedError",
    "RestartingError",
    "ScriptFailedError",
    "ServiceError",
    "StageDiedError",
    "UnavailableError",
    "UnknownServiceError",
    "WaitError",
    "stream_error",
    "transport_error",
    "transport_errors",
]


_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")
"""What Triton puts before every message of an ensemble's steps."""


_WRITTEN_CODE = re.compile(r"\s*\[([A-Z_]+)\]$")
"""What our stages put after their messages: inside a gRPC stream Triton drops the code (see `transport`)."""

_UNREACHABLE = (
    "failed to connect", "errors resolving", "connection refused", "dns resolution", "socket closed",
    "connection reset",
)  # fmt: skip
_RESTARTING = ("is not ready", "no available versions", "server is stopping", "is exiting", "is not available")
_DEAD = ("is not healthy", "stub process")
"""gRPC's words for a server that is not there; Triton's for a model that comes and goes, and for one that is dead."""

_AGAIN = re.compile(r"again in (\d+(?:\.\d+)?) s\b")
"""How a server that is full says when to come back."""


class ServiceError(VireoError):
    """Something between the client and the service failed."""


class UnavailableError(ServiceError, ConnectionError):
    """No server answers, or it takes no new streams now. `again_seconds`: when it said to come back, else None."""

    again_seconds: float | None = None


class RestartingError(UnavailableError):
    """A model that the service needs is just being replaced."""


class WaitError(ServiceError, TimeoutError):
    """A reply did not come in time."""


class FaultError(ServiceError, RuntimeError):
    """The server failed in itself: a bug, or a process that died."""


class StageDiedError(FaultError):
    """A stage's process died, or was replaced, with the segment in it."""


class ScriptFailedError(ServiceError, RuntimeError):
    """The service's own script failed, and would again: its lines are in the message, below the first."""


class RefusedError(ServiceError, ValueError):
    """The service refuses the input; to try again changes nothing."""


class UnknownServiceError(ServiceError, LookupError):
    """The server does not serve what was asked for."""


class CancelledError(ServiceError, RuntimeError):
    """The work was stopped by the caller."""


@contextlib.contextmanager
def transport_errors(url: str, doing: str) -> Iterator[None]:
    """The one place where gRPC's errors become ours. `doing` says what was tried."""
    import grpc  # type: ignore[import-untyped]

    try:
        yield
    except grpc.RpcError as error:
        raise transport_error(error, url=url, doing=doing) from error


def transport_error(error: Any, *, url: str, doing: str) -> ServiceError:
    """A gRPC error as one of ours, by its status code."""
    return _translate(error.code().name, error.details() or "", url=url, doing=doing)


def stream_error(message: str, *, url: str, doing: str) -> ServiceError:
    """An error inside a gRPC stream, which carries its text alone, as one of ours."""
    return _translate("", message, url=url, doing=doing)


def _translate(code: str, message: str, *, url: str, doing: str) -> ServiceError:
    message = _ENSEMBLE.sub("", "\n".join(line.rstrip() for line in message.splitlines() if line.strip()))
    written = _WRITTEN_CODE.search(message)
    if written is not None:
        code, message = written[1], message[: written.start()]
    message = message or "no message"
    if code == "UNAVAILABLE" and _says(message, _UNREACHABLE):
        return UnavailableError(
            f"{doing}: no server answers at {url!r} ({message}); it may be down or still starting; "
            "start it with `vireo serve`, or name its address with --url"
        )
    if code in ("", "NOT_FOUND", "UNAVAILABLE", "INTERNAL", "UNKNOWN") and _says(message, _RESTARTING):
        return RestartingError(f"{doing}: the server at {url!r} takes no more now: {message}")
    if code == "UNAVAILABLE":
        full = UnavailableError(f"{doing}: the server at {url!r} takes no more now: {message}")
        again = _AGAIN.search(message)
        full.again_seconds = float(again[1]) if again else None
        return full
    if code == "DEADLINE_EXCEEDED":
        return WaitError(f"{doing}: the server at {url!r} did not answer in time ({message}); look at its log and load")
    if code in ("INVALID_ARGUMENT", "INVALID_ARG", "UNSUPPORTED", "UNIMPLEMENTED", "ALREADY_EXISTS", "OUT_OF_RANGE"):
        return RefusedError(f"{doing}: {message}")
    if code == "SCRIPT":
        return ScriptFailedError(f"{doing}: {message}")
    if code == "NOT_FOUND":
        return UnknownServiceError(f"{doing}: the server at {url!r} does not know it: {message}")
    if code == "CANCELLED":
        return CancelledError(f"{doing}: stopped: {message}")
    kind = StageDiedError if _says(message, _DEAD) else FaultError
    return kind(f"{doing}: the server at {url!r} failed: {message}; look at its log")


def _says(message: str, words: tuple[str, ...]) -> bool:
    return any(word in message.lower() for word in words)
