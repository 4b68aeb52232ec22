# SPDX-License-Identifier: MIT
"""TensorRT engines: built from ONNX, kept, and found again.

Written against what `tensorrt` and `tensorrt_rtx` have in common. TensorRT measures on the GPU that it builds for;
TensorRT-RTX builds in about a second, for GPUs that need not be there, and none for Hopper (SM90).

# Note [A fixed number of rows]
An engine runs `rows` pictures at a time, never more or fewer: rows that are missing are zeros, whose results are thrown
away. So a row's bits do not depend on how many came with it, and memory and launches have one shape a picture size.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from vireo_server.errors import SettingError
from vireo_server.runtimes.precision import halved

LibraryName = Literal["tensorrt", "tensorrt_rtx"]
Precision = Literal["fp32", "tf32", "fp16"]
Size = tuple[int, int]

_PACKAGES = {"tensorrt": "tensorrt-cu12", "tensorrt_rtx": "tensorrt-rtx-cu12==1.7.1.116"}
_SIZE = re.compile(r"(\d+)x(\d+)")
_SUFFIX = ".engine"


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What engines are built for. `sizes` are triples of picture sizes, smallest, typical, largest: a profile each.

    Raises SettingError where a value cannot be.
    """

    rows: int = 4
    sizes: tuple[str, ...] = ("64x64", "1280x720", "1920x1088")
    precision: str = "fp32"
    keep_fp32: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise SettingError(f"parameter rows is {self.rows!r}; allowed: 1 or more pictures at a time")
        if self.precision not in get_args(Precision):
            raise SettingError(f"parameter precision is {self.precision!r}; allowed: {', '.join(get_args(Precision))}")
        if self.keep_fp32 and self.precision != "fp16":
            raise SettingError(
                f"parameter keep_fp32 names {self.keep_fp32[0]!r} at precision {self.precision!r}; it is for fp16"
            )
        self.profiles  # noqa: B018 - checks them

    @cached_property
    def profiles(self) -> tuple[tuple[Size, Size, Size], ...]:
        """(smallest, typical, largest) of each profile, as (width, height)."""
        found = [_SIZE.fullmatch(size) for size in self.sizes]
        numbers = [(int(size[1]), int(size[2])) for size in found if size]
        triples = tuple(
            (numbers[i], numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers) - len(numbers) % 3, 3)
        )
        ordered = all(0 < a[k] <= b[k] <= c[k] for a, b, c in triples for k in (0, 1))
        if not numbers or len(numbers) != len(found) or len(numbers) % 3 or not ordered:
            raise SettingError(
                f"parameter sizes is {','.join(self.sizes)!r}; allowed: three sizes a profile, smallest, typical and "
                "largest, as in 64x64,1280x720,1920x1088"
            )
        return triples

    def profile_of(self, width: int, height: int) -> int:
        """The number of the first profile that holds a picture. Raises SettingError, which lists what there is."""
        for number, (smallest, _, largest) in enumerate(self.profiles):
            if smallest[0] <= width <= largest[0] and smallest[1] <= height <= largest[1]:
                return number
        allowed = " or ".join(f"{a[0]}x{a[1]} to {c[0]}x{c[1]}" for a, _, c in self.profiles)
        raise SettingError(
            f"a picture of {width}x{height} is in no profile of the engine; allowed: {allowed}; add a profile to the "
            "parameter sizes of the network's config.pbtxt and load the service again"
        )


@dataclass(frozen=True)
class Library:
    """One of the two TensorRT libraries, imported."""

    name: LibraryName
    module: Any

    @property
    def version(self) -> str:
        """Its version: engines of another one cannot be loaded."""
        return str(self.module.__version__)

    def target(self, capability: str) -> Any:
        """TensorRT-RTX's name of a compute capability such as '8.9'. Raises SettingError, which lists those it has."""
        known = {
            f"{name[2:-1]}.{name[-1]}": value
            for name, value in self.module.ComputeCapability.__members__.items()
            if name.startswith("SM")
        }
        if capability not in known:
            raise SettingError(
                f"compute capability {capability!r} cannot be built for by {self.name} {self.version}; allowed: "
                f"{', '.join(known)}; Hopper (9.0) needs runtime tensorrt and a GPU of its kind"
            )
        return known[capability]


def load_library(name: LibraryName) -> Library:
    """Import a TensorRT library. Raises SettingError with the line that installs it."""
    try:
        return Library(name, importlib.import_module(name))
    except ImportError as error:
        raise SettingError(
            f"runtime {name!r}: the package is not installed ({error}); install it with: pip install {_PACKAGES[name]}"
        ) from error


