# SPDX-License-Identifier: MIT
"""Requests on their way to a server and replies on their way back: the interface, and gRPC.

# Note [A gRPC stream for each sequence]
Replies of one gRPC stream come in the order of its requests, so one slow sequence would hold up the others: each
sequence has its own.

# Note [Error codes inside a stream]
Inside a stream Triton carries an error's text alone, without its code. Its header `triton_grpc_error` would bring the
code by ending the stream, but Triton 2.51 then often dies of it (SIGSEGV in HandleCancellation) when further requests
of that stream are being worked on, which is always. So stages end their messages with the code in brackets.
"""

import contextlib
import queue
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from vireo_media.exchange import Request, abort_request
from vireo_media.times import Timing

from vireo_client.errors import FaultError, ServiceError, WaitError, transport_error, transport_errors

__all__ = ["Connection", "GrpcTransport", "Transport", "WireReply"]

WireReply = tuple[list[bytes], Timing, bytes]
"""OUTPUT_PACKETS, OUTPUT_TIMING (M, 4) int64, REPORT. (An ensemble's output called PACKETS would be its input.)"""

_SHORT_SECONDS = 10.0
"""How long a question that costs a server nothing may take."""


class Connection(Protocol):
    """One sequence on its way through a service; `sequence` is its correlation id."""

    sequence: str

    def send(self, request: Request) -> None:
        """Send a request; does not wait for the reply. Raises ServiceError."""

    def receive(self, *, seconds: float) -> WireReply | None:
        """The next reply, in the order of the requests; None where none came in `seconds`. Raises ServiceError."""

    def close(self) -> None:
        """Let go of it; nothing may be awaited any more."""


class Transport(Protocol):
    """The way to one server."""

    url: str

    def connect(self, service: str) -> contextlib.AbstractContextManager[Connection]:
        """A new sequence of `service` under an id of its own, closed with the block. Raises ServiceError."""

    def description(self, service: str) -> str | None:
        """The text of a model's parameter `vireo`, None where it has none. Raises UnknownServiceError, ServiceError."""

    def models(self) -> list[str]:
        """The names of the models that are served. Raises ServiceError."""

    def abort(self, service: str, sequence: str) -> None:
        """Free what a broken sequence holds on the server; never raises, for there is nothing more to be done."""

    def close(self) -> None:
        """Let go of every connection."""


class GrpcTransport:
    """A Triton server over gRPC. `url` is host:port. Nothing is sent before the first question."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = None

    def connect(self, service: str) -> contextlib.AbstractContextManager[Connection]:
        """See `Transport.connect`."""
        return contextlib.closing(_GrpcConnection(self.url, service))

    def description(self, service: str) -> str | None:
        """See `Transport.description`."""
        with self._errors(f"reading the configuration of {service!r}") as client:
            config = client.get_model_config(service, client_timeout=_SHORT_SECONDS).config
            return config.parameters["vireo"].string_value if "vireo" in config.parameters else None

    def models(self) -> list[str]:
        """See `Transport.models`.

        The repository index belongs to the model-control API, which servers close; the statistics name every model too.
        """
        with self._errors("listing the services") as client:
            statistics = client.get_inference_statistics(client_timeout=_SHORT_SECONDS)
            return sorted({entry.name for entry in statistics.model_stats})

    def abort(self, service: str, sequence: str) -> None:
        """See `Transport.abort`. Over a call of its own: behind the stream's other requests it would wait."""
        with contextlib.suppress(ServiceError), self._errors(f"freeing a sequence of {service!r}") as client:
            client.infer(
                service,
                _inputs(abort_request()),
                sequence_id=sequence,
                sequence_start=True,
                sequence_end=True,
                client_timeout=_SHORT_SECONDS,
            )

    def close(self) -> None:
        """See `Transport.close`."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[Any]:
        with transport_errors(self.url, doing):
            if self._client is None:
                self._client = _new_client(self.url)
            yield self._client


class _GrpcConnection:
    """One sequence: a gRPC stream of its own."""

    def __init__(self, url: str, service: str) -> None:
        self._url, self._service = url, service
        self.sequence = str(uuid.uuid4())
        self._replies: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._error: ServiceError | None = None
        self._doing = f"service {service!r}"
        self._client = _new_client(url)
        with transport_errors(url, self._doing):
            self._client.start_stream(callback=lambda result, error: self._replies.put((result, error)))

    def send(self, request: Request) -> None:
        """See `Connection.send`."""
        with transport_errors(self._url, self._doing):
            self._client.async_stream_infer(
                self._service,
                _inputs(request),
                sequence_id=self.sequence,
                sequence_start=request.start,
                sequence_end=request.end,
            )

    def receive(self, *, seconds: float) -> WireReply | None:
        """See `Connection.receive`."""
        if self._error is not None:
            raise self._error
        try:
            result, error = self._replies.get(timeout=seconds)
        except queue.Empty:
            return None
        if error is not None:
            self._error = transport_error(error, url=self._url, doing=self._doing)
            raise self._error
        return _reply(result)

    def close(self) -> None:
        """See `Connection.close`."""
        # Not gracefully: that would wait for replies that nobody wants any more.
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


def _new_client(url: str) -> Any:
    from tritonclient.grpc import InferenceServerClient

    return InferenceServerClient(url)


def _inputs(request: Request) -> list[Any]:
    from tritonclient.grpc import InferInput

    def tensor(name: str, values: np.ndarray[Any, Any], datatype: str) -> Any:
        entry = InferInput(name, list(values.shape), datatype)
        entry.set_data_from_numpy(values)
        return entry

    return [
        tensor("STREAM", _bytes_array([request.stream.encode()]), "BYTES"),
        tensor("PACKETS", _bytes_array(request.packets), "BYTES"),
        tensor("PACKET_TIMING", request.timing, "INT64"),
        tensor("CHUNK", np.array([request.chunk], np.int64), "INT64"),
    ]


def _bytes_array(values: Sequence[bytes]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


def _reply(result: Any) -> WireReply:
    packets, timing, report = (result.as_numpy(name) for name in ("OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"))
    if report is None or not report.size:
        raise FaultError("the service's reply has no REPORT; it is no Vireo service, or of another version")
    data = [] if packets is None else [bytes(entry) for entry in packets.reshape(-1)]
    rows = np.zeros((0, 4), np.int64) if timing is None else np.asarray(timing, np.int64).reshape(-1, 4)
    return data, rows, bytes(report.reshape(-1)[0])


def wait_error(url: str, *, seconds: float, what: str) -> WaitError:
    """The error for a reply that did not come: it says what was waited for."""
    return WaitError(
        f"waited {seconds:g} s for {what} from {url!r} and nothing came; look at the server's log and its load, "
        "or allow more time"
    )
