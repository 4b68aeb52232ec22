# SPDX-License-Identifier: MIT
"""The way to a Triton server over gRPC.

# Note [A gRPC stream for each sequence]
Replies of one gRPC stream come in the order of its requests, so one slow sequence would hold up the others: each
sequence has its own, all over one channel.

# Note [Error codes inside a stream]
Inside a stream Triton carries an error's text alone, without its code. Its header `triton_grpc_error` would bring the
code by ending the stream, but Triton 2.51 then often dies of it (SIGSEGV in HandleCancellation) when further requests
of that stream are being worked on, which is always. So stages end their messages with the code in brackets.

# Note [Why tritonclient's own stream is not used]
Its `stop_stream` either waits without a bound, or, told to cancel, leaves a thread behind for each stream. Its protocol
buffers and stubs are all that is needed.
"""

import contextlib
import itertools
import json
import os
import queue
import re
import secrets
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vireo_media.errors import OptionError
from vireo_media.exchange import Request, abort_request
from vireo_media.times import timing_rows
from vireo_media.versions import VERSIONS

from vireo_client.errors import FaultError, ServiceError, stream_error, transport_error, transport_errors
from vireo_client.transport import Connection, ModelConfiguration, Tensor, WireReply

__all__ = ["GrpcTransport"]

_SHORT_SECONDS = 10.0
"""How long a question that costs a server nothing may take."""
_ABORT_SECONDS = 3.0
"""How long freeing a sequence may take: it goes to the first stage's door, or that stage is dead."""


