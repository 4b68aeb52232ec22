# SPDX-License-Identifier: MIT
"""What the runtimes of a GPU share: rows in memory of their own on the device, computed a fixed number at a time.

# Note [A fixed number of rows]
A GPU computes `rows` pictures at a time, never more or fewer: rows that are missing are zeros, whose results are thrown
away. So a row's bits do not depend on how many came with it, and memory, kernels and launches have one shape a picture
size.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vireo_server.errors import SettingError
from vireo_server.runtimes import Conditions, Rows, Runtime


class OnDevice(Runtime):
    """A network on one CUDA device and one stream of its own.

    A subclass sets `dtypes`, of each input that `_prepare` makes a place for, `picture`, which of them is the picture,
    and `conditions`, the others. Pictures of a dtype that it cannot take are converted on the device, both ways: there
    is no UINT16 in TensorRT.
    """

    side = "device"
    picture: str
    dtypes: Mapping[str, Any]

    def __init__(self, cupy: Any, *, rows: int, progress: Callable[[], None]) -> None:
        """`cupy`: the library, with the device made current; `rows`: pictures computed at a time; `progress` is called
        with every such number."""
        self.rows, self._progress = rows, progress
        self._cupy = cupy
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._shape: tuple[int, ...] = ()
        self._places: dict[str, Any] = {}
        self._output: Any = None

    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """See Runtime.run. Pictures and results lie on the device; what is told beside them may come from the host."""
        for batch, told in zip(batches, conditions or [{}] * len(batches), strict=True):
            given = self._cupy.cuda.get_current_stream().record()
            with self._stream:
                # What the batch is made of may still be on its way, on the stream of whoever made it.
                self._stream.wait_event(given)
                result = self._compute(batch, {name: self._cupy.asarray(told[name]) for name in self.conditions})
            self._stream.synchronize()
            yield result

    def spare_mb(self) -> int:
        """What computing may take of the device's memory, beside the pictures themselves: half of what is free."""
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return max(1, int(free / 2e6))

    @abstractmethod
    def _prepare(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
        """Make ready for pictures of `shape` (C, H, W): a place for `rows` rows of each input, and the output's."""

    @abstractmethod
    def _launch(self) -> None:
        """Compute what lies in the places, on the stream."""

    def _empty(self, shape: Sequence[int], dtype: Any) -> Any:
        return self._cupy.empty(tuple(shape), dtype)

    def _compute(self, batch: Rows, told: Conditions) -> Any:
        """The results of a batch of any number of rows, on the device."""
        shape = tuple(batch.shape[1:])
        if shape != self._shape:
            self._shape, self._places, self._output = (), {}, None  # what was made for another size goes first
            self._places, self._output = self._prepare(shape)
            self._shape = shape
        inputs = {self.picture: batch, **told}
        result = self._empty((len(batch), *self._output.shape[1:]), self._gives(batch))
        for first in range(0, len(batch), self.rows):
            for name, place in self._places.items():
                part = inputs[name][first : first + self.rows]
                place[: len(part)] = part
                place[len(part) :] = 0
            self._launch()
            count = len(result[first : first + self.rows])
            result[first : first + count] = self._output[:count]
            self._progress()
        return result

    def _gives(self, batch: Rows) -> Any:
        """The dtype of results: the picture's own, where one was converted to be computed."""
        return batch.dtype if self._output.dtype == self.dtypes[self.picture] else self._output.dtype


def find_device(runtime: str, number: int) -> tuple[Any, str, str]:
    """Make a CUDA device current: CuPy, its compute capability as '8.9', and the GPU's name. Raises SettingError."""
    from vireo_kernels.cuda.runner import import_cupy

    try:
        cupy = import_cupy("network")
        device = cupy.cuda.Device(number)
        device.use()
        capability = str(device.compute_capability)
        name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    except (ImportError, RuntimeError) as error:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = f" (CUDA_VISIBLE_DEVICES is {seen!r})" if seen is not None else ""
        raise SettingError(
            f"runtime {runtime!r} needs an NVIDIA GPU and CuPy, and there is none here{hidden}: {error}; use runtime "
            "auto, openvino or onnxruntime"
        ) from error
    return cupy, f"{capability[:-1]}.{capability[-1]}", name
