# SPDX-License-Identifier: MIT
"""The parameters of a network: which file it is, what its numbers stand for, what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from vireo_server.adapters import Convention
from vireo_server.errors import SettingError
from vireo_server.formats import Bits
from vireo_server.runtimes.engines import EngineSettings
from vireo_server.settings import check_bits, convert_setting
from vireo_server.tiling import TileLimits

Interface = Literal["picture", "interpolation"]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which file is the network, and what runs it."""

    #: The weights, in the model's version folder.
    file: str = "model.onnx"
    #: "openvino" or "onnxruntime" on a CPU, "tensorrt", "tensorrt_rtx" or "onnxruntime_cuda" on a GPU; "auto": the best
    #: of these that works here, see vireo_server.choosing.
    runtime: str = "auto"
    #: What its input is: "picture", RGB; "interpolation", two pictures and where between them the wanted one lies, the
    #: 7 or 11 planes of RIFE's files.
    interface: Interface = "picture"
    #: Bits of a sample of INPUT and OUTPUT: 8 or 16.
    bits: Bits = 8
    #: What black and white are in a network of floating-point numbers: 0 and 1, 0 and 255, -1 and 1.
    black: float = 0.0
    white: float = 1.0
    #: Of its channels: "rgb" or "bgr".
    order: str = "rgb"
    #: Of its training, one number a channel in that order, as 0.485,0.456,0.406 and 0.229,0.224,0.225; none if empty.
    mean: tuple[str, ...] = ()
    std: tuple[str, ...] = ()
    #: Threads of the runtime; 0: one a core.
    threads: int = 0
    #: What computing may take, beside the pictures themselves, in 10^6 bytes; larger pictures are computed in tiles. On
    #: a GPU it is half of what is free instead.
    memory_mb: int = 1024
    #: Both sides of a picture are padded to multiples of it, besides those that the network's graph tells.
    multiple: int = 1
    #: How many pixels tiles overlap; -1: as far as the graph tells that a pixel looks, which is exact.
    overlap: int = -1
    #: On a GPU: pictures that are computed at a time.
    rows: int = EngineSettings.rows
    #: TensorRT: the picture sizes that engines are built for: smallest, typical, largest; three more a further profile.
    #: Larger pictures are computed in tiles.
    sizes: tuple[str, ...] = EngineSettings.sizes
    #: On a GPU: "fp32", "tf32" or "fp16".
    precision: str = EngineSettings.precision
    #: On a GPU at fp16: names of the network's nodes that stay FP32.
    keep_fp32: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.interface not in get_args(Interface):
            raise SettingError(f"parameter interface is {self.interface!r}; allowed: {', '.join(get_args(Interface))}")
        if self.threads < 0:
            raise SettingError(f"parameter threads is {self.threads}; allowed: 0 (one a core) or more")
        check_bits(self.bits)
        if self.bits > 8 and self.interface != "picture":
            raise SettingError(f"parameter bits is {self.bits}; with interface {self.interface!r} allowed is 8")
        if self.bits > 8 and self.precision != "fp32":
            raise SettingError(f"parameter precision is {self.precision!r}; with bits {self.bits} allowed is fp32")
        self.engine  # noqa: B018 - checks them
        self.limits  # noqa: B018
        self.convention  # noqa: B018

    @property
    def convention(self) -> Convention:
        """What its numbers stand for."""
        return Convention(
            black=self.black,
            white=self.white,
            order=self.order,
            mean=_numbers("mean", self.mean),
            std=_numbers("std", self.std),
        )

    @property
    def limits(self) -> TileLimits:
        """Those of the pictures that are computed at once."""
        return TileLimits(memory_mb=self.memory_mb, multiple=self.multiple, overlap=self.overlap)

    @property
    def engine(self) -> EngineSettings:
        """Those of TensorRT's engines."""
        return EngineSettings(rows=self.rows, sizes=self.sizes, precision=self.precision, keep_fp32=self.keep_fp32)


def network_settings(name: str, parameters: Mapping[str, str], *, beside: Sequence[str] = ()) -> NetworkSettings:
    """The settings that `vireo new --set` gives to the network of service `name`; `beside`: names that it takes too,
    which are another stage's. Raises SettingError, which lists what may be set.
    """
    fixed = ("file", "interface", "bits")  # The other stages would have to be others too.
    known = {field.name: field.default for field in fields(NetworkSettings) if field.name not in fixed}
    for key in parameters:
        if key not in known:
            raise SettingError(
                f"unknown parameter {key!r} of a network; known are {', '.join(sorted([*known, *beside]))}"
            )
    return NetworkSettings(**{key: convert_setting(name, key, text, known[key]) for key, text in parameters.items()})


def _numbers(name: str, texts: tuple[str, ...]) -> tuple[float, ...]:
    try:
        return tuple(map(float, texts))
    except ValueError as error:
        raise SettingError(f"parameter {name} is {','.join(texts)!r}; allowed: numbers with commas between") from error
