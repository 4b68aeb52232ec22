# SPDX-License-Identifier: MIT
"""What runs a network: one interface, one adapter a runtime, chosen by the parameter `runtime`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from vireo_server.errors import SettingError
from vireo_server.formats import Bits

if TYPE_CHECKING:
    from vireo_server.adapters import Convention
    from vireo_server.network_settings import Interface
    from vireo_server.receptive_field import Network
    from vireo_server.runtimes.engines import EngineSettings, LibraryName
    from vireo_server.tiling import TileLimits

#: Pictures, uint8 or uint16 as the network was loaded for: numpy's, or CuPy's on a device.
Rows = Any
#: What a network takes beside its picture: input's name -> `(R, K) float32`, one row a picture.
Conditions = Mapping[str, npt.NDArray[np.float32]]
#: Computes one row: input `(1, C, H, W)`, its conditions, output written into `(1, ...)`.
Infer = Callable[[Rows, Conditions, Rows], None]


RUNTIMES = ("auto", "openvino", "onnxruntime", "onnxruntime_cuda", "tensorrt", "tensorrt_rtx")


class Runtime(ABC):
    """A loaded network: pictures `(R, C, H, W)` to pictures `(R, C', H', W')` of the same dtype, or to numbers
    `(R, ...) float32`, every row by itself.

    `conditions` are the names of the inputs that it has beside the picture; every `run` must give them.

    The result of a row does not depend on the rows beside it, to the bit: callers are promised the same bytes
    whatever else the server does at the time.
    """

    conditions: tuple[str, ...] = ()
    side: Literal["host", "device", "either"] = "host"
    """Where pictures must lie, and results will."""

    @abstractmethod
    def __init__(self, model: bytes, *, threads: int, progress: Callable[[], None] = lambda: None) -> None:
        """Load an ONNX network, given as the file's bytes, for `threads` cores; `progress` is called with every row
        that is done."""

    @abstractmethod
    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """The outputs of several requests, in order, each as soon as it is done. All inputs have one shape but for
        R. `conditions` has one entry a batch."""

    def takes(self, height: int, width: int) -> bool:
        """Whether pictures of this size can be computed as a whole, memory aside."""
        return True


def load_runtime(
    name: str,
    path: Path,
    *,
    threads: int,
    bits: Bits = 8,
    interface: Interface = "picture",
    convention: Convention | None = None,
    engine: EngineSettings | None = None,
    limits: TileLimits | None = None,
    device: int | None = None,
    note: Callable[[str], None] = lambda text: None,
    progress: Callable[[], None] = lambda: None,
) -> Runtime:
    """The network in `path`, behind the runtime called `name`; `threads` 0 means one a core. Pictures have `bits` bits
    a sample; `interface`: what its input is, see `NetworkSettings`; `convention`: what its numbers stand for.

    `engine` is for a GPU; `limits` say what sizes it takes at once; `device` is the number of the CUDA device that
    "auto" may use, None for none; `note` is told of what takes long, and what "auto" has chosen; `progress`
    is called with every row that is done.

    Raises:
        SettingError: unknown runtime, no such file, or a network that is no picture-to-picture network.
    """
    if name not in RUNTIMES:
        raise SettingError(f"parameter runtime is {name!r}; allowed: {', '.join(RUNTIMES)}")
    if not path.is_file():
        raise SettingError(f"there is no network at {path}; put the ONNX file there or set the parameter 'file'")
    cores = threads or len(os.sched_getaffinity(0))
    network = NetworkFile(path, cores, bits, interface, convention, engine, limits, device or 0, note, progress)
    if name != "auto":
        return network.by(name)
    if device is None:
        return network.by(_candidates(None)[0])
    *better, last = _candidates(device)
    for candidate in better:
        try:
            runtime = network.by(candidate)
        except (SettingError, RuntimeError) as error:
            note(f"runtime auto passes {candidate} by: {error}")
        else:
            note(f"runtime auto is {candidate}, on CUDA device {device}")
            return runtime
    note(f"runtime auto is {last}, on the CPU; `vireo doctor` says what to install for the GPU")
    return network.by(last)


def _candidates(device: int | None) -> list[str]:
    """What "auto" tries on a CUDA device, the best first; without one, what computes on the CPU."""
    from vireo_server.choosing import has_cupy, usable_runtimes
    from vireo_server.machine import PACKAGES, package_version

    packages = {package: package_version(package) for package in PACKAGES}
    capability = None
    if device is not None and has_cupy(packages):
        from vireo_server.runtimes.on_device import find_device

        try:
            _, capability, _ = find_device("auto", device)
        except SettingError:
            capability = None
    usable = usable_runtimes(capability=capability, packages=packages) or ["openvino"]
    return usable[: usable.index("openvino") + 1] if "openvino" in usable else usable


@dataclass(frozen=True)
class NetworkFile:
    """A network's file and all that is said of it, to be loaded by one runtime or another."""

    path: Path
    cores: int
    bits: Bits
    interface: Interface
    convention: Convention | None
    engine: EngineSettings | None
    limits: TileLimits | None = None
    device: int = 0
    note: Callable[[str], None] = lambda text: None
    progress: Callable[[], None] = lambda: None

    def by(self, name: str) -> Runtime:
        """Load it. Raises SettingError."""
        from vireo_server.runtimes.identity import Identity, is_identity
        from vireo_server.runtimes.on_device import OnDevice
        from vireo_server.tiling import Tiled, TileLimits

        model, engine, network = self.prepared(name)
        if is_identity(model):
            return Identity(model, threads=self.cores)
        runtime, limits, at_once = self._load(name, model, engine), self.limits or TileLimits(), self.cores
        if network is None:  # Numbers of a picture as a whole: no part of it gives a part of them.
            return runtime
        if isinstance(runtime, OnDevice):
            limits, at_once = replace(limits, memory_mb=runtime.spare_mb()), runtime.rows
        return Tiled(runtime, network, limits=limits, at_once=at_once, note=self.note)

    def prepared(self, name: str) -> tuple[bytes, EngineSettings, Network | None]:
        """What a runtime is given: the ONNX network, and what a GPU computes at a time; and for tiles, what the graph
        tells, None where the result is no picture or the picture itself. Raises SettingError."""
        from vireo_server.adapters import adapt, gives_numbers
        from vireo_server.receptive_field import examine
        from vireo_server.runtimes.engines import EngineSettings
        from vireo_server.runtimes.identity import is_identity
        from vireo_server.shapes import freed

        # TensorRT has no UINT16: it computes pictures of 16 bits as INT32.
        wide = name.startswith("tensorrt")
        model = adapt(self.path, bits=self.bits, interface=self.interface, convention=self.convention, wide=wide)
        engine = self.engine or EngineSettings()
        if is_identity(model) or gives_numbers(model):
            return model, engine, None
        network = examine(model, name=str(self.path))
        if network.size is not None:  # It was exported for pictures of one size.
            engine = replace(engine, sizes=(f"{network.size[1]}x{network.size[0]}",) * 3)
        return freed(model), engine, network

    def _load(self, name: str, model: bytes, engine: EngineSettings) -> Runtime:
        if name == "openvino":
            from vireo_server.runtimes.openvino import OpenVINO

            return OpenVINO(model, threads=self.cores, progress=self.progress)
        if name == "onnxruntime":
            from vireo_server.runtimes.onnxruntime import ONNXRuntime

            return ONNXRuntime(model, threads=self.cores, progress=self.progress)
        if name == "onnxruntime_cuda":
            from vireo_server.runtimes.onnxruntime_cuda import ONNXRuntimeCUDA

            return ONNXRuntimeCUDA(
                model, threads=self.cores, settings=engine, device=self.device, progress=self.progress
            )
        from vireo_server.launching.runtime_folder import cache_folder
        from vireo_server.runtimes.tensorrt import TensorRT

        library: LibraryName = "tensorrt" if name == "tensorrt" else "tensorrt_rtx"
        return TensorRT(
            model, threads=self.cores, library=library, settings=engine, device=self.device, beside=self.path.parent,
            cache=cache_folder() / "engines", note=self.note, progress=self.progress,
        )  # fmt: skip


def run_rows(
    pool: Executor,
    infer: Infer,
    batches: Sequence[Rows],
    conditions: Sequence[Conditions],
    *,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    progress: Callable[[], None],
) -> Iterator[Rows]:
    """Run `infer` for each row of each batch on a thread pool; yield each batch when its rows are done.

    `shape` and `dtype` are those of one row's output; `progress` is called with every row that is done.

    # Note [Why row by row on a CPU]
    One picture is enough work for a core, and a batch of them only falls out of the cache: rows on one thread each run
    faster than batches on all threads. And a row computed alone has the same bits in any company.
    """
    outputs = [np.empty((len(batch), *shape), dtype) for batch in batches]
    pending = [
        [
            pool.submit(
                infer,
                batch[row : row + 1],
                {name: values[row : row + 1] for name, values in told.items()},
                output[row : row + 1],
            )
            for row in range(len(batch))
        ]
        for batch, told, output in zip(batches, conditions or [{}] * len(batches), outputs, strict=True)
    ]
    try:
        for futures, output in zip(pending, outputs, strict=True):
            for future in futures:
                future.result()
                progress()
            yield output
    finally:
        for futures in pending:
            for future in futures:
                future.cancel()
