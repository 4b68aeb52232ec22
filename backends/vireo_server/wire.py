# SPDX-License-Identifier: MIT
"""Triton's Python backend as plain values: the one module, besides the doors, that touches it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from vireo_kernels.devices import Device, device_of

from vireo_server.errors import BadInput, Internal, StageError

Array = npt.NDArray[Any]
#: An array where it lies: numpy's, or CuPy's on a CUDA device.
Pixels = Any
Tensors = Mapping[str, "Pixels | str | list[bytes]"]


def _triton() -> Any:
    """Triton's module, which exists inside its processes only: `vireo script` runs stages without it."""
    import triton_python_backend_utils

    return triton_python_backend_utils


_MOST_MESSAGE_BYTES = 4000
_ROOM_SECONDS, _LOOK_SECONDS = 20.0, 0.005
_START, _END = 1, 2  # TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END


class Request:
    """One request of one stream.

    `stream` is the correlation id, `start` and `end` the sequence flags. Arrays that it gives are views of Triton's
    memory: on the host valid until the request is answered, on a device until `execute` returns. A request that is
    answered later is told to `keep` what lies on a device.

    # Note [Whose memory an input on a device is]
    Triton 2.51 releases a request when `execute` returns, whenever it is answered (tried), and with it what only this
    request still held of the GPU's pool, which then goes to another chunk. What lies on the host was copied into memory
    that this process shares, and stays.
    """

    def __init__(self, request: Any, *, stage: str) -> None:
        self._request, self._stage = request, stage
        self._sender = request.get_response_sender()
        flags = request.flags()
        self.stream = str(request.correlation_id())
        self.start, self.end = bool(flags & _START), bool(flags & _END)
        self._device: Device | None = None
        self._kept: dict[str, Pixels] = {}
        self._lost: Exception | None = None

    def keep(self) -> None:
        """Copy what lies on a device into memory of ours, before `execute` returns; see the note.

        Where there is no room it waits for what earlier requests hold, and so do those behind it. Where it fails the
        input cannot be read, and whoever asks for it is told.
        """
        end = time.monotonic() + _ROOM_SECONDS
        for tensor in self._request.inputs():
            while not tensor.is_cpu() and self._lost is None and tensor.name() not in self._kept:
                try:
                    kept = _on_device(tensor).copy()
                    device_of(self._stage, tensor.name(), kept).synchronize()
                    self._kept[tensor.name()] = kept
                except MemoryError as error:
                    self._lost = error if time.monotonic() > end else None
                    time.sleep(_LOOK_SECONDS)
                except RuntimeError as error:
                    self._lost = error

    def array(self, name: str) -> Array:
        """A numeric input tensor on the host; BYTES come as an object array of `bytes`. For what is small: pixels and
        results are asked for with `pixels`, so that what crosses to the host is counted."""
        tensor = self._tensor(name)
        array: Array = tensor.as_numpy() if tensor.is_cpu() else self._placed(name, tensor).get()
        return array

    def pixels(self, name: str) -> Pixels:
        """A numeric input tensor on whichever side it lies, not copied: numpy's array, or CuPy's."""
        tensor = self._tensor(name)
        if tensor.is_cpu():
            return tensor.as_numpy()
        return self._placed(name, tensor)

    def _placed(self, name: str, tensor: Any) -> Pixels:
        """An input on a device: the copy that was kept, or Triton's own."""
        if self._lost is not None:
            raise Internal(
                f"input {name} could not be copied on the GPU: {self._lost}; serve fewer streams or services there",
                stage=self._stage,
            )
        if name in self._kept:
            return self._kept[name]
        pixels = _on_device(tensor)
        self._device = device_of(self._stage, name, pixels)
        return pixels

    def _tensor(self, name: str) -> Any:
        tensor = _triton().get_input_tensor_by_name(self._request, name)
        if tensor is None:
            raise BadInput(f"input {name} is missing; send every input of the model", stage=self._stage)
        return tensor

    def has(self, name: str) -> bool:
        """Whether an input that the model's configuration calls optional came."""
        return _triton().get_input_tensor_by_name(self._request, name) is not None

    def texts(self, name: str) -> list[bytes]:
        """A BYTES input as a list, one element a row."""
        return list(self.array(name).reshape(-1))

    def text(self, name: str) -> str:
        """A BYTES input of one element as text; empty when it has none."""
        elements = self.texts(name)
        try:
            return elements[0].decode("utf-8") if elements else ""
        except UnicodeDecodeError as error:
            raise BadInput(f"input {name} is not UTF-8 text ({error}); send JSON", stage=self._stage) from error

    def json(self, name: str) -> dict[str, Any]:
        """A BYTES input of one element that holds a JSON object; `{}` when it is empty."""
        text = self.text(name)
        try:
            value = json.loads(text) if text else {}
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadInput(f"input {name} is not JSON ({error}): {text[:80]!r}", stage=self._stage) from error
        if not isinstance(value, dict):
            raise BadInput(f"input {name} is {type(value).__name__}; send a JSON object", stage=self._stage)
        return value

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone: Triton saw the connection close."""
        return bool(self._sender.is_cancelled())

    def answer(self, tensors: Tensors) -> None:
        """Send the one reply of this request. Arrays of a CUDA device go out from there.

        What was given on a device and not kept may still be being read, and Triton hands its memory on soon.
        """
        outputs = [_to_tensor(name, value) for name, value in tensors.items()]
        if self._device is not None:
            self._device.synchronize()
        self._send(_triton().InferenceResponse(output_tensors=outputs))

    def refuse(self, error: StageError) -> None:
        """Answer with an error.

        # Note [Why the code stands in the message too]
        HTTP and unary gRPC carry an error's code; on a gRPC stream Triton drops it. Triton's own cure, the header
        `triton_grpc_error`, makes version 2.51 crash (signal 11 within some twenty errors). So a message ends with its
        code in brackets, and a caller can tell what to try again.
        """
        code = getattr(_triton().TritonError, error.code, _triton().TritonError.INTERNAL)
        message = f"{shortened(str(error))} [{error.code}]"
        self._send(_triton().InferenceResponse(output_tensors=[], error=_triton().TritonError(message, code)))

    def _send(self, response: Any) -> None:
        self._sender.send(response, flags=_triton().TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self._request = None  # Triton's memory goes back now, not when this object is collected
        self._kept.clear()


class LocalRequest(Request):
    """A request of no server, between stages that share a process: tensors by name, as the stages before left them."""

    def __init__(self, tensors: Tensors, *, start: bool, end: bool, stage: str) -> None:
        self._tensors, self._stage = tensors, stage
        self.stream, self.start, self.end = "local", start, end

    def has(self, name: str) -> bool:
        """See `Request.has`."""
        return name in self._tensors

    def array(self, name: str) -> Array:
        """See `Request.array`."""
        value = self._tensors[name]
        if isinstance(value, str):
            value = [value.encode()]
        if isinstance(value, list):
            array = np.empty(len(value), np.object_)
            array[:] = value
            return array
        return value  # type: ignore[no-any-return]

    def pixels(self, name: str) -> Pixels:
        """See `Request.pixels`."""
        return self._tensors[name]

    @property
    def cancelled(self) -> bool:
        """Never."""
        return False


def call_service(service: str, stream: str, tensors: Tensors, *, start: bool, end: bool, outputs: list[str]) -> Any:
    """Send one request of a sequence to another model of this server and wait for the answer.

    Returns a function that gives an output as an array, by name.

    Raises:
        CallFailed: the model answered with an error.
    """
    request = _triton().InferenceRequest(
        model_name=service,
        requested_output_names=outputs,
        inputs=[_triton().Tensor(name, _to_array(value)) for name, value in tensors.items()],
        correlation_id=stream,
        flags=(_START if start else 0) | (_END if end else 0),
    )
    response = request.exec()
    if response.has_error():
        raise CallFailed(response.error().message())
    return lambda name: _triton().get_output_tensor_by_name(response, name).as_numpy()


class CrossingCounter:
    """A counter of this server's metrics: called with a direction and a number of bytes, it adds them.

    There for every stage from the start, so that 0 is a reading and not a gap. One series a model, stage and direction.
    To be closed before the process ends: Triton 2.51's stub dies (signal 11) of metrics that outlive it. And one at a
    time is added: of two threads that add to one metric at once Triton itself dies (tried).
    """

    def __init__(self, model: str, stage: str) -> None:
        triton = _triton()
        self._family = triton.MetricFamily(
            name=CROSSINGS,
            description="Bytes of pixels and results that a stage copied between the host's memory and a GPU's",
            kind=triton.MetricFamily.COUNTER,
        )
        self._metrics = {
            direction: self._family.Metric(labels={"model": model, "stage": stage, "direction": direction})
            for direction in ("to_device", "to_host")
        }
        self._adding = threading.Lock()

    def __call__(self, direction: str, size: int) -> None:
        """Add bytes that crossed."""
        with self._adding:
            self._metrics[direction].increment(size)

    def close(self) -> None:
        """Take the metrics back; nothing can be counted any more."""
        self._metrics.clear()
        self._family = None


class Gauge:
    """A reading among this server's metrics, one series a model. To be closed, and to be told one thing at a time, as
    `CrossingCounter`."""

    def __init__(self, name: str, description: str, *, model: str, value: int) -> None:
        triton = _triton()
        self._family = triton.MetricFamily(name=name, description=description, kind=triton.MetricFamily.GAUGE)
        self._metric = self._family.Metric(labels={"model": model})
        self._telling, self._value = threading.Lock(), value
        self._metric.set(value)  # What a process that died left there may be something else.

    def __call__(self, value: int) -> None:
        """Say what it is now."""
        with self._telling:
            if value != self._value and self._metric is not None:
                self._metric.set(value)
                self._value = value

    def close(self) -> None:
        """Take it back; nothing is told any more."""
        with self._telling:
            self._metric = self._family = None


CROSSINGS = "vireo_host_device_bytes"
"""Name of the metric of `CrossingCounter`."""


def shortened(message: str) -> str:
    """A message that gRPC can carry: it takes 8 KB, and a message may quote what the caller sent."""
    data = message.encode("utf-8", errors="replace")
    if len(data) <= _MOST_MESSAGE_BYTES:
        return data.decode()
    half = _MOST_MESSAGE_BYTES // 2
    first, last = (part.decode(errors="ignore") for part in (data[:half], data[-half:]))
    return f"{first} ... {last}"


class CallFailed(Exception):
    """Another model of this server answered with an error; the message is its own."""


def log_error(message: str) -> None:
    """A line in Triton's log, as an error."""
    _triton().Logger.log_error(message)


def log_warning(message: str) -> None:
    """A line in Triton's log, as a warning; without a server, on standard error."""
    try:
        triton = _triton()
    except ModuleNotFoundError:
        print(f"warning: {message}", file=sys.stderr)
    else:
        triton.Logger.log_warn(message)


def _to_tensor(name: str, value: Pixels | str | list[bytes]) -> Any:
    """Triton's tensor. It takes a device's array only C-contiguous, and reads it at once: so it must be finished."""
    if isinstance(value, np.ndarray | str | list):
        return _triton().Tensor(name, _to_array(value))
    device = device_of("wire", name, value)
    value = device.xp.ascontiguousarray(value)
    device.synchronize()
    return _triton().Tensor.from_dlpack(name, value)


def _on_device(tensor: Any) -> Pixels:
    from vireo_kernels.cuda.runner import import_cupy

    return import_cupy("wire").from_dlpack(tensor)


def _to_array(value: Array | str | list[bytes]) -> Array:
    if isinstance(value, str):
        return np.array([value.encode("utf-8")], dtype=np.object_)
    if isinstance(value, list):
        array = np.empty(len(value), dtype=np.object_)
        array[:] = value
        return array
    return value
