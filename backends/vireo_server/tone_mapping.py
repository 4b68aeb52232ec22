# SPDX-License-Identifier: MIT
"""The tone_mapping stage: SDR frames to HDR10 frames or HDR frames to SDR frames, each by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from fractions import Fraction
from typing import Any, get_args

import numpy as np
from vireo_kernels.color import frames_to_rgb, rgb_shape, rgb_to_frames
from vireo_kernels.tone_mapping import HDR_PEAK, MAX_NITS, PEAKS, Method, hdr_to_sdr, sdr_to_hdr
from vireo_kernels.transfer import Curve, LightSpec, Primaries
from vireo_media.description import HDR_TRANSFERS

from vireo_server.errors import BadInput, StageError
from vireo_server.formats import (
    KIND,
    ROW,
    SPARE,
    UNTOUCHED,
    Color,
    Format,
    PixelFormat,
    check_frames,
    frame_shape,
    spare_rows,
)
from vireo_server.hdr import DITHER, HDR10_COLOR, hdr10_format, require_sdr
from vireo_server.sequences import Stage
from vireo_server.settings import ToneMappingSettings
from vireo_server.side import HOST, Border, Side
from vireo_server.tags import NOTHING, color_spec
from vireo_server.wire import Pixels, Request, Tensors

STAGE = "tone_mapping"

SDR_COLOR = Color(matrix="bt709", range="tv", transfer="bt709", primaries="bt709", chroma_location="left")

#: FFmpeg's names of transfer functions -> the light they mean. Cameras' curves are not what displays undo: SDR is shown
#: by BT.1886 whatever it says, but for pictures made on computers.
_CURVES: dict[str, Curve] = {
    **dict.fromkeys(
        ("bt709", "smpte170m", "smpte240m", "bt470bg", "bt470m", "iec61966-2-4", "bt1361e", "bt2020-10", "bt2020-12"),
        "bt1886",
    ),
    "iec61966-2-1": "srgb",
    "smpte2084": "pq",
    "arib-std-b67": "hlg",
}
_PRIMARIES: dict[str, Primaries] = {**{name: name for name in get_args(Primaries)}, "smpte240m": "smpte170m"}


def warm_up(settings: ToneMappingSettings, side: Side = HOST) -> None:
    """Compile what the first stream would otherwise wait for, and make its tables."""
    color = HDR10_COLOR if settings.target == "sdr" else SDR_COLOR
    for method in get_args(Method):
        for layout in get_args(PixelFormat):
            format = replace(NOTHING, color=color, pixel_format=layout, options={"method": method})
            mapping = mapping_of(settings)
            mapping.open(format)
            shape = frame_shape(width=format.width, height=format.height, pixel_format=layout)
            _map_frames(side.xp.zeros((1, *shape), np.uint8), format, mapping, _buffer(format, side), side)


class Mapping(ABC):
    """What becomes of the frames of one stream."""

    #: What the stream's options `method` may be, the default first.
    methods: tuple[Method, ...] = get_args(Method)

    def open(self, format: Format) -> None:
        """Read the stream's options. Raises BadInput."""
        self.method: Method = _choice(format.options, "method", self.methods)
        self.dither: bool = _choice(format.options, DITHER, (True, False))

    @abstractmethod
    def format(self, format: Format) -> Format:
        """The format of the result for frames of `format`."""

    @abstractmethod
    def map(self, rgb: Pixels, source: LightSpec) -> None:
        """Map pictures `(T, 3, H, W)` in place."""


class _ToHdr10(Mapping):
    def open(self, format: Format) -> None:
        require_sdr(format, stage=STAGE)
        super().open(format)

    def format(self, format: Format) -> Format:
        return hdr10_format(format, light=MAX_NITS[self.method], stage=STAGE)

    def map(self, rgb: Pixels, source: LightSpec) -> None:
        sdr_to_hdr(rgb, method=self.method, source=source, out=rgb)


class _ToSdr(Mapping):
    methods = ("bt2446a", "bt2446c", "direct")

    def open(self, format: Format) -> None:
        if format.color.transfer not in HDR_TRANSFERS:
            raise BadInput(
                f"the source is SDR (transfer {format.color.transfer!r}); allowed: HDR, "
                f"{' or '.join(HDR_TRANSFERS)}; use it as it is, or mend its tags",
                stage=STAGE,
            )
        super().open(format)
        self._peak = format.options.get("peak", _peak_of(format.hdr))
        if not isinstance(self._peak, int) or self._peak not in PEAKS:
            raise BadInput(f"option peak is {self._peak!r}; allowed: {PEAKS[0]} to {PEAKS[-1]} cd/m2", stage=STAGE)

    def format(self, format: Format) -> Format:
        return replace(format, pixel_format="nv12", color=SDR_COLOR, hdr=None)

    def map(self, rgb: Pixels, source: LightSpec) -> None:
        hdr_to_sdr(rgb, method=self.method, source=source, peak=self._peak, out=rgb)


