# SPDX-License-Identifier: MIT
"""TensorRT and TensorRT-RTX on one GPU. Running an engine has never been tried: no machine with a GPU was at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vireo_server.errors import SettingError
from vireo_server.runtimes import Conditions, Rows, Runtime
from vireo_server.runtimes.engines import (
    EngineSettings,
    LibraryName,
    build_engine,
    engine_file,
    engine_key,
    find_engine,
    kept_engine,
    load_library,
)


class TensorRT(Runtime):
    """One engine, one stream; `rows` pictures at a time.

    Args:
        model: an ONNX network, as the file's bytes.
        threads: not used, the GPU has its own.
        library: which of the two.
        settings: what the engine is built for.
        beside: where `vireo build` puts engines: the network's version folder.
        cache: where engines are kept that were built here.
        note: is told of what takes long.

    Raises:
        SettingError: no library, no GPU, or the network cannot be built.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int,
        library: LibraryName = "tensorrt",
        settings: EngineSettings | None = None,
        beside: Path,
        cache: Path,
        note: Callable[[str], None],
    ) -> None:
        self._settings = settings or EngineSettings()
        found = load_library(library)
        cupy, capability, gpu = _gpu(library)
        self._cupy = cupy
        key = engine_key(model, self._settings, library=found)
        built = find_engine(beside, key, capability)
        measured = gpu if library == "tensorrt" else ""
        path = built or engine_file(cache, key, [capability], gpu=measured)
        engine = kept_engine(path, lambda: build_engine(model, self._settings, library=found), note=note)
        trt = found.module
        self._log = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise SettingError(
                f"the engine {str(path)!r} cannot be loaded by {found.name} {found.version} on {gpu}; remove the file"
            )
        self._context = _context(trt, self._engine)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        (self._picture,) = [name for name in inputs if len(self._engine.get_tensor_shape(name)) == 4]
        self.conditions = tuple(name for name in inputs if name != self._picture)
        (self._output,) = [name for name in names if name not in inputs]
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._memory: dict[str, Any] = {}
        self._profile = -1

    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """See Runtime.run. Arrays of the host come back as such, those of the device stay there."""
        for batch, told in zip(batches, conditions or [{}] * len(batches), strict=True):
            xp = self._cupy.get_array_module(batch)
            parts = [self._run_rows(batch, told, first) for first in range(0, len(batch), self._settings.rows)]
            whole = self._cupy.concatenate(parts)
            yield whole if xp is self._cupy else self._cupy.asnumpy(whole)

    def _run_rows(self, batch: Rows, told: Conditions, first: int) -> Any:
        """The results of at most `rows` rows, on the device."""
        _, _, height, width = batch.shape
        rows = slice(first, first + self._settings.rows)
        count = len(batch[rows])
        with self._stream:
            self._choose(self._settings.profile_of(width, height))
            self._give(self._picture, batch[rows], np.uint8)
            for name in self.conditions:
                self._give(name, told[name][rows], np.float32)
            output = self._place(self._output, tuple(self._context.get_tensor_shape(self._output)), np.uint8)
            if not self._context.execute_async_v3(self._stream.ptr):
                raise RuntimeError(f"TensorRT did not run {count} rows of {width}x{height}; the server's log says why")
            result = output[:count].copy()
        self._stream.synchronize()
        return result

    def _choose(self, profile: int) -> None:
        if profile != self._profile:
            self._context.set_optimization_profile_async(profile, self._stream.ptr)
            self._profile = profile
            self._memory.clear()

    def _give(self, name: str, values: Any, dtype: Any) -> None:
        """Copy rows into an input's memory on the device; those that are missing are zeros."""
        place = self._place(name, (self._settings.rows, *values.shape[1:]), dtype)
        place[: len(values)] = self._cupy.asarray(values)
        place[len(values) :] = 0
        self._context.set_input_shape(name, place.shape)

    def _place(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """A tensor's memory, kept as long as its shape is the same."""
        place = self._memory.get(name)
        if place is None or place.shape != shape:
            place = self._memory[name] = self._cupy.empty(shape, dtype)
            self._context.set_tensor_address(name, place.data.ptr)
        return place


def _context(trt: Any, engine: Any) -> Any:
    """An execution context; TensorRT-RTX captures CUDA graphs by itself."""
    strategies = getattr(trt, "CudaGraphStrategy", None)
    if strategies is None:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def _gpu(library: str) -> tuple[Any, str, str]:
    """CuPy, the compute capability of its current device as '8.9', and the GPU's name. Raises SettingError."""
    from vireo_kernels.cuda.runner import import_cupy

    try:
        cupy = import_cupy("network")
        device = cupy.cuda.Device()
        number = str(device.compute_capability)
        name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    except (ImportError, RuntimeError) as error:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = f" (CUDA_VISIBLE_DEVICES is {seen!r})" if seen is not None else ""
        raise SettingError(
            f"runtime {library!r} needs an NVIDIA GPU and CuPy, and there is none here{hidden}: {error}; use runtime "
            "openvino or onnxruntime"
        ) from error
    return cupy, f"{number[:-1]}.{number[-1]}", name
