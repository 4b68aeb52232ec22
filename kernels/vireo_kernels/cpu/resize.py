# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Resize compiled for the CPU; `vireo_kernels.reference.resize` says what it computes.

# Note [How rows are resized with vector code]
# Along a row every target sample has another window, so there is nothing to vectorise; across rows there is. So 32 rows
# are transposed, and each weight then multiplies 32 adjacent samples. Where a row gives fewer sums than it has samples
# (a plain reduction), the rows that are needed are summed directly instead. The results wait in a ring of rows until
# the columns that need them are summed: nothing as large as the picture is ever held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numba import njit

from vireo_kernels.arguments import read_only
from vireo_kernels.cpu.words import kept_like, sums_like, wide
from vireo_kernels.filters import Filter, Taps, rounding_of, taps_for

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.fit import Fit

BLOCK = 32
U = np.uintp
I32 = np.int32
compiled = njit(nogil=True, cache=True)


@compiled
def transpose_rows(rows, base, pitch, step, count, block, to):
    """`block[to + 32 x + r] = rows[base + r * pitch + x * step]` for 32 rows of `count` samples; both flat."""
    if step == 1:
        for x in range(U(count)):
            for r in range(U(BLOCK)):
                block[U(to) + x * U(BLOCK) + r] = rows[U(base) + r * U(pitch) + x]
    else:
        for x in range(U(count)):
            for r in range(U(BLOCK)):
                block[U(to) + x * U(BLOCK) + r] = rows[U(base) + r * U(pitch) + x * U(step)]


@compiled
def _sum_two(block, first, weights, at, half, shift, low, high, line, to):
    """Two taps of 32 transposed rows: the usual case of an enlargement."""
    wa, wb = weights[at], weights[at + U(1)]
    for r in range(U(BLOCK)):
        total = wide(half + wide(block[first + r], block) * wa + wide(block[first + r + U(BLOCK)], block) * wb, block)
        line[to + r] = min(max(wide(total >> (shift & 31), block), low), high)


@compiled
def _sum_four(block, first, weights, at, half, shift, low, high, line, to):
    """Four taps of 32 transposed rows."""
    wa, wb, wc, wd = weights[at], weights[at + U(1)], weights[at + U(2)], weights[at + U(3)]
    for r in range(U(BLOCK)):
        total = wide(
            half
            + wide(block[first + r], block) * wa
            + wide(block[first + U(BLOCK) + r], block) * wb
            + wide(block[first + U(2 * BLOCK) + r], block) * wc
            + wide(block[first + U(3 * BLOCK) + r], block) * wd,
            block,
        )
        line[to + r] = min(max(wide(total >> (shift & 31), block), low), high)


