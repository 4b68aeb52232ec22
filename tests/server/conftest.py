# SPDX-License-Identifier: MIT
"""A fake of Triton's Python backend: stages run in a test's own process. It replaces no test on the real server."""

import json
import sys
import types
from enum import Enum
from typing import ClassVar

import av
import numpy as np
import pytest
from vireo_media.description import StreamDescription


class FakeTensor:
    def __init__(self, name, array):
        self._name, self._array = name, array

    def name(self):
        return self._name

    def is_cpu(self):
        return isinstance(self._array, np.ndarray) or not hasattr(self._array, "__dlpack_device__")

    def as_numpy(self):
        assert self.is_cpu(), "Triton refuses to give a tensor on a GPU as numpy's array"
        return self._array

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, *, stream=None):
        return self._array.__dlpack__(stream=stream)

    @classmethod
    def from_dlpack(cls, name, array):
        assert array.flags.c_contiguous, "Triton takes C-contiguous arrays only"
        return cls(name, array)


class FakeMetricFamily:
    """Adds up; `readings` is shared by all families, as Triton's metrics are by all models."""

    COUNTER, GAUGE = "counter", "gauge"
    readings: ClassVar[dict] = {}

    def __init__(self, *, name, description, kind):
        assert (kind in (self.COUNTER, self.GAUGE), bool(description)) == (True, True)
        self._name = name

    def Metric(self, *, labels):  # noqa: N802 - Triton's name
        key = (self._name, *labels.values())
        self.readings.setdefault(key, 0)

        def increment(value):
            self.readings[key] += value

        def set_value(value):
            self.readings[key] = value

        return types.SimpleNamespace(increment=increment, set=set_value)


class FakeTritonError:
    class Code(Enum):
        INVALID_ARG = "INVALID_ARG"
        UNAVAILABLE = "UNAVAILABLE"
        INTERNAL = "INTERNAL"
        CANCELLED = "CANCELLED"

    INVALID_ARG, UNAVAILABLE, INTERNAL, CANCELLED = Code

    def __init__(self, message, code=Code.INTERNAL):
        self.text, self.code = message, code


class FakeResponse:
    def __init__(self, output_tensors, error=None):
        self.tensors = {tensor.name(): tensor._array for tensor in output_tensors}
        self.error = error


class FakeSender:
    def __init__(self, request):
        self._request = request

    def send(self, response, flags):
        assert self._request.response is None, "a request is answered once"
        self._request.response = response
        self._request.answered.set()

    def is_cancelled(self):
        return self._request.cancelled


class FakeRequest:
    """What `execute` is given: tensors by name, flags, correlation id."""

    def __init__(self, tensors, *, stream="s", start=False, end=False, cancelled=False):
        import threading

        self.tensors, self._stream, self._flags = tensors, stream, (1 if start else 0) | (2 if end else 0)
        self.cancelled = cancelled
        self.response = None
        self.answered = threading.Event()

    def get_response_sender(self):
        return FakeSender(self)

    def flags(self):
        return self._flags

    def correlation_id(self):
        return self._stream

    def inputs(self):
        return [FakeTensor(name, array) for name, array in self.tensors.items()]

    def wait(self):
        assert self.answered.wait(20), "no answer within 20 s"
        return self.response


@pytest.fixture(scope="session", autouse=True)
def triton_python_backend_utils():
    """Put the fake where `import triton_python_backend_utils` finds it."""
    fake = types.ModuleType("triton_python_backend_utils")
    fake.Tensor, fake.TritonError, fake.InferenceResponse = FakeTensor, FakeTritonError, FakeResponse
    fake.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1

    def get_input_tensor_by_name(request, name):
        array = request.tensors.get(name)
        return None if array is None else FakeTensor(name, array)

    fake.get_input_tensor_by_name = get_input_tensor_by_name
    fake.MetricFamily = FakeMetricFamily
    fake.Logger = types.SimpleNamespace(log_error=print, log_warn=print)
    sys.modules["triton_python_backend_utils"] = fake
    yield fake
    del sys.modules["triton_python_backend_utils"]


@pytest.fixture
def text():
    """A BYTES tensor of one element, from text or from what becomes JSON."""

    def make(value):
        data = value if isinstance(value, str) else json.dumps(value)
        return np.array([data.encode()], dtype=np.object_)

    return make


@pytest.fixture
def request_of():
    """A fake request: `request_of({name: array}, chunk=0, start=True)`."""

    def make(tensors, *, chunk=None, **flags):
        chunks = {} if chunk is None else {"CHUNK": np.array([chunk], np.int64)}
        return FakeRequest({**tensors, **chunks}, **flags)

    return make


@pytest.fixture(scope="session")
def demuxed():
    """`demuxed(path)`: the stream's description and its packets: (bytes, row of PACKET_TIMING)."""

    def demux(path, **more):
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            packets = [
                (bytes(packet), np.array([packet.pts, packet.dts, packet.duration, int(packet.is_keyframe)], np.int64))
                for packet in source.demux(stream)
                if packet.size
            ]
            description = StreamDescription(
                codec=stream.codec_context.codec.canonical_name,
                time_base=(stream.time_base.numerator, stream.time_base.denominator),
                width=stream.width,
                height=stream.height,
                extradata=stream.codec_context.extradata or b"",
                **more,
            )
        return description, packets

    return demux
