# SPDX-License-Identifier: MIT
"""TensorRT and TensorRT-RTX on one GPU. Running an engine has never been tried: no machine with a GPU was at hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireo_server.errors import SettingError
from vireo_server.runtimes.engine_files import engine_file, engine_key, find_engine, kept_engine
from vireo_server.runtimes.engines import EngineSettings, LibraryName, build_engine, load_library, replace_file
from vireo_server.runtimes.on_device import OnDevice, find_device

if TYPE_CHECKING:
    from vireo_server.runtimes.tensorrt_types import Engine, ExecutionContext, Runtime

_RUNS_BEFORE_A_GRAPH = 8
_SIZES_KEPT = 16


class TensorRT(OnDevice):
    """One engine.

    Args:
        model: an ONNX network, as the file's bytes.
        threads: not used, the GPU has its own.
        library: which of the two.
        settings: what the engine is built for.
        device: the CUDA device's number.
        beside: where `vireo build` puts engines: the network's version folder.
        cache: where engines are kept that were built here, and what makes the next build or start quicker.
        note: is told of what takes long.
        progress: is called with every `rows` pictures that are under way.

    Raises:
        SettingError: no library, no GPU, or the network cannot be built.

    # Note [CUDA graphs]
    All launches of a picture size are the same, so they are recorded once and replayed as one. TensorRT-RTX does that
    by itself; for TensorRT it is done here, after some runs of a size: the first one settles what the size changed, and
    where sizes take turns it would not pay. One graph is kept, of the size at hand: it is tied to the memory that the
    context has at the time.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int,
        library: LibraryName = "tensorrt",
        settings: EngineSettings | None = None,
        device: int = 0,
        beside: Path,
        cache: Path,
        note: Callable[[str], None],
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings or EngineSettings()
        found = load_library(library)
        cupy, capability, gpu = find_device(library, device)
        super().__init__(cupy, rows=self._settings.rows, progress=progress)
        self._note = note
        key = engine_key(model, self._settings, library=found)
        machine = re.sub("[^0-9A-Za-z.]+", "_", f"{library}_{found.version}_{gpu}")
        path = find_engine(beside, key, capability)
        if path is not None:
            engine = path.read_bytes()
        else:
            measures = library == "tensorrt"
            timing = cache / f"{machine}.timing" if measures else None
            path = engine_file(cache, key, [capability], gpu=gpu if measures else "")
            engine = kept_engine(
                path, lambda: build_engine(model, self._settings, library=found, timing=timing, note=note), note=note
            )
        trt = found.module
        self._log = found.log()
        self._runtime: Runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise SettingError(
                f"the engine {str(path)!r} cannot be loaded by {found.name} {found.version} on {gpu}: "
                f"{self._log.said()}; remove the file"
            )
        self._kernels = (
            _Kernels(cache / f"{key}.{machine}.kernels", self._engine) if library == "tensorrt_rtx" else None
        )
        self._context = _context(trt, self._engine, self._kernels)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        (self.picture,) = [name for name in inputs if len(self._engine.get_tensor_shape(name)) == 4]
        self.conditions = tuple(name for name in inputs if name != self.picture)
        (self._result,) = [name for name in names if name not in inputs]
        self.dtypes = {name: trt.nptype(self._engine.get_tensor_dtype(name)) for name in names}
        self._profile = -1
        self._runs = 0
        self._graph: Any = None
        self._records = library == "tensorrt"

    def takes(self, height: int, width: int) -> bool:
        """See Runtime.takes."""
        return self._settings.takes(width, height)

    def _prepare(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
        self._graph, self._runs = None, 0
        channels, height, width = shape
        fixed = tuple(self._engine.get_tensor_shape(self.picture))[1:]
        profile = 0 if fixed == (channels, height, width) else self._settings.profile_of(width, height)
        if profile != self._profile:
            self._checked(self._context.set_optimization_profile_async(profile, self._stream.ptr), "choose a profile")
            self._profile = profile
        places = {}
        for name in (self.picture, *self.conditions):
            own = shape if name == self.picture else tuple(self._engine.get_tensor_shape(name))[1:]
            places[name] = self._place(name, (self.rows, *own))
            self._checked(self._context.set_input_shape(name, places[name].shape), f"take {width}x{height} as {name}")
        return places, self._place(self._result, tuple(self._context.get_tensor_shape(self._result)))

    def _launch(self) -> None:
        self._runs += 1
        if self._records and self._runs == _RUNS_BEFORE_A_GRAPH:
            self._graph = self._recorded()
        if self._graph is not None:
            self._graph.launch(self._stream)
            return
        self._checked(self._context.execute_async_v3(self._stream.ptr), "compute")
        if self._kernels is not None and self._runs == 1:
            self._kernels.keep(self._places[self.picture].shape)

    def _recorded(self) -> Any:
        """The launches as a graph, or None where they cannot be recorded, from now on."""
        self._stream.begin_capture()
        ran = self._context.execute_async_v3(self._stream.ptr)
        try:
            graph = self._stream.end_capture()
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            ran, graph = False, None
            self._note(f"the network is run without a CUDA graph: {error}")
        self._records = bool(ran)
        return graph if ran else None

    def _place(self, name: str, shape: tuple[int, ...]) -> Any:
        place = self._empty(shape, self.dtypes[name])
        self._checked(self._context.set_tensor_address(name, place.data.ptr), f"take an address for {name}")
        return place

    def _checked(self, done: bool, what: str) -> None:
        if not done:
            raise RuntimeError(f"TensorRT did not {what}: {self._log.said()}")


class _Kernels:
    """The kernels that TensorRT-RTX compiled on this GPU, kept for the next start; a file it does not know is left."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._kept: set[tuple[int, ...]] = set()
        self.config = engine.create_runtime_config()
        self._cache = self.config.create_runtime_cache()
        if path.is_file():
            self._cache.deserialize(path.read_bytes())
        self.config.set_runtime_cache(self._cache)

    def keep(self, shape: tuple[int, ...]) -> None:
        """Write what there is now that pictures of this shape were computed; for the first sizes of a process."""
        if shape not in self._kept and len(self._kept) < _SIZES_KEPT:
            self._kept.add(shape)
            replace_file(self._path, bytes(self._cache.serialize()))


def _context(trt: Any, engine: Engine, kernels: _Kernels | None) -> ExecutionContext:
    """An execution context, whose memory is that of the profile at hand."""
    allocation = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
    if kernels is None:
        return engine.create_execution_context(allocation)
    kernels.config.set_execution_context_allocation_strategy(allocation)
    kernels.config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    # By default a kernel is replaced by a better one once that is compiled, and a row's bits would change with time.
    strategies = trt.DynamicShapesKernelSpecializationStrategy
    kernels.config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    return engine.create_execution_context(kernels.config)