@compiled
def _sum_more(block, first, weights, at, taps, half, shift, low, high, sums, line, to):
    """Any number of taps of 32 transposed rows; four at a time, so that the sums are loaded and stored less often."""
    for r in range(U(BLOCK)):
        sums[r] = half
    for _ in range(taps // U(4)):
        wa, wb, wc, wd = weights[at], weights[at + U(1)], weights[at + U(2)], weights[at + U(3)]
        for r in range(U(BLOCK)):
            sums[r] = wide(
                sums[r]
                + wide(block[first + r], block) * wa
                + wide(block[first + U(BLOCK) + r], block) * wb
                + wide(block[first + U(2 * BLOCK) + r], block) * wc
                + wide(block[first + U(3 * BLOCK) + r], block) * wd,
                block,
            )
        first += U(4 * BLOCK)
        at += U(4)
    # A rest of less than four taps: only where the source is shorter than the window.
    for _ in range(taps % U(4)):
        wa = weights[at]
        for r in range(U(BLOCK)):
            sums[r] = wide(sums[r] + wide(block[first + r], block) * wa, block)
        first += U(BLOCK)
        at += U(1)
    for r in range(U(BLOCK)):
        line[to + r] = min(max(wide(sums[r] >> (shift & 31), block), low), high)


@compiled
def rows_by_block(block, channels, start, weights, half, shift, low, high, sums, line, ring, at):
    """Sum 32 transposed rows into the ring, at row `at` and after; `line` holds 32 x 32 results in between.

    `block` is `(channels, source, 32)`, flat.
    """
    target, capacity, columns = start.size, ring.shape[0], ring.shape[1]
    source = block.size // (BLOCK * channels)
    flat, flat_weights = ring.reshape(-1), weights.reshape(-1)
    taps = U(weights.shape[1])
    for channel in range(channels):
        for tile in range(0, target, BLOCK):
            count = min(BLOCK, target - tile)
            for x in range(count):
                first = U(channel * source + start[tile + x]) * U(BLOCK)
                window = U(tile + x) * taps
                if taps == U(2):
                    _sum_two(block, first, flat_weights, window, half, shift, low, high, line, U(x * BLOCK))
                elif taps == U(4):
                    _sum_four(block, first, flat_weights, window, half, shift, low, high, line, U(x * BLOCK))
                else:
                    _sum_more(
                        block, first, flat_weights, window, taps, half, shift, low, high, sums, line, U(x * BLOCK)
                    )
            for r in range(BLOCK):
                to = U(((at + r) % capacity) * columns + channel * target + tile)
                for x in range(U(count)):
                    flat[to + x] = line[x * U(BLOCK) + U(r)]


@compiled
def row_directly(row, channels, channel_step, step, start, weights, half, shift, low, high, target_row):
    """Sum one row."""
    for channel in range(channels):
        offset = channel * channel_step
        for x in range(start.size):
            first = offset + start[x] * step
            total = half
            for tap in range(weights.shape[1]):
                total = wide(total + wide(row[first + tap * step], row) * weights[x, tap], row)
            target_row[channel * start.size + x] = min(max(wide(total >> (shift & 31), row), low), high)


@compiled
def _add_four(a, b, c, d, wa, wb, wc, wd, like, sums):
    for x in range(sums.size):
        sums[x] = wide(
            sums[x] + wide(a[x], like) * wa + wide(b[x], like) * wb + wide(c[x], like) * wc + wide(d[x], like) * wd,
            like,
        )


@compiled
def _finish_two(a, b, wa, wb, half, shift, high, like, out):
    for x in range(out.size):
        total = wide(half + wide(a[x], like) * wa + wide(b[x], like) * wb, like)
        out[x] = min(max(wide(total >> (shift & 31), like), wide(0, like)), high)


@compiled
def _finish_four(a, b, c, d, wa, wb, wc, wd, half, shift, high, like, out):
    for x in range(out.size):
        total = wide(
            half + wide(a[x], like) * wa + wide(b[x], like) * wb + wide(c[x], like) * wc + wide(d[x], like) * wd, like
        )
        out[x] = min(max(wide(total >> (shift & 31), like), wide(0, like)), high)


@compiled
def _finish(sums, shift, high, like, out):
    for x in range(out.size):
        out[x] = min(max(wide(sums[x] >> (shift & 31), like), wide(0, like)), high)


@compiled
def sum_columns(ring, first, weights, half, shift, high, like, sums, out):
    """Weighted sums of the ring's rows `first` and after, shifted and clipped, into the row `out`."""
    capacity, taps = ring.shape[0], weights.size
    if taps == 2:
        wa, wb = wide(weights[0], like), wide(weights[1], like)
        _finish_two(ring[first % capacity], ring[(first + 1) % capacity], wa, wb, half, shift, high, like, out)
        return
    if taps > 4:
        sums[:] = half
    for tap in range(0, taps, 4):
        # Tables of small pictures may have a rest of less than four taps: those missing count nothing.
        b, c, d = min(tap + 1, taps - 1), min(tap + 2, taps - 1), min(tap + 3, taps - 1)
        wa, wb = wide(weights[tap], like), wide(weights[b] if tap + 1 < taps else 0, like)
        wc, wd = wide(weights[c] if tap + 2 < taps else 0, like), wide(weights[d] if tap + 3 < taps else 0, like)
        row_a, row_b = ring[(first + tap) % capacity], ring[(first + b) % capacity]
        row_c, row_d = ring[(first + c) % capacity], ring[(first + d) % capacity]
        if taps <= 4:
            _finish_four(row_a, row_b, row_c, row_d, wa, wb, wc, wd, half, shift, high, like, out)
            return
        _add_four(row_a, row_b, row_c, row_d, wa, wb, wc, wd, like, sums)
    _finish(sums, shift, high, like, out)


@compiled
def store_row(row, channels, at, channel_step, step, tables, out):
    """One row of all channels, one after the other, to `out` (flat) from `at` on.

    `tables` has for each channel what a sample becomes, or is empty.
    """
    target = row.size // channels
    for channel in range(channels):
        part = row[channel * target : (channel + 1) * target]
        start = at + channel * channel_step
        to = out[start : start + (target - 1) * step + 1]
        if tables.size:
            table = tables[channel]
            for x in range(part.size):
                to[x * step] = table[part[x]]
        elif step == 3:
            for x in range(part.size):
                to[3 * x] = part[x]
        else:
            for x in range(part.size):
                to[x * step] = part[x]


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
    finished, tables = np.empty(x_start.size * channels, out.dtype), np.empty((0, 0), out.dtype)
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
                    row_directly(
                        row,
                        channels,
                        1,
                        channels,
                        x_start,
                        x_weights,
                        half,
                        keep_shift,
                        low,
                        high,
                        ring[done % ring.shape[0]],
                    )
                    done += 1
            to = at + picture * out_picture + y * out_row
            if channels == 1:
                row = out[to : to + x_start.size]
                sum_columns(ring, first, y_weights[y], end_half, end_shift, end_high, source, sums, row)
            else:
                sum_columns(ring, first, y_weights[y], end_half, end_shift, end_high, source, sums, finished)
                store_row(finished, channels, to, 1, channels, tables, out)


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


def resize(
    image: npt.NDArray[Any],
    *,
    fit: Fit,
    filter_name: Filter,
    antialias: bool,
    layout: Layout,
    fill: int,
    out: npt.NDArray[Any],
) -> None:
    """`vireo_kernels.resize.resize` of checked arguments into `out`."""
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


def fill_border(out: npt.NDArray[Any], fit: Fit, fill: int) -> None:
    """Fill what `fit` leaves free of `(..., height, width, C)`."""
    top, left = max(fit.top, 0), max(fit.left, 0)
    bottom, right = fit.top + fit.resized_height, fit.left + fit.resized_width
    out[..., :top, :, :] = fill
    out[..., bottom:, :, :] = fill
    out[..., :left, :] = fill
    out[..., right:, :] = fill
