# SPDX-License-Identifier: MIT
"""The device's streams, and TensorRT whose contexts compute with ONNX Runtime in the device's memory.

What TensorRT-RTX does without a GPU (parsing, building, all names and enumerations) is the library's own; the context's
part is as strict as its: shapes must be in the profile that was chosen, memory is read and written at the addresses
that were told, and what is captured is not run.
"""

import ctypes
import sys
import types
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

CAPABILITY = "8.9"


class Stream:
    """One stream, on which everything is done at once, or kept while it is captured."""

    current = None

    def __init__(self, non_blocking=False):
        self.ptr, self.captured, self.replays, self.waited = id(self), None, 0, []
        BY_ADDRESS[self.ptr] = self

    def __enter__(self):
        self._before, Stream.current = Stream.current, self
        return self

    def __exit__(self, *error):
        Stream.current = self._before

    def record(self):
        return self

    def wait_event(self, event):
        self.waited.append(event)

    def synchronize(self):
        pass

    def begin_capture(self):
        self.captured = []

    def end_capture(self):
        captured, self.captured = self.captured, None

        def launch(stream):
            stream.replays += 1
            for work in captured:
                work()

        return SimpleNamespace(launch=launch)

    def do(self, work):
        work() if self.captured is None else self.captured.append(work)


BY_ADDRESS = {}


class CUDARuntimeError(RuntimeError):
    pass


@pytest.fixture
def machine(stand_in):
    """What is tried here needs a device that is made up."""
    return stand_in


@pytest.fixture
def cupy(machine):
    """CuPy with one GPU, an L4."""

    class Device(nullcontext):
        compute_capability = CAPABILITY.replace(".", "")

        def __init__(self, number):
            super().__init__(self)
            self.id = number

        def use(self):
            return self

    machine.cuda.Device, machine.cuda.Stream = Device, Stream
    machine.cuda.get_current_stream = lambda: Stream.current or Stream()
    machine.cuda.runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=lambda number: {"name": b"NVIDIA L4"},
        memGetInfo=lambda: (8 << 30, 24 << 30),
    )
    yield machine
    BY_ADDRESS.clear()


class Context:
    """An execution context that computes an ONNX network on the host."""

    def __init__(self, trt, model, settings, strategy):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._profiles, self.strategy = settings.profiles, strategy
        self.profile, self.shapes, self._addresses = -1, {}, {}
        self.runs, self.graphs_fail = 0, False

    def set_optimization_profile_async(self, number, stream):
        self.profile, self.shapes = number, {}
        return True

    def set_input_shape(self, name, shape):
        shape = tuple(shape)
        if len(shape) == 4 and isinstance(self._value(name).shape[2], str):
            smallest, _, largest = self._profiles[self.profile]
            if not all(a <= b <= c for a, b, c in zip(smallest, shape[:1:-1], largest, strict=True)):
                return False
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        inputs = {each: np.zeros(shape, _dtype(self._value(each))) for each, shape in self.shapes.items()}
        return self._session.run(None, inputs)[0].shape

    def execute_async_v3(self, address):
        stream = BY_ADDRESS[address]
        if self.graphs_fail and stream.captured is not None:
            return False
        stream.do(self._compute)
        return True

    def _compute(self):
        self.runs += 1
        inputs = {name: self._at(name, shape) for name, shape in self.shapes.items()}
        (output,) = self._session.run(None, inputs)
        self._at(self._session.get_outputs()[0].name, output.shape)[...] = output

    def _at(self, name, shape):
        dtype = _dtype(self._value(name))
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)

    def _value(self, name):
        return next(x for x in (*self._session.get_inputs(), *self._session.get_outputs()) if x.name == name)


def _dtype(value):
    return np.dtype(
        {"tensor(uint8)": "u1", "tensor(int32)": "i4", "tensor(float)": "f4", "tensor(uint16)": "u2"}[value.type]
    )


class Engine:
    """An engine for a network, as far as it can be asked about its tensors; `fitting`: it is one of this library's."""

    def __init__(self, trt, model, settings):
        import onnxruntime

        self._trt, self._model, self._settings = trt, model, settings
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._inputs = {value.name: value for value in session.get_inputs()}
        self._all = {**self._inputs, **{value.name: value for value in session.get_outputs()}}
        self.num_io_tensors, self.contexts = len(self._all), []

    def get_tensor_name(self, index):
        return list(self._all)[index]

    def get_tensor_mode(self, name):
        return self._trt.TensorIOMode.INPUT if name in self._inputs else self._trt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return [size if isinstance(size, int) else -1 for size in self._all[name].shape]

    def get_tensor_dtype(self, name):
        types = {"u1": "UINT8", "i4": "INT32", "f4": "FLOAT"}
        return getattr(self._trt.DataType, types[_dtype(self._all[name]).str[1:]])

    def create_runtime_config(self):
        cache = SimpleNamespace(deserialize=lambda data: self.known.append(data), serialize=lambda: b"kernels")
        self.known = []
        return SimpleNamespace(
            create_runtime_cache=lambda: cache,
            set_runtime_cache=lambda given: True,
            set_execution_context_allocation_strategy=lambda strategy: None,
        )

    def create_execution_context(self, strategy):
        self.contexts.append(Context(self._trt, self._model, self._settings, strategy))
        return self.contexts[-1]


@pytest.fixture
def engines(cupy, monkeypatch):
    """`engines(library, model, settings)`: from now on that library's engines are of that network, on the host. All
    else is TensorRT-RTX's own, under both names. Returns the list of engines that were loaded."""
    real = pytest.importorskip("tensorrt_rtx", reason="no tensorrt_rtx: pip install tensorrt-rtx-cu12==1.7.1.116")

    def stand_in(library, model, settings):
        module, loaded = types.ModuleType(library), []
        module.__dict__.update({name: value for name, value in vars(real).items() if not name.startswith("__")})
        module.__version__ = real.__version__

        def deserialize(data):
            assert len(data) > 0
            loaded.append(Engine(real, model, settings))
            loaded[-1].data = data
            return loaded[-1]

        module.Runtime = lambda log: SimpleNamespace(deserialize_cuda_engine=deserialize)
        monkeypatch.setitem(sys.modules, library, module)
        return loaded

    return stand_in
