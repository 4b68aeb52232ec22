# SPDX-License-Identifier: MIT
"""What `vireo_kernels.network_input` computes, in NumPy: the other implementations give the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.reference.color import frames_to_rgb
from vireo_kernels.reference.resize import resize_image

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout
    from vireo_kernels.filters import Filter
    from vireo_kernels.fit import Fit
    from vireo_kernels.layout import PixelFormat
    from vireo_kernels.network_input import InputType, Normalization


def normalization_table(normalization: Normalization, dtype: str) -> npt.NDArray[Any]:
    """`(3, 256)` of `dtype`: what each code of red, green and blue becomes; float64 inside, rounded once."""
    codes = np.arange(256) / 255.0
    rows = [(codes - mean) / std for mean, std in zip(normalization.mean, normalization.std, strict=True)]
    table: npt.NDArray[Any] = np.stack(rows).astype(np.dtype(dtype))
    return table


def frames_to_input(
    frames: npt.NDArray[np.uint8],
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    fit: Fit,
    filter_name: Filter,
    antialias: bool,
    normalization: Normalization,
    layout: Layout = "planar",
    dtype: InputType = "uint8",
    fill: int = 0,
) -> npt.NDArray[Any]:
    """See `vireo_kernels.network_input.frames_to_input`."""
    rgb = frames_to_rgb(frames, width=width, height=height, pixel_format=pixel_format, color=color)
    resized = resize_image(rgb, fit=fit, filter_name=filter_name, antialias=antialias, fill=fill)
    if dtype != "uint8":
        table = normalization_table(normalization, dtype)
        resized = np.stack([table[channel][resized[:, channel]] for channel in range(3)], axis=1)
    return np.ascontiguousarray(np.moveaxis(resized, 1, 3)) if layout == "interleaved" else resized