class GrpcTransport:
    """A Triton server over gRPC. Nothing is sent before the first question.

    `url` is host:port, or https://host:port for TLS. With TLS the environment variable VIREO_TOKEN is sent as a bearer
    token, and VIREO_CA_FILE names the certificates to trust instead of the well-known ones.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._channels: dict[str, Any] = {}
        self._retired: list[Any] = []
        self._steps: dict[str, list[str]] = {}
        self._signs: set[Any] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def connect(self, service: str, *, label: str = "") -> Iterator[Connection]:
        """See `Transport.connect`."""
        connection = _GrpcConnection(self._stub(), self.url, service, sequence=sequence_id(service, label=label))
        try:
            yield connection
        finally:
            connection.close()

    def configuration(self, model: str) -> ModelConfiguration:
        """See `Transport.configuration`."""
        config = self._config(model, self._stub())
        texts = {name: value.string_value for name, value in config.parameters.items()}
        return ModelConfiguration(
            description=texts.get("vireo"),
            versions=texts.get(VERSIONS),
            inputs=_tensors(config.input),
            outputs=_tensors(config.output),
        )

    def models(self) -> list[str]:
        """See `Transport.models`.

        The repository index belongs to the model-control API, which servers close; the statistics name every model too.
        """
        from tritonclient.grpc import service_pb2

        with transport_errors(self.url, "listing the services"):
            request = service_pb2.ModelStatisticsRequest()
            statistics = self._stub().ModelStatistics(request, timeout=_SHORT_SECONDS)
        return sorted({entry.name for entry in statistics.model_stats})

    def abort(self, service: str, sequence: str) -> None:
        """See `Transport.abort`. Over a call of its own: behind the stream's other requests it would wait."""
        with contextlib.suppress(ServiceError), transport_errors(self.url, f"freeing a sequence of {service!r}"):
            message = _message(service, sequence, abort_request())
            self._stub().ModelInfer(message, timeout=_ABORT_SECONDS)

    def stage_counts(self, service: str) -> Mapping[str, int] | None:
        """See `Transport.stage_counts`. The ensemble itself comes and goes with its stages.

        It has no count: it is also loaded again when new runs go to another version, which touches no stream.
        """
        from tritonclient.grpc import service_pb2

        stub = self._stub("side")
        steps = self._steps_of(service, stub)
        with transport_errors(self.url, f"watching {service!r}"):
            statistics = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=_SHORT_SECONDS)
        found = {entry.name: entry.inference_count for entry in statistics.model_stats}
        counts = {name: found.get(name, -1) for name in steps}
        return {**counts, service: min(counts[service], 0)}

    def keep_alive(self, service: str, sequences: Sequence[str], *, computing: Callable[[], None]) -> None:
        """See `Transport.keep_alive`: a request to the first stage alone, with no packets and chunk -1."""
        steps = self._steps.get(service)
        if not steps or not sequences:
            return

        def answered(call: Any) -> None:
            if not _computing(call).isdisjoint(steps):
                computing()

        for sequence in sequences:
            self._sign(steps[0], sequence)
        # Triton refuses signs of a sequence whose END was sent, whose reply takes longest: one of its own asks.
        self._sign(steps[0], sequence_id(service, label="asking"), whole=True).add_done_callback(answered)

    def _sign(self, stage: str, sequence: str, *, whole: bool = False) -> Any:
        """Send a life sign, which is a `whole` sequence or one of another's requests; gives the call."""
        sign = Request(stream="", packets=[], timing=timing_rows([]), chunk=-1, start=whole, end=whole)
        call = self._stub("side").ModelInfer.future(_message(stage, sequence, sign), timeout=_ABORT_SECONDS)
        # gRPC cancels a call that nobody refers to, often before it was sent.
        self._signs.add(call)
        call.add_done_callback(self._signs.discard)
        return call

    def reconnect(self) -> None:
        """See `Transport.reconnect`. What hangs in the old connections is for those who wait there to give up."""
        with self._lock:
            self._retired += self._channels.values()
            self._channels = {}

    def close(self) -> None:
        """See `Transport.close`."""
        with self._lock:
            channels = [*self._retired, *self._channels.values()]
            self._retired, self._channels = [], {}
        for channel in channels:
            channel.close()

    def _config(self, model: str, stub: Any) -> Any:
        from tritonclient.grpc import service_pb2

        with transport_errors(self.url, f"reading the configuration of {model!r}"):
            return stub.ModelConfig(service_pb2.ModelConfigRequest(name=model), timeout=_SHORT_SECONDS).config

    def _steps_of(self, service: str, stub: Any) -> list[str]:
        if service not in self._steps:
            scheduling = self._config(service, stub).ensemble_scheduling
            self._steps[service] = [*dict.fromkeys(step.model_name for step in scheduling.step), service]
        return self._steps[service]

    def _stub(self, purpose: str = "main") -> Any:
        from tritonclient.grpc import service_pb2_grpc

        with self._lock:
            if purpose not in self._channels:
                # Each purpose has a connection of its own, or a slow upload would hold up the questions beside it.
                options = (*_CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
                self._channels[purpose] = _channel(self.url, options)
            return service_pb2_grpc.GRPCInferenceServiceStub(self._channels[purpose])


def _channel(url: str, options: Sequence[tuple[str, Any]]) -> Any:
    import grpc  # type: ignore[import-untyped]

    scheme, separator, address = url.rpartition("://")
    if separator and scheme not in ("http", "https"):
        raise OptionError(f"client: {url!r} is no address; allowed are host:port and https://host:port")
    if scheme != "https":
        return grpc.insecure_channel(address, options=options)
    roots = None
    if file := os.environ.get("VIREO_CA_FILE"):
        try:
            roots = Path(file).read_bytes()
        except OSError as error:
            raise OptionError(
                f"client: VIREO_CA_FILE {file!r} cannot be read ({error.strerror}); name a file of PEM certificates"
            ) from error
    credentials = grpc.ssl_channel_credentials(roots)
    if token := os.environ.get("VIREO_TOKEN"):
        caller = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, caller)
    return grpc.secure_channel(address, credentials, options=options)


def _tensors(entries: Any) -> tuple[Tensor, ...]:
    from tritonclient.grpc import model_config_pb2

    def datatype(number: int) -> str:
        name = str(model_config_pb2.DataType.Name(number)).removeprefix("TYPE_")
        return "BYTES" if name == "STRING" else name

    return tuple(
        Tensor(name=entry.name, datatype=datatype(entry.data_type), dims=tuple(entry.dims)) for entry in entries
    )


def sequence_id(service: str, *, label: str) -> str:
    """A new correlation id, `vireo:<service>:<label>:<random>`, within the 128 characters that Triton allows.

    Its beginning tells the server that life signs come for it.
    """
    label = re.sub(r"[^0-9A-Za-z._:-]", "-", label)[:60]
    return f"vireo:{service[:30]}:{label}:{secrets.token_hex(8)}"


