# SPDX-License-Identifier: MIT
"""TensorRT engines, built from ONNX.

Written against what `tensorrt` and `tensorrt_rtx` have in common. TensorRT measures on the GPU that it builds for;
TensorRT-RTX builds in about a second, for GPUs that need not be there, and none for Hopper (SM90).
"""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vireo_server.errors import SettingError
from vireo_server.runtimes.precision import halved, with_convolutions, with_float_biases

if TYPE_CHECKING:
    from vireo_server.runtimes.tensorrt_types import (
        Builder,
        BuilderConfig,
        InputTensor,
        Network,
        OnnxParser,
        ParserError,
    )

LibraryName = Literal["tensorrt", "tensorrt_rtx"]
Precision = Literal["fp32", "tf32", "fp16"]
Size = tuple[int, int]

_PACKAGES = {"tensorrt": "tensorrt-cu12", "tensorrt_rtx": "tensorrt-rtx-cu12==1.7.1.116"}
_SIZE = re.compile(r"(\d+)x(\d+)")
_NOTE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What a GPU computes at a time, and what engines are built for.

    `sizes` are triples of picture sizes, smallest, typical, largest: a profile each; the default has one for pictures
    that are wide and one for those that are high.

    Raises SettingError where a value cannot be.
    """

    rows: int = 4
    sizes: tuple[str, ...] = ("16x16", "1280x720", "1920x1088", "16x16", "720x1280", "1088x1920")
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
                "largest, as in 16x16,1280x720,1920x1088"
            )
        return triples

    def takes(self, width: int, height: int) -> bool:
        """Whether a profile holds a picture."""
        return self._profile_of(width, height) is not None

    def profile_of(self, width: int, height: int) -> int:
        """The number of the first profile that holds a picture. Raises SettingError, which lists what there is."""
        found = self._profile_of(width, height)
        if found is not None:
            return found
        allowed = " or ".join(f"{a[0]}x{a[1]} to {c[0]}x{c[1]}" for a, _, c in self.profiles)
        raise SettingError(
            f"a picture of {width}x{height} is in no profile of the engine; allowed: {allowed}; add a profile to the "
            "parameter sizes of the network's config.pbtxt and load the service again"
        )

    def _profile_of(self, width: int, height: int) -> int | None:
        for number, (smallest, _, largest) in enumerate(self.profiles):
            if smallest[0] <= width <= largest[0] and smallest[1] <= height <= largest[1]:
                return number
        return None


@dataclass(frozen=True)
class Library:
    """One of the two TensorRT libraries, imported."""

    name: LibraryName
    module: Any

    @property
    def version(self) -> str:
        """Its version: engines of another one cannot be loaded."""
        return str(self.module.__version__)

    def log(self) -> Any:
        """The log that its objects are made with; `said()` has the errors since it was asked last.

        The library keeps to the first one that a process gives it, so there is one.
        """
        return _log_of(self.module)

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
    model: bytes,
    settings: EngineSettings,
    *,
    library: Library,
    capabilities: Sequence[str] = (),
    timing: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> bytes:
    """Build an engine.

    Args:
        model: an ONNX network with one picture as input, `(N, C, H, W)`.
        settings: shapes and precision.
        library: what builds.
        capabilities: for which GPUs, as '8.9'; the one in this machine if empty. TensorRT-RTX only.
        timing: a file of what TensorRT has measured on this GPU before, read and added to. TensorRT-RTX measures
            nothing.
        note: is told how far it is, every 15 seconds.

    Raises:
        SettingError: the network cannot be parsed, or no engine be built; the message has the library's own words.
    """
    trt = library.module
    if capabilities and library.name != "tensorrt_rtx":
        raise SettingError(
            f"runtime {library.name!r} builds only for the GPU it runs on; --compute-capability needs tensorrt_rtx"
        )
    log = library.log()
    builder: Builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(model, network, settings, library=library, log=log)
    config = builder.create_builder_config()
    config.progress_monitor = _progress_to(trt, note)
    if settings.precision != "tf32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if capabilities:
        _build_for(config, capabilities, library=library)
    for sizes in settings.profiles:
        profile = builder.create_optimization_profile()
        inputs = [network.get_input(number) for number in range(network.num_inputs)]
        shapes = {tensor.name: [_shape(tensor, settings.rows, size) for size in sizes] for tensor in inputs}
        for name, shape in shapes.items():
            profile.set_shape(name, *shape)
        if config.add_optimization_profile(profile) < 0:
            raise SettingError(f"{library.name} refuses the profile {', '.join(map(str, sizes))}: {log.said()}")
        if all(smallest == largest for smallest, _, largest in shapes.values()):
            break  # A network of one size needs one profile.
    if timing is not None:
        config.set_timing_cache(
            config.create_timing_cache(timing.read_bytes() if timing.is_file() else b""), ignore_mismatch=False
        )
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        said = log.said()
        advice = "without a GPU, engines are built with `vireo build NAME --compute-capability 8.9` and tensorrt_rtx"
        if "FP32 GEMM is not supported" in said:
            advice = "set the parameter precision to fp16, or leave 7.5 (Turing) out"
        raise SettingError(f"{library.name} {library.version} built no engine: {said}; {advice}")
    if timing is not None:
        replace_file(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole, whoever writes it beside us."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.write_bytes(data)
    os.replace(draft, path)


def _parse(model: bytes, network: Network, settings: EngineSettings, *, library: Library, log: Any) -> None:
    parser: OnnxParser = library.module.OnnxParser(network, log)
    model = with_float_biases(model)
    if library.name == "tensorrt_rtx":
        model = with_convolutions(model)
    if settings.precision == "fp16":
        model = halved(model, keep=settings.keep_fp32)
    if not parser.parse(model):
        errors = "; ".join(_parser_error(parser.get_error(i)) for i in range(parser.num_errors))
        raise SettingError(
            f"{library.name} {library.version} cannot take this network: {errors}; export it with simpler operators, "
            "or use runtime openvino or onnxruntime"
        )


def _build_for(config: BuilderConfig, capabilities: Sequence[str], *, library: Library) -> None:
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        config.set_compute_capability(library.target(capability), number)


def _shape(tensor: InputTensor, rows: int, size: Size) -> tuple[int, ...]:
    """An input's shape at a picture size: the picture is `(N, C, H, W)`, what is beside it `(N, K)`.

    A network of one size says so in its own shape.
    """
    width, height = size
    wanted = (rows, -1, height, width) if len(tensor.shape) == 4 else (rows, -1)
    return (rows, *(own if own > 0 else want for own, want in zip(tuple(tensor.shape)[1:], wanted[1:], strict=True)))


def _parser_error(error: ParserError) -> str:
    # Without a GPU it complains of that behind every other error.
    said, *_ = " ".join(error.desc().split()).partition(" [checkMacros")
    return f"node {error.node_name()!r} ({error.node_operator()}): {said}"


def _progress_to(trt: Any, note: Callable[[str], None]) -> Any:
    """A monitor that notes how far a build is, now and then."""

    class Progress(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._next = time.monotonic() + _NOTE_SECONDS

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _NOTE_SECONDS
                note(f"building: {phase_name}, step {step + 1} of {self._steps.get(phase_name, 0)}")
            return True  # goes on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Progress()


@cache
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
            """The errors since it was asked last."""
            errors, self._errors = self._errors, []
            return "; ".join(dict.fromkeys(errors)) or "it does not say why"

    return Log()
