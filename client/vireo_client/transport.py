# SPDX-License-Identifier: MIT
"""Requests on their way to a server and replies on their way back: the interface. See `grpc_transport`, and the
loopback in `testing`.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
from vireo_media.exchange import Request
from vireo_media.times import Timing

from vireo_client.errors import WaitError

__all__ = ["Connection", "ModelConfiguration", "Tensor", "Transport", "WireReply", "wait_error"]

WireReply = tuple[list[bytes], Timing, bytes, Mapping[str, npt.NDArray[Any]]]
"""OUTPUT_PACKETS, OUTPUT_TIMING (M, 4) int64, REPORT, nothing; of an extraction nothing, TIMING (M, 4) int64, REPORT,
and its results by name. (An ensemble's output called PACKETS would be its input.)
"""


class Connection(Protocol):
    """One sequence on its way through a service; `sequence` is its correlation id."""

    sequence: str

    def send(self, request: Request) -> None:
        """Send a request; does not wait for the reply. Raises ServiceError."""

    def receive(self, *, seconds: float) -> WireReply | None:
        """The next reply, in the order of the requests; None where none came in `seconds`. Raises ServiceError."""

    def close(self) -> None:
        """Let go of it; nothing may be awaited any more."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or an output of a model: its name, Triton's name of its type, and its dimensions, -1 for any."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelConfiguration:
    """What a model's configuration says: the texts of its parameters `vireo` and `versions`, and its tensors."""

    description: str | None
    versions: str | None = None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


class Transport(Protocol):
    """The way to one server."""

    url: str

    def connect(self, service: str, *, label: str = "") -> contextlib.AbstractContextManager[Connection]:
        """A new sequence of `service` under an id of its own, closed with the block. Raises ServiceError.

        `label` becomes part of the id, so that the server's log names what its caller knows.
        """

    def configuration(self, model: str) -> ModelConfiguration:
        """What a model's configuration says. Raises UnknownServiceError, ServiceError."""

    def models(self) -> list[str]:
        """The names of the models that are served. Raises ServiceError."""

    def abort(self, service: str, sequence: str) -> None:
        """Free what a broken sequence holds on the server; never raises, for there is nothing more to be done."""

    def stage_counts(self, service: str) -> Mapping[str, int] | None:
        """For each stage of a service how many requests it has answered since it was loaded, -1 where it is not there.

        None where this server has nothing of the kind. Raises ServiceError.
        """

    def keep_alive(self, service: str, sequences: Sequence[str], *, computing: Callable[[], None]) -> None:
        """Tell the server that somebody still waits for these sequences; neither waits nor raises.

        `computing` is called, from any thread, where the server answers that a stage of the service computes.
        """

    def reconnect(self) -> None:
        """Use a new connection from now on; the one there is lost."""

    def close(self) -> None:
        """Let go of every connection."""


def wait_error(url: str, *, seconds: float, what: str) -> WaitError:
    """The error for a reply that did not come within `seconds`: it says what was waited for."""
    return WaitError(
        f"waited {seconds:g} s for {what} from {url!r} and nothing came; look at the server's log and its load, "
        "or allow more time"
    )