def mapping_of(settings: ToneMappingSettings) -> Mapping:
    """A new stream's mapping."""
    return _ToHdr10() if settings.target == "hdr10" else _ToSdr()


class ToneMappingStage(Stage):
    """The tone_mapping stage of one stream: FRAMES in one dynamic range to FRAMES in another.

    Every picture is mapped by itself, in 16-bit R'G'B', and goes to encode untouched (TIMING's `row`), or through a
    preprocess stage to a network of 8 bit.
    """

    def __init__(self, settings: ToneMappingSettings, side: Side = HOST) -> None:
        self._side, self._border = side, Border(side, stage=STAGE)
        self._mapping = mapping_of(settings)
        self._format = NOTHING
        self._rgb: Pixels | None = None

    def listen(self, request: Request) -> None:
        """Pass on what decode could not do."""
        self._format = Format.from_json(request.json("FORMAT"), stage=STAGE)
        self._format.raise_error()

    def open(self, request: Request) -> None:
        """Check what decode says of the stream, and the stream's options."""
        self._mapping.open(self._format)
        self._mapping.format(self._format)
        light_spec(self._format.color)
        color_spec(self._format.color, stage=STAGE)

    def step(self, request: Request) -> Tensors:
        """FRAMES, TIMING and FORMAT for one request."""
        frames, timing = request.pixels("FRAMES"), request.array("TIMING").copy()
        check_frames(frames, self._format, stage=STAGE)
        pictures = np.flatnonzero(timing[:, KIND] != SPARE)
        if not len(pictures):
            return {**spare_rows(self._mapping.format(self._format), self._side), "TIMING": timing}
        timing[pictures, ROW] = UNTOUCHED
        if self._rgb is None:
            self._rgb = _buffer(self._format, self._side)
        mapped = _map_frames(self._border.bring(frames), self._format, self._mapping, self._rgb, self._side)
        format = self._mapping.format(self._format)
        format = replace(format, report=self._border.told(format.report))
        return {"FRAMES": mapped, "TIMING": timing, "FORMAT": format.to_json()}

    def failure(self, error: StageError) -> Tensors:
        """One spare row that carries the error to the last stage."""
        return spare_rows(NOTHING.failed(error))

    def close(self) -> None:
        """Free the working picture."""
        self._rgb = None


def light_spec(color: Color) -> LightSpec:
    """What the signals of frames mean. Raises BadInput for what cannot be said."""
    if color.transfer not in _CURVES:
        raise BadInput(
            f"the source's transfer is {color.transfer!r}; allowed: {', '.join(_CURVES)}; convert the source",
            stage=STAGE,
        )
    if color.primaries not in _PRIMARIES:
        raise BadInput(
            f"the source's primaries are {color.primaries!r}; allowed: {', '.join(_PRIMARIES)}; convert the source",
            stage=STAGE,
        )
    return LightSpec(curve=_CURVES[color.transfer], primaries=_PRIMARIES[color.primaries])


def _map_frames(frames: Pixels, format: Format, mapping: Mapping, rgb: Pixels, side: Side) -> Pixels:
    """Row by row, so that what a row needs stays in the processor's cache; `rgb` is where it is worked on."""
    target = mapping.format(format)
    source, light = color_spec(format.color, stage=STAGE), light_spec(format.color)
    color = color_spec(target.color, stage=STAGE)
    shape = frame_shape(width=target.width, height=target.height, pixel_format=target.pixel_format)
    mapped = side.xp.empty((len(frames), *shape), np.uint8)
    for row in range(len(frames)):
        frames_to_rgb(
            frames[row : row + 1],
            width=format.width,
            height=format.height,
            pixel_format=format.pixel_format,
            color=source,
            dtype="uint16",
            out=rgb,
        )
        mapping.map(rgb, light)
        rgb_to_frames(
            rgb, pixel_format=target.pixel_format, color=color, dither=mapping.dither, out=mapped[row : row + 1]
        )
    return mapped


def _buffer(format: Format, side: Side) -> Pixels:
    return side.xp.empty(rgb_shape(1, width=format.width, height=format.height, layout="planar"), np.uint16)


def _choice(options: dict[str, Any], name: str, allowed: tuple[Any, ...]) -> Any:
    """An option of the stream, or the first of what is allowed. Raises BadInput."""
    value = options.get(name, allowed[0])
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        names = ", ".join(str(choice).lower() for choice in allowed)
        raise BadInput(f"option {name} is {value!r}; allowed: {names}", stage=STAGE)
    return value


def _peak_of(hdr: dict[str, Any] | None) -> int:
    """The brightest light that a source's metadata allows, in cd/m2; that of most masters where it says nothing."""
    hdr = hdr or {}
    display, light = hdr.get("mastering_display") or {}, hdr.get("content_light") or {}
    said = [light.get("max_content"), display.get("max_luminance") and round(Fraction(*display["max_luminance"]))]
    known = [int(nits) for nits in said if nits]
    return min(max(min(known, default=HDR_PEAK), PEAKS[0]), PEAKS[-1])
