# SPDX-License-Identifier: MIT
"""A GPU that is not there: CuPy's interface over the host's memory, with the CUDA kernels run on the host.

Stages take it for CUDA device 0. What would cross between host and device is refused where it would happen without a
word, and written down where it is asked for: so a test can hold what stages say that crossed against what did.
"""

from __future__ import annotations

import operator
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from vireo_kernels.cuda import runner as cuda_runner
from vireo_kernels.devices import Device
from vireo_server.side import Side


class DeviceArray:
    """An array on the device: has what the stages use of CuPy's, and refuses to become numpy's by itself."""

    def __init__(self, values, machine, base=None):
        self._values, self._machine, self.base = values, machine, base

    def __array__(self, *arguments, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function, *arguments):
        raise TypeError(f"numpy.{function.__name__} was called with an array of the device")

    __array_ufunc__ = None

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None):
        return self

    def get(self, *, out):
        self._machine.crossed["to_host"] += self.nbytes
        assert self._machine.is_pinned(out), "a copy to memory that is not pinned is slow"
        out[...] = self._values

    def set(self, values):
        assert values.shape == self.shape
        self._machine.crossed["to_device"] += self.nbytes
        self._values[...] = values

    @property
    def data(self):
        return SimpleNamespace(ptr=self._values.ctypes.data)

    @property
    def flags(self):
        return self._values.flags

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __getitem__(self, key):
        assert not isinstance(key, np.ndarray), "rows are named by an array of the device"
        return self._machine.wrapped(self._values[self._machine.bare(key)], base=self)

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("an array of the host was written into one of the device")
        self._values[self._machine.bare(key)] = self._machine.bare(value)

    def __getattr__(self, name):
        found = getattr(self._values, name)
        return self._machine.forwarded(found, base=self) if callable(found) else self._machine.wrapped(found)


def _operator(name):
    function = getattr(operator, name)
    return lambda left, right: left._machine.wrapped(function(left._values, left._machine.bare(right)))


def _reflected(name):
    function = getattr(operator, name)
    return lambda right, left: right._machine.wrapped(function(right._machine.bare(left), right._values))


for name in ("add", "sub", "mul", "floordiv", "mod", "rshift", "lshift", "and_", "or_", "eq", "gt", "lt", "ge", "le"):
    setattr(DeviceArray, f"__{name.strip('_')}__", _operator(name))
for name in ("add", "mul", "sub"):
    setattr(DeviceArray, f"__r{name}__", _reflected(name))


class Machine:
    """The module CuPy, and what it saw: bytes that `crossed`, how often the device was waited for."""

    ndarray = DeviceArray

    class device(nullcontext):  # noqa: N801 - what `cuda.Device(0)` makes
        compute_capability = "90"

        def use(self):
            pass

    def __init__(self, runner):
        self._runner, self._lock, self._pinned = runner, threading.Lock(), []
        self.crossed = {"to_device": 0, "to_host": 0}
        self.waits = 0
        stream = SimpleNamespace(synchronize=self._wait)
        self.cuda = SimpleNamespace(
            Device=lambda number: self.device(),
            get_current_stream=lambda: stream,
            alloc_pinned_memory=self._pin,
        )

    @property
    def module(self):
        return self

    def look(self, array):
        """An array's values, from outside: nothing crosses."""
        return array if isinstance(array, np.ndarray) else array._values

    def _wait(self):
        self.waits += 1

    def _pin(self, size):
        memory = bytearray(size)
        self._pinned.append(memory)
        return memory

    def is_pinned(self, array):
        address = array.ctypes.data
        return any(0 <= address - np.frombuffer(one, np.uint8).ctypes.data < len(one) for one in self._pinned)

    def bare(self, value):
        if isinstance(value, DeviceArray):
            return value._values
        if isinstance(value, list | tuple):
            return type(value)(self.bare(part) for part in value)
        return value

    def wrapped(self, value, *, base=None):
        """An array of the device; `base` is what it is part of, which lives as long."""
        return DeviceArray(value, self, base) if isinstance(value, np.ndarray) else value

    def forwarded(self, function, *, base=None):
        return lambda *given, **named: self.wrapped(
            function(*self.bare(given), **{name: self.bare(value) for name, value in named.items()}), base=base
        )

    def asarray(self, values):
        """The few numbers that say which rows are meant come this way; pictures may not."""
        assert isinstance(values, DeviceArray) or values.nbytes <= 4096, "pixels crossed without being counted"
        return values if isinstance(values, DeviceArray) else self.wrapped(values.copy())

    def from_dlpack(self, given):
        found = given if isinstance(given, DeviceArray) else given.__dlpack__()
        return found if isinstance(found, DeviceArray) else self.wrapped(np.from_dlpack(given))

    def __getattr__(self, name):
        function = getattr(np, name)

        def on_device(*given, **options):
            values = [value for part in given for value in (part if isinstance(part, list | tuple) else [part])]
            assert not any(isinstance(value, np.ndarray) for value in values), f"cupy.{name} was given numpy's array"
            return self.forwarded(function)(*given, **options)

        return on_device

    # What launches kernels.

    threads = (32, 4)

    def empty(self, shape, dtype):
        return self.wrapped(np.full(shape, 0xA5, dtype) if dtype == np.uint8 else np.empty(shape, dtype))

    def table(self, values):
        return self._runner.table(values)

    def address(self, array):
        return array.data.ptr if isinstance(array, DeviceArray) else array.ctypes.data

    def launch(self, source, kernel, *, items, arguments):
        with self._lock:  # The host's kernels keep their place in the grid in variables of their own.
            self._runner.launch(source, kernel, items=items, arguments=[self.bare(value) for value in arguments])


class RealMachine:
    """A GPU, with the words of the stand-in. What crosses cannot be seen from outside; what stages say of it can."""

    def __init__(self, cupy):
        self.module, self.wrapped = cupy, cupy.asarray
        self.crossed = self.waits = _Unseen()

    def look(self, array):
        return array if isinstance(array, np.ndarray) else array.get()


class _Unseen:
    """Equal to whatever is said of it."""

    __hash__ = None

    def __eq__(self, other):
        return True

    def __getitem__(self, key):
        assert not isinstance(key, np.ndarray), "rows are named by an array of the device"
        return self


@pytest.fixture
def stand_in(monkeypatch, host_runner):
    """The device that is not there; while it is, CuPy is it."""
    found = Machine(host_runner((32, 4)))
    monkeypatch.setattr(cuda_runner, "import_cupy", lambda function: found)
    monkeypatch.setattr(cuda_runner, "runner_of", lambda number: found)
    return found


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request):
    """What the stages work on: the device that is not there, and a GPU."""
    if request.param == "gpu":
        return RealMachine(request.getfixturevalue("gpu"))
    return request.getfixturevalue("stand_in")


@pytest.fixture
def side(machine):
    """The side of a stage on it."""
    found = Side(device=Device(0))
    found.enter()
    return found
