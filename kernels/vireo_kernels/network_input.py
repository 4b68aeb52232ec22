# SPDX-License-Identifier: MIT
"""From FRAMES to what a network is fed, in one pass: colour, resize and normalisation without the picture in
between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vireo_kernels.arguments import Array, require_choice
from vireo_kernels.color import ColorSpec, Layout, require_color, rgb_shape
from vireo_kernels.devices import adopt, result_array
from vireo_kernels.filters import Filter
from vireo_kernels.fit import Fit
from vireo_kernels.layout import PixelFormat, require_frames
from vireo_kernels.resize import require_fill, require_filter, require_fit

InputType = Literal["uint8", "float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What a network expects of its samples: (code / 255 - mean) / std, for red, green and blue.

    Raises:
        ValueError: not three finite numbers, or a std that is not positive.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"Normalization: {name} is {values!r}; it must be three finite numbers, red first")
        if min(self.std) <= 0:
            raise ValueError(f"Normalization: std is {self.std!r}; each number must be positive")


def frames_to_input(
    frames: Array,
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    fit: Fit,
    filter_name: Filter,
    antialias: bool,
    normalization: Normalization | None = None,
    layout: Layout = "planar",
    dtype: InputType = "uint8",
    fill: int = 0,
    out: Array | None = None,
) -> Array:
    """`frames_to_rgb` to uint8, `resize_image`, and normalisation, with the same bits as these three one after the
    other.

    Args:
        frames: `(T, H + ceil(H/2), 2 ceil(W/2) B) uint8`, C-contiguous (see `layout`).
        width: of the picture, in luma samples.
        height: of the picture, in rows.
        pixel_format: `nv12` or `p010`.
        color: matrix, range and chroma location of the frames.
        fit: the size, and what is cropped or added; see `vireo_kernels.fit`.
        filter_name: see `vireo_kernels.resize.resize_image`.
        antialias: see `vireo_kernels.resize.resize_image`.
        normalization: for float16 and float32; without it they are code / 255. Not allowed with uint8.
        layout: `planar` (T, 3, H, W) or `interleaved` (T, H, W, 3).
        dtype: `uint8`, or `float32` and `float16`, computed in float64 and rounded once.
        fill: the code (0..255, before normalisation) around the picture where `fit` leaves a border.
        out: the result's array, C-contiguous; made if not given.

    Returns:
        `(T, 3, fit.height, fit.width)` or `(T, fit.height, fit.width, 3)` of `dtype`, red first; `out` if given.

    Raises:
        TypeError: an array of another dtype or kind.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    function = "frames_to_input"
    device, (frames, given) = adopt(function, frames=frames, out=out)
    require_frames(function, "frames", frames, width=width, height=height, pixel_format=pixel_format)
    require_color(function, color)
    require_fit(function, fit)
    require_filter(function, filter_name, antialias)
    require_choice(function, "layout", layout, get_args(Layout))
    require_choice(function, "dtype", dtype, get_args(InputType))
    require_fill(function, fill, "uint8")
    if normalization is not None and not isinstance(normalization, Normalization):
        raise TypeError(f"{function}: normalization is {normalization!r}; it must be a Normalization or None")
    if dtype == "uint8" and normalization is not None:
        raise ValueError(
            f"{function}: normalization is {normalization!r} with dtype 'uint8'; uint8 samples stay codes: "
            "pass None, or dtype 'float32' or 'float16'"
        )
    shape = rgb_shape(frames.shape[0], width=fit.width, height=fit.height, layout=layout)
    result = result_array(function, device, given, dtype, shape)
    device.run(
        "network_input",
        "frames_to_input",
        frames,
        width=width,
        height=height,
        pixel_format=pixel_format,
        color=color,
        fit=fit,
        filter_name=filter_name,
        antialias=antialias,
        normalization=normalization or Normalization(),
        layout=layout,
        fill=int(fill),
        out=result,
    )
    return result if out is None else out