def build_engine(
    model: bytes, settings: EngineSettings, *, library: Library, capabilities: Sequence[str] = ()
) -> bytes:
    """Build an engine.

    Args:
        model: an ONNX network whose first input is the picture, `(N, 3, H, W) uint8`.
        settings: shapes and precision.
        library: what builds.
        capabilities: for which GPUs, as '8.9'; the one in this machine if empty. TensorRT-RTX only.

    Raises:
        SettingError: the network cannot be parsed, or no engine be built; the message has the library's own words.
    """
    trt = library.module
    if capabilities and library.name != "tensorrt_rtx":
        raise SettingError(
            f"runtime {library.name!r} builds only for the GPU it runs on; --compute-capability needs tensorrt_rtx"
        )
    log = _log_of(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if settings.precision == "fp16":
        model = halved(model, keep=settings.keep_fp32)
    if not parser.parse(model):
        errors = "; ".join(_parser_error(parser.get_error(i)) for i in range(parser.num_errors))
        raise SettingError(
            f"{library.name} {library.version} cannot take this network: {errors}; export it with simpler operators, "
            "or use runtime openvino or onnxruntime"
        )
    config = builder.create_builder_config()
    if settings.precision != "tf32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for number, capability in enumerate(capabilities):
            config.set_compute_capability(library.target(capability), number)
    for smallest, typical, largest in settings.profiles:
        profile = builder.create_optimization_profile()
        for number in range(network.num_inputs):
            tensor = network.get_input(number)
            shapes = [_shape(tensor, settings.rows, size) for size in (smallest, typical, largest)]
            profile.set_shape(tensor.name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise SettingError(f"{library.name} refuses the profile {smallest}, {typical}, {largest}: {log.said()}")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SettingError(
            f"{library.name} {library.version} built no engine: {log.said()}; without a GPU, engines are built with "
            "`vireo build NAME --compute-capability 8.9` and tensorrt_rtx"
        )
    return bytes(engine)


def engine_key(model: bytes, settings: EngineSettings, *, library: Library) -> str:
    """What an engine depends on beside the GPU: the network, the settings, the library and its version."""
    digest = hashlib.sha256(model)
    digest.update(repr((library.name, library.version, sorted(asdict(settings).items()))).encode())
    return digest.hexdigest()[:16]


def engine_file(folder: Path, key: str, capabilities: Sequence[str], *, gpu: str = "") -> Path:
    """The name of an engine's file: `<key>.sm89-sm120.engine`, and the GPU's own name where it was measured on one."""
    targets = "-".join(f"sm{capability.replace('.', '')}" for capability in capabilities)
    measured = f"_{re.sub('[^0-9A-Za-z]+', '_', gpu)}" if gpu else ""
    return folder / f"{key}.{targets}{measured}{_SUFFIX}"


def find_engine(folder: Path, key: str, capability: str) -> Path | None:
    """An engine that was built before for a GPU of this capability, by `vireo build`."""
    wanted = f"sm{capability.replace('.', '')}"
    for path in sorted(folder.glob(f"{key}.*{_SUFFIX}")):
        if wanted in path.name.split(".")[1].split("-"):
            return path
    return None


def kept_engine(path: Path, build: Callable[[], bytes], *, note: Callable[[str], None]) -> bytes:
    """The engine in `path`, built first where it is not there, by one process at a time.

    Args:
        path: its file; it appears whole.
        build: makes it.
        note: is told that it is being built, which may take minutes with TensorRT, and how long it took.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock"), note=note):
        if not path.is_file():
            note(f"building the engine {path.name}")
            began = time.monotonic()
            draft = path.with_suffix(".new")
            draft.write_bytes(build())
            os.replace(draft, path)
            note(f"built the engine {path.name} in {time.monotonic() - began:.1f} s")
    return path.read_bytes()


@contextmanager
def _locked(path: Path, *, note: Callable[[str], None]) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process builds {path.stem}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _shape(tensor: Any, rows: int, size: Size) -> tuple[int, ...]:
    """An input's shape at a picture size: the picture is `(N, 3, H, W)`, what is beside it `(N, K)`."""
    width, height = size
    return (rows, tensor.shape[1], height, width) if len(tensor.shape) == 4 else (rows, *tuple(tensor.shape)[1:])


def _parser_error(error: Any) -> str:
    return f"node {error.node_name()!r} ({error.node_operator()}): {' '.join(error.desc().split())}"


def _log_of(trt: Any) -> Any:
    """A log that keeps errors for our messages, and says nothing by itself."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # Without a GPU it complains of that beside every other error.
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR) and "catchCudaError" not in message:
                self._errors.append(" ".join(message.split()))

        def said(self) -> str:
            return "; ".join(dict.fromkeys(self._errors)) or "it does not say why"

    return Log()
