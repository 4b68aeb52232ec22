# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Resize compiled for the CPU; `vireo_kernels.reference.resize` says what it computes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import read_only
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.passes import BLOCK, row_directly, rows_by_block, store_row, sum_columns, transpose_rows
from vireo_kernels.cpu.words import kept_like, sums_like, wide
from vireo_kernels.filters import Filter, Taps, rounding_of, taps_for

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.fit import Fit


@compiled
def _resize(
    source, pictures, source_width, source_height, channels, plan, x_start, x_weights, y_start, y_weights, out, at
):
    """Pictures of `channels` interleaved channels; `source` and, from `at` on, `out` are flat."""
    keep_shift, low, high = wide(plan[0], source), wide(plan[1], source), wide(plan[2], source)
    end_shift, end_high = wide(plan[3], source), wide(plan[4], source)
    blocks, out_picture, out_row = plan[5], plan[6], plan[7]
    half, end_half = wide(1 << (plan[0] - 1), source), wide(1 << (plan[3] - 1), source)
    pitch, taps = source_width * channels, y_weights.shape[1]
    ring = kept_like((taps + BLOCK) * x_start.size * channels, source).reshape(taps + BLOCK, -1)
    sums, block_sums = sums_like(x_start.size * channels, source), sums_like(BLOCK, source)
    block, line = np.empty(pitch * BLOCK * blocks, source.dtype), kept_like(BLOCK * BLOCK, source)
    finished = np.empty(x_start.size * channels, out.dtype)
    for picture in range(pictures):
        base = picture * source_height * pitch
        done = 0
        for y in range(y_start.size):
            first = y_start[y]
            done = max(done, first)
            while done < first + taps:
                if blocks:
                    # The last block reaches back, so that it too has 32 rows.
                    begin = min(done, source_height - BLOCK)
                    for channel in range(channels):
                        at_row = base + begin * pitch + channel
                        transpose_rows(
                            source, at_row, pitch, channels, source_width, block, channel * source_width * BLOCK
                        )
                    rows_by_block(
                        block, channels, x_start, x_weights, half, keep_shift, low, high, block_sums, line, ring, begin
                    )
                    done = begin + BLOCK
                else:
                    row = source[base + done * pitch : base + (done + 1) * pitch]
                    kept = ring[done % ring.shape[0]]
                    row_directly(row, channels, 1, channels, x_start, x_weights, half, keep_shift, low, high, kept)
                    done += 1
            to = at + picture * out_picture + y * out_row
            if channels == 1:
                row = out[to : to + x_start.size]
                sum_columns(ring, first, y_weights[y], end_half, end_shift, end_high, source, sums, row)
            else:
                sum_columns(ring, first, y_weights[y], end_half, end_shift, end_high, source, sums, finished)
                store_row(finished, channels, to, 1, channels, out)


def by_blocks(x: Taps, y: Taps, source_width: int, source_height: int) -> bool:
    """Whether 32 rows at a time are faster than one by one.

    Measured costs: 8 for a tap of a single row; in a block 2 for a tap, and 1 to transpose a sample.
    """
    row_taps = x.weights.size
    needed_rows = min(y.weights.size, source_height)
    return source_height >= BLOCK and 8 * needed_rows * row_taps > source_height * (source_width + 2 * row_taps)


def plan_of(
    *, top: int, filter_name: Filter, antialias: bool, blocks: bool, picture: int, row: int
) -> npt.NDArray[Any]:
    """The numbers of a resize: shift, least and largest value between the passes; shift and largest value at the end;
    whether rows go by blocks; samples of the result from picture to picture and from row to row."""
    rounding = rounding_of(filter_name, antialias)
    wild = (128 * (top + 1)) - 1
    low, high = (0, top) if rounding.clip_between else (-wild, wild)
    keep, end = rounding.weight_bits - rounding.kept_bits, rounding.weight_bits + rounding.kept_bits
    return np.array([keep, low, high, end, top, blocks, picture, row], np.int64)


def resize_image(
    image: npt.NDArray[Any],
    *,
    fit: Fit,
    filter_name: Filter,
    antialias: bool,
    layout: Layout,
    fill: int,
    out: npt.NDArray[Any],
) -> None:
    """`vireo_kernels.resize.resize_image` of checked arguments into `out`."""
    if layout == "planar":
        count, channels = image.shape[0] * image.shape[1], 1
        source_height, source_width = image.shape[2:]
    else:
        count, source_height, source_width, channels = image.shape
    fill_border(out.reshape(count, fit.height, fit.width, channels), fit, fill)
    x = window(taps_for(filter_name, antialias, source_width, fit.resized_width), fit.left, fit.width, source_width)
    y = window(taps_for(filter_name, antialias, source_height, fit.resized_height), fit.top, fit.height, source_height)
    blocks = by_blocks(x, y, source_width, source_height)
    row = fit.width * channels
    plan = plan_of(
        top=int(np.iinfo(image.dtype).max),
        filter_name=filter_name,
        antialias=antialias,
        blocks=blocks,
        picture=fit.height * row,
        row=row,
    )
    at = max(fit.top, 0) * row + max(fit.left, 0) * channels
    flat = read_only(image.reshape(-1))
    _resize(
        flat,
        count,
        source_width,
        source_height,
        channels,
        plan,
        x.start,
        x.weights,
        y.start,
        y.weights,
        out.reshape(-1),
        at,
    )


def fill_border(out: npt.NDArray[Any], fit: Fit, fill: int) -> None:
    """Fill what `fit` leaves free of `(..., height, width, C)`."""
    top, left = max(fit.top, 0), max(fit.left, 0)
    bottom, right = fit.top + fit.resized_height, fit.left + fit.resized_width
    out[..., :top, :, :] = fill
    out[..., bottom:, :, :] = fill
    out[..., :left, :] = fill
    out[..., right:, :] = fill


@lru_cache(maxsize=64)
def window(taps: Taps, offset: int, size: int, source: int) -> Taps:
    """The taps of those samples that lie on a canvas of `size`, the first of them at `offset`.

    Their number is raised to one the loops are made for: 2, or a multiple of 4, where the source is as long as that.
    """
    part = slice(max(-offset, 0), min(len(taps.start), size - offset))
    start, weights = taps.start[part], taps.weights[part]
    given = weights.shape[1]
    wanted = 2 if given <= 2 else -(-given // 4) * 4
    if given < wanted <= source:
        moved = np.minimum(start, source - wanted)
        columns = np.arange(wanted) - (start - moved)[:, None]
        inside = (columns >= 0) & (columns < given)
        weights = np.where(inside, np.take_along_axis(weights, columns.clip(0, given - 1), axis=1), 0).astype(np.int32)
        start = moved
    return Taps(start=read_only(np.ascontiguousarray(start)), weights=read_only(np.ascontiguousarray(weights)))
