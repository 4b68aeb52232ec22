# SPDX-License-Identifier: MIT
"""Launches frames_to_input.cu."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import Array
from vireo_kernels.cuda.frames_to_rgb import COLUMNS, color_arguments
from vireo_kernels.cuda.resize import fill_border, rounding_arguments, windows
from vireo_kernels.cuda.runner import Runner, is_aligned, whole
from vireo_kernels.filters import Filter
from vireo_kernels.layout import BITS, PixelFormat
from vireo_kernels.reference.color import is_cosited
from vireo_kernels.reference.network_input import normalization_table

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout
    from vireo_kernels.fit import Fit
    from vireo_kernels.network_input import Normalization


@lru_cache(maxsize=64)
def code_table(normalization: Normalization, dtype: str) -> npt.NDArray[Any]:
    """`(3, 256)`: what each code becomes; the codes themselves for uint8, whose kernel does not look."""
    if dtype == "uint8":
        return np.tile(np.arange(256).astype(np.uint8), (3, 1))
    return normalization_table(normalization, dtype)


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
    normalization: Normalization,
    layout: Layout,
    fill: int,
    out: Array,
    runner: Runner,
) -> None:
    """`vireo_kernels.network_input.frames_to_input` of checked arguments into `out`."""
    dtype, bits = str(out.dtype), BITS[pixel_format]
    table = code_table(normalization, dtype)
    planar = layout == "planar"
    for channel in range(3):
        plane = out[:, channel, :, :, None] if planar else out[:, :, :, channel : channel + 1]
        fill_border(plane, fit, table[channel, fill])
    x = windows(filter_name, antialias, width, fit.resized_width, fit.left, fit.width, 1, COLUMNS)
    y = windows(filter_name, antialias, height, fit.resized_height, fit.top, fit.height, 1, 1)
    vertical, horizontal = is_cosited(color.chroma_location)
    runner.launch(
        "frames_to_input.cu",
        f"frames_to_input_{pixel_format}_{dtype}",
        items=(len(x.start), len(y.start), frames.shape[0]),
        arguments=[
            frames,
            out,
            *(runner.table(values) for values in (table, x.start, x.weights, y.start, y.weights)),
            *whole(width, height, 2 * ((width + 1) // 2), vertical, horizontal),
            *whole(is_aligned(runner, frames, frames.shape[2])),
            *color_arguments(color, bits, 8),
            *whole(len(x.start), len(y.start), x.weights.shape[1], y.weights.shape[1]),
            *whole(max(fit.left, 0), max(fit.top, 0), fit.width, fit.height, not planar),
            *rounding_arguments(filter_name, antialias, 255),
        ],
    )
