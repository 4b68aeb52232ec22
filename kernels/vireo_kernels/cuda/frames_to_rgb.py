# SPDX-License-Identifier: MIT
"""Launches frames_to_rgb.cu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vireo_kernels.arguments import Array
from vireo_kernels.coefficients import decode_coefficients
from vireo_kernels.cuda.runner import Runner, is_aligned, whole
from vireo_kernels.layout import BITS, PixelFormat
from vireo_kernels.reference.color import is_cosited

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout

COLUMNS = 16
"""Columns a thread converts."""


def color_arguments(color: ColorSpec, bits: int, rgb_bits: int) -> list[np.int32 | np.int64]:
    """y, rv, gu, gv, bu, the offset and four times the chroma middle, as the kernels take them."""
    c = decode_coefficients(color.matrix, color.color_range, bits, rgb_bits)
    middle = 1 << (bits - 1)
    # The middle is taken off before the multiplication, so one offset serves the three colours.
    offset = c.offset_r + c.rv * 16 * middle
    luma = c.y if rgb_bits == 8 else c.y >> 4
    return [*whole(luma, c.rv, c.gu, c.gv, c.bu), np.int64(offset), np.int32(4 * middle)]


def frames_to_rgb(
    frames: Array,
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout,
    out: Array,
    runner: Runner,
) -> None:
    """`vireo_kernels.color.frames_to_rgb` of checked arguments into `out`."""
    dtype, bits = str(out.dtype), BITS[pixel_format]
    samples = 3 if layout == "interleaved" else 1
    vertical, horizontal = is_cosited(color.chroma_location)
    *factors, middle4 = color_arguments(color, bits, 8 if dtype == "uint8" else 16)
    runner.launch(
        "frames_to_rgb.cu",
        f"frames_to_rgb_{pixel_format}_{dtype}",
        items=(-(-width // COLUMNS), (height + 1) // 2, frames.shape[0]),
        arguments=[
            frames,
            out,
            *whole(width, height, 2 * ((width + 1) // 2), vertical, horizontal),
            *whole(is_aligned(runner, frames, frames.shape[2])),
            *factors,
            middle4,
            *whole(layout == "interleaved", is_aligned(runner, out, samples * width * out.dtype.itemsize)),
        ],
    )
