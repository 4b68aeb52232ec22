# SPDX-License-Identifier: MIT
"""What launches kernels: CuPy on a GPU. Tests put a host in its place that has the same three methods."""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import Array

FOLDER = Path(__file__).parent
OPTIONS = ("-std=c++17", "--fmad=false", f"-I{FOLDER}")
"""`--fmad=false`: a multiplication and an addition round twice, as in the reference."""
TABLES_KEPT = 64


class Runner(Protocol):
    """Where kernels run."""

    threads: tuple[int, int]
    """Threads of a block: along a row, and rows."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An array of the device, not initialised."""

    def table(self, values: npt.NDArray[Any]) -> Array:
        """The device's copy of a table; the same table is copied once."""

    def launch(self, source: str, kernel: str, *, items: tuple[int, int, int], arguments: Sequence[Any]) -> None:
        """Run `kernel` of the file `source` for `items` threads (x, y) of each of z pictures, rounded up to blocks.

        Arguments are arrays of the device, numpy.int32 and numpy.int64.
        """

    def address(self, array: Array) -> int:
        """Where an array begins, to see whether it is aligned."""


def blocks(items: tuple[int, int, int], threads: tuple[int, int]) -> tuple[int, int, int]:
    """The grid that covers `items` with blocks of `threads`."""
    return -(-items[0] // threads[0]), -(-items[1] // threads[1]), items[2]


def spread(runner: Runner, units: int, *, pictures: int) -> tuple[int, int, int]:
    """The items of a kernel that takes `units` of each picture in any order, over all threads of a block."""
    rows = runner.threads[1]
    return -(-units // rows), rows, pictures


def import_cupy(function: str) -> Any:
    """CuPy, or ImportError with the line that installs it."""
    _load_compiler()
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"{function}: CuPy is not installed, which computes on CUDA devices; install it with: "
            "pip install 'vireo[gpu]'"
        ) from error
    return cupy


@cache
def _load_compiler() -> None:
    """Load NVRTC from its wheel, where that is installed: CuPy 13 looks for it in a CUDA toolkit only, and takes what
    is loaded already."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvrtc-cu12") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name.startswith("libnvrtc.so."):
            ctypes.CDLL(str(file.locate()))


class CupyRunner:
    """Runs kernels on one CUDA device, on CuPy's current stream; nothing is synchronised."""

    threads = (32, 4)

    def __init__(self, cupy: Any, device: int) -> None:
        self._cupy = cupy
        self._device = device
        self._modules: dict[str, Any] = {}
        self._tables: OrderedDict[int, tuple[npt.NDArray[Any], Any]] = OrderedDict()

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """See `Runner`."""
        with self._cupy.cuda.Device(self._device):
            return self._cupy.empty(shape, dtype)

    def table(self, values: npt.NDArray[Any]) -> Array:
        """See `Runner`. The host's array is kept too, so its identity stays a key."""
        key = id(values)
        if key not in self._tables:
            with self._cupy.cuda.Device(self._device):
                self._tables[key] = (values, self._cupy.asarray(values))
        self._tables.move_to_end(key)
        while len(self._tables) > TABLES_KEPT:
            self._tables.popitem(last=False)
        return self._tables[key][1]

    def launch(self, source: str, kernel: str, *, items: tuple[int, int, int], arguments: Sequence[Any]) -> None:
        """See `Runner`. A file is compiled at its first use, for this device, and kept on disk by CuPy."""
        with self._cupy.cuda.Device(self._device):
            if source not in self._modules:
                text = (FOLDER / source).read_text(encoding="utf-8")
                self._modules[source] = self._cupy.RawModule(code=text, options=OPTIONS, backend="nvrtc")
            function = self._modules[source].get_function(kernel)
            function(blocks(items, self.threads), (*self.threads, 1), tuple(arguments))

    def address(self, array: Array) -> int:
        """See `Runner`."""
        return int(array.data.ptr)


@cache
def runner_of(device: int) -> CupyRunner:
    """The runner of a CUDA device, with its compiled kernels and tables."""
    return CupyRunner(import_cupy("cuda"), device)


def is_aligned(runner: Runner, array: Array, row_bytes: int) -> bool:
    """Whether each row of `row_bytes` of an array begins at a multiple of 16 bytes."""
    return runner.address(array) % 16 == 0 and row_bytes % 16 == 0


def whole(*numbers: int) -> list[np.int32]:
    """Arguments of a kernel that are `int` there."""
    return [np.int32(number) for number in numbers]