_CHANNEL_OPTIONS = (
    # A chunk of coded 8K intra pictures is larger than gRPC's 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that restarts is back in seconds; gRPC would look again after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_CLOSE_SECONDS = 2.0


class _GrpcConnection:
    """One sequence: a gRPC stream of its own, and a thread that takes its replies."""

    def __init__(self, stub: Any, url: str, service: str, *, sequence: str) -> None:
        self._url, self._service = url, service
        self.sequence = sequence
        self._doing = f"service {service!r}"
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[WireReply | ServiceError] = queue.SimpleQueue()
        self._error: ServiceError | None = None
        self._call = stub.ModelStreamInfer(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, name="vireo-replies", daemon=True)
        self._reader.start()

    def send(self, request: Request) -> None:
        """See `Connection.send`."""
        self._requests.put(_message(self._service, self.sequence, request))

    def receive(self, *, seconds: float) -> WireReply | None:
        """See `Connection.receive`."""
        if self._error is not None:
            raise self._error
        try:
            reply = self._replies.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(reply, ServiceError):
            self._error = reply
            raise reply
        return reply

    def close(self) -> None:
        """See `Connection.close`."""
        # The server ends the stream by itself when all was answered, and an abort answers all. To cancel while replies
        # are on their way is a race inside Triton 2.51, of which it dies now and then.
        self._requests.put(None)
        self._reader.join(timeout=_CLOSE_SECONDS)
        self._call.cancel()
        self._reader.join(timeout=_CLOSE_SECONDS)

    def _read(self) -> None:
        import grpc

        try:
            for response in self._call:
                if response.error_message:
                    self._replies.put(stream_error(response.error_message, url=self._url, doing=self._doing))
                else:
                    self._replies.put(_reply(response.infer_response))
        except grpc.RpcError as error:
            self._replies.put(transport_error(error, url=self._url, doing=self._doing))
        except ServiceError as error:
            self._replies.put(error)


def _message(service: str, sequence: str, request: Request) -> Any:
    """A request as Triton's protocol buffer."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name=service, id=str(request.chunk))
    message.parameters["sequence_id"].string_param = sequence
    message.parameters["sequence_start"].bool_param = request.start
    message.parameters["sequence_end"].bool_param = request.end
    timing = np.ascontiguousarray(request.timing, dtype="<i8")
    for name, datatype, shape, content in (
        ("STREAM", "BYTES", (1,), _join([request.stream.encode()])),
        ("PACKETS", "BYTES", (len(request.packets),), _join(request.packets)),
        ("PACKET_TIMING", "INT64", timing.shape, timing.tobytes()),
        ("CHUNK", "INT64", (1,), struct.pack("<q", request.chunk)),
    ):
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_input_contents.append(content)
    return message


def _join(elements: Sequence[bytes]) -> bytes:
    """Triton's BYTES: each element after its length (u32, little endian)."""
    return b"".join(itertools.chain.from_iterable((struct.pack("<I", len(data)), data) for data in elements))


def _split(content: bytes) -> list[bytes]:
    elements, position = [], 0
    while position < len(content):
        (length,) = struct.unpack_from("<I", content, position)
        elements.append(content[position + 4 : position + 4 + length])
        position += 4 + length
    return elements


def _reply(response: Any) -> WireReply:
    contents = dict(zip((output.name for output in response.outputs), response.raw_output_contents, strict=True))
    if {"TIMING", "REPORT"} <= set(contents):
        tensors = {output.name: _numbers(output, contents[output.name]) for output in response.outputs}
        report = _split(contents["REPORT"])[0]
        return [], tensors.pop("TIMING"), report, {name: each for name, each in tensors.items() if name != "REPORT"}
    missing = {"OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"} - set(contents)
    if missing:
        raise FaultError(
            f"model {response.model_name!r} gave {', '.join(sorted(contents)) or 'nothing'}, not "
            f"{', '.join(sorted(missing))}; "
            "it is no Vireo service, or of another version"
        )
    timing = np.frombuffer(contents["OUTPUT_TIMING"], dtype="<i8").reshape(-1, 4)
    return _split(contents["OUTPUT_PACKETS"]), timing, _split(contents["REPORT"])[0], {}


_DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4", "UINT8": "u1"}


def _computing(call: Any) -> set[str]:
    """The models that compute, by the answer to a life sign; none where there was none, or an older server's."""
    if call.cancelled() or call.exception() is not None:
        return set()
    response = call.result()
    contents = zip(response.outputs, response.raw_output_contents, strict=True)
    formats = [json.loads(_split(content)[0]) for output, content in contents if output.name == "FORMAT"]
    return {model for format in formats for model in format["report"].get("computing", ())}


def _numbers(output: Any, content: bytes) -> npt.NDArray[Any]:
    """A tensor of numbers; of others, which have no numbers, nothing."""
    if output.datatype not in _DTYPES:
        return np.empty(0)
    return np.frombuffer(content, dtype=_DTYPES[output.datatype]).reshape(list(output.shape))
