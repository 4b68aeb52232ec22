# SPDX-License-Identifier: MIT
"""Launches rgb_to_frames.cu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vireo_kernels.arguments import Array
from vireo_kernels.coefficients import encode_coefficients
from vireo_kernels.cuda.frames_to_rgb import COLUMNS
from vireo_kernels.cuda.runner import Runner, is_aligned, whole
from vireo_kernels.layout import BITS, PixelFormat
from vireo_kernels.reference.color import is_cosited

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout


def rgb_to_frames(
    rgb: Array,
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout,
    dither: bool,
    out: Array,
    runner: Runner,
) -> None:
    """`vireo_kernels.color.rgb_to_frames` of checked arguments into `out`."""
    dtype = str(rgb.dtype)
    narrow = dtype == "uint8" and not dither
    c = encode_coefficients(color.matrix, color.color_range, BITS[pixel_format], 8 if narrow else 16)
    samples = 3 if layout == "interleaved" else 1
    vertical, horizontal = is_cosited(color.chroma_location)
    dithered = "dithered_" if dtype == "uint8" and dither else ""
    runner.launch(
        "rgb_to_frames.cu",
        f"rgb_to_frames_{dithered}{dtype}_{pixel_format}",
        items=(-(-width // COLUMNS), (height + 1) // 2, rgb.shape[0]),
        arguments=[
            rgb,
            out,
            *whole(width, height, 2 * ((width + 1) // 2), vertical, horizontal, layout == "interleaved"),
            *whole(is_aligned(runner, rgb, samples * width * rgb.dtype.itemsize)),
            *whole(is_aligned(runner, out, out.shape[2]), dither),
            *whole(c.yr, c.yg, c.yb, c.ur, c.ug, c.ub, c.vr, c.vg, c.vb),
            np.int64(c.offset_y),
            np.int64(c.offset_c),
        ],
    )
