# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Colour, resize and normalisation in one pass, compiled for the CPU: RGB exists for 32 rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import read_only
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.frames_to_rgb import factors, rgb_row, scratch_for
from vireo_kernels.cpu.passes import BLOCK, row_directly, rows_by_block, store_row, sum_columns, transpose_rows
from vireo_kernels.cpu.resize import by_blocks, fill_border, plan_of, window
from vireo_kernels.cpu.words import kept_like, sums_like
from vireo_kernels.filters import Filter, taps_for
from vireo_kernels.layout import BITS, PixelFormat
from vireo_kernels.reference.color import is_cosited
from vireo_kernels.reference.network_input import normalization_table

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout
    from vireo_kernels.fit import Fit
    from vireo_kernels.network_input import Normalization

I32 = np.int32


@compiled
def _frames_to_input(
    octets,
    ten,
    count,
    width,
    height,
    middle,
    vertical,
    horizontal,
    k,
    plan,
    x_start,
    x_weights,
    y_start,
    y_weights,
    out,
    at,
):
    """`plan` as of a resize, with the strides of channels and samples after it."""
    keep_shift, low, high, end_shift, end_high = I32(plan[0]), I32(plan[1]), I32(plan[2]), I32(plan[3]), I32(plan[4])
    blocks, out_picture, out_row, out_channel, out_step = plan[5], plan[6], plan[7], plan[8], plan[9]
    half, end_half = I32(1 << (plan[0] - 1)), I32(1 << (plan[3] - 1))
    taps, columns = y_weights.shape[1], 3 * x_start.size
    frame = (height + (height + 1) // 2) * 2 * ((width + 1) // 2)
    lines = BLOCK if blocks else 1
    like = np.empty(lines * 3 * width, np.uint8)
    scratch = scratch_for(width)
    ring = kept_like((taps + BLOCK) * columns, like).reshape(taps + BLOCK, -1)
    sums, block_sums, finished = sums_like(columns, like), sums_like(BLOCK, like), np.empty(columns, np.uint8)
    block, line = np.empty(3 * width * BLOCK * blocks, np.uint8), kept_like(BLOCK * BLOCK, like)
    for t in range(count):
        done = 0
        for y in range(y_start.size):
            first = y_start[y]
            done = max(done, first)
            while done < first + taps:
                # The last block reaches back, so that it too has as many rows.
                begin = min(done, height - lines)
                for r in range(lines):
                    rgb_row(
                        octets,
                        ten,
                        t * frame,
                        height,
                        begin + r,
                        vertical,
                        horizontal,
                        middle,
                        k,
                        scratch,
                        like,
                        3 * r * width,
                        width,
                        width,
                    )
                if blocks:
                    transpose_rows(like, 0, 3 * width, 1, 3 * width, block, 0)
                    rows_by_block(
                        block, 3, x_start, x_weights, half, keep_shift, low, high, block_sums, line, ring, begin
                    )
                else:
                    kept = ring[done % ring.shape[0]]
                    row_directly(like, 3, width, 1, x_start, x_weights, half, keep_shift, low, high, kept)
                done = begin + lines
            sum_columns(ring, first, y_weights[y], end_half, end_shift, end_high, like, sums, finished)
            store_row(finished, 3, at + t * out_picture + y * out_row, out_channel, out_step, out)


@compiled
def _look_up(codes, tables, step, out):
    """What the table of each channel has for its codes: `(3, n)`, or `(n, 3)` where `step` is 3."""
    size = codes.size // 3
    for channel in range(3):
        table = tables[channel]
        if step == 1:
            part, numbers = codes[channel * size : (channel + 1) * size], out[channel * size : (channel + 1) * size]
            for i in range(part.size):
                numbers[i] = table[part[i]]
        else:
            for i in range(size):
                out[3 * i + channel] = table[codes[3 * i + channel]]


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
    layout: Layout,
    fill: int,
    out: npt.NDArray[Any],
) -> None:
    """`vireo_kernels.network_input.frames_to_input` of checked arguments into `out`."""
    k, middle4 = factors(color, BITS[pixel_format], 8)
    vertical, horizontal = is_cosited(color.chroma_location)
    x = window(taps_for(filter_name, antialias, width, fit.resized_width), fit.left, fit.width, width)
    y = window(taps_for(filter_name, antialias, height, fit.resized_height), fit.top, fit.height, height)
    planar = layout == "planar"
    row, step = (fit.width, 1) if planar else (3 * fit.width, 3)
    plan = plan_of(
        top=255,
        filter_name=filter_name,
        antialias=antialias,
        blocks=by_blocks(x, y, width, height),
        picture=3 * fit.height * fit.width,
        row=row,
    )
    strides = np.array([fit.height * fit.width if planar else 1, step], np.int64)
    plan = np.concatenate([plan, strides])
    at = max(fit.top, 0) * row + max(fit.left, 0) * step
    codes = out
    if str(out.dtype) != "uint8":
        # Codes of one picture at a time, which the tables turn into numbers.
        codes = np.empty((1, *out.shape[1:]), np.uint8)
        tables = normalization_table(normalization, str(out.dtype))
        tables = read_only(tables.view(np.uint16) if str(out.dtype) == "float16" else tables)
    size = codes.shape[0]
    canvas = codes if not planar else codes.reshape(-1, fit.height, fit.width, 1)
    fill_border(canvas, fit, fill)
    for first in range(0, len(frames), size):
        _frames_to_input(
            read_only(frames[first : first + size].reshape(-1)),
            pixel_format == "p010",
            size,
            width,
            height,
            middle4,
            vertical,
            horizontal,
            k,
            plan,
            x.start,
            x.weights,
            y.start,
            y.weights,
            codes.reshape(-1),
            at,
        )
        if codes is not out:
            numbers = out[first].reshape(-1)
            numbers = numbers.view(np.uint16) if str(out.dtype) == "float16" else numbers
            _look_up(read_only(codes.reshape(-1)), tables, 1 if planar else 3, numbers)
