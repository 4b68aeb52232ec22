# SPDX-License-Identifier: MIT
"""Where an array lies decides which implementation runs; arrays are never moved to the other side."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from vireo_kernels.arguments import Array, describe, require_array, require_writable

# DLPack's device types.
_HOST = {1: "the host", 3: "the host (pinned)"}
_CUDA = {2, 13}


@dataclass(frozen=True)
class Device:
    """The side of an operation: the host (`cuda` None) or a CUDA device by its number."""

    cuda: int | None

    def __str__(self) -> str:
        return "the host" if self.cuda is None else f"CUDA device {self.cuda}"

    @property
    def xp(self) -> Any:
        """The array module of this side: numpy or CuPy. Raises ImportError where CuPy is missing."""
        if self.cuda is None:
            return np
        from vireo_kernels.cuda.runner import import_cupy

        return import_cupy("device")

    def synchronize(self) -> None:
        """Wait until what this thread began on a CUDA device is done; the host never has anything under way."""
        if self.cuda is not None:
            cupy = self.xp
            with cupy.cuda.Device(self.cuda):
                cupy.cuda.get_current_stream().synchronize()

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An array of this side, not initialised."""
        if self.cuda is None:
            return np.empty(shape, np.dtype(dtype))
        return _runner(self.cuda).empty(shape, dtype)

    def run(self, module: str, function: str, *arguments: Any, **options: Any) -> None:
        """Call this side's version of an operation: `cpu/<module>.py` or `cuda/<module>.py`."""
        side = "cpu" if self.cuda is None else "cuda"
        if self.cuda is not None:
            options["runner"] = _runner(self.cuda)
        getattr(import_module(f"vireo_kernels.{side}.{module}"), function)(*arguments, **options)


def _runner(number: int) -> Any:
    from vireo_kernels.cuda.runner import runner_of

    return runner_of(number)


def device_of(function: str, name: str, array: object) -> Device:
    """Where an array lies.

    Raises:
        TypeError: it is no array that speaks DLPack.
        ValueError: it lies on a device of another kind.
    """
    if isinstance(array, np.ndarray):
        return Device(None)
    ask = getattr(array, "__dlpack_device__", None)
    if ask is None:
        raise TypeError(
            f"{function}: {name} is a {type(array).__name__}; it must be a numpy array, or an array of a CUDA device "
            "that has __dlpack__ (CuPy, PyTorch, ...)"
        )
    kind, number = int(ask()[0]), int(ask()[1])
    if kind in _HOST:
        return Device(None)
    if kind in _CUDA:
        return Device(number)
    raise ValueError(
        f"{function}: {name} {describe(array)} lies on a device of DLPack type {kind}; it must lie on the host or on a "
        "CUDA device"
    )


class _Borrowed:
    """Another library's memory, described as numpy wants it; keeps the array that owns it."""

    def __init__(self, owner: object, view: np.ndarray[Any, Any]) -> None:
        self._owner = owner
        interface = view.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _borrowed(array: Array, *, writable: bool) -> np.ndarray[Any, Any]:
    """A numpy view of another library's array on the host.

    numpy 1.26 takes every DLPack array for read-only, but a result that a caller hands over is there to be written to.
    """
    view: np.ndarray[Any, Any] = np.from_dlpack(array)
    return np.asarray(_Borrowed(array, view)) if writable else view


def adopt(function: str, **arrays: Array | None) -> tuple[Device, list[Any]]:
    """The common side of some arrays, and views of them as numpy's or CuPy's; None stays None.

    Raises:
        ImportError: an array lies on a CUDA device and CuPy is missing; the message has the line that installs it.
        TypeError: an argument is no array.
        ValueError: the arrays lie on different sides.
    """
    places = {name: device_of(function, name, array) for name, array in arrays.items() if array is not None}
    device = next(iter(places.values()))
    if any(place != device for place in places.values()):
        found = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise ValueError(f"{function}: arrays lie on different sides: {found}; bring them to one side first")
    if device.cuda is None:
        return device, [
            array if array is None or isinstance(array, np.ndarray) else _borrowed(array, writable=name == "out")
            for name, array in arrays.items()
        ]
    from vireo_kernels.cuda.runner import import_cupy

    cupy = import_cupy(function)
    return device, [
        array if array is None or isinstance(array, cupy.ndarray) else cupy.from_dlpack(array)
        for array in arrays.values()
    ]


def result_array(function: str, device: Device, given: Array | None, dtype: str, shape: tuple[int, ...]) -> Array:
    """The array for a result: the given one once it is checked, or a new one on this side."""
    if given is None:
        return device.empty(shape, dtype)
    require_array(function, "out", given, dtypes=(dtype,), shape=shape)
    require_writable(function, "out", given)
    return given
