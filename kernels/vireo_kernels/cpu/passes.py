# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False
"""The two passes of a resize, along rows and along columns, compiled for the CPU.

# Note [How rows are resized with vector code]
# Along a row every target sample has another window, so there is nothing to vectorise; across rows there is. So 32 rows
# are transposed, and each weight then multiplies 32 adjacent samples. Where a row gives fewer sums than it has samples
# (a plain reduction), the rows that are needed are summed directly instead. The results wait in a ring of rows until
# the columns that need them are summed: nothing as large as the picture is ever held.
# Bytes are transposed in five steps, each of which takes the elements of two rows by turns, of 1, 2, 4, 8 and 16 bytes:
# that is vector code, and took 0.20 ms for three planes of 720p instead of 0.41.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.words import wide

BLOCK = 32
_TILE = 64
"""Columns of bytes that are transposed at a time: they stay in the fastest cache, going to and fro."""
U = np.uintp
I32 = np.int32


@compiled
def _zip(rows, first, second, zipped, to, length):
    """The elements of two rows by turns. `length` is no constant: LLVM would unroll the loop, not make vector code."""
    for i in range(U(length)):
        zipped[to + U(2) * i] = rows[first + i]
        zipped[to + U(2) * i + U(1)] = rows[second + i]


@compiled
def _zip_rows(rows, base, pitch, count, length, zipped):
    """Of each two of `count` rows one of twice the length."""
    for r in range(0, count, 2):
        _zip(rows, U(base + r * pitch), U(base + (r + 1) * pitch), zipped, U(r * length), length)


def _transpose_tiles(rows, base, pitch, count, block, to):
    """Transpose as many columns of 32 rows of bytes as whole tiles have; how many these are."""
    one, two = np.empty(BLOCK * _TILE, np.uint8), np.empty(BLOCK * _TILE, np.uint8)
    pairs, fours, eights = two.view(np.uint16), one.view(np.uint32), two.view(np.uint64)
    words = block.view(np.uint64)
    for x in range(0, count - _TILE + 1, _TILE):
        _zip_rows(rows, base + x, pitch, BLOCK, _TILE, one)
        _zip_rows(one.view(np.uint16), 0, _TILE, 16, _TILE, pairs)
        _zip_rows(two.view(np.uint32), 0, _TILE, 8, _TILE, fours)
        _zip_rows(one.view(np.uint64), 0, _TILE, 4, _TILE, eights)
        # Two rows are left, of 16 bytes a column.
        at = U((to + x * BLOCK) // 8)
        for i in range(U(_TILE)):
            words[at + U(4) * i] = eights[U(2) * i]
            words[at + U(4) * i + U(1)] = eights[U(2) * i + U(1)]
            words[at + U(4) * i + U(2)] = eights[U(2 * _TILE) + U(2) * i]
            words[at + U(4) * i + U(3)] = eights[U(2 * _TILE) + U(2) * i + U(1)]
    return count // _TILE * _TILE


@overload(_transpose_tiles)
def _typed_transpose_tiles(rows, base, pitch, count, block, to):
    if rows.dtype == types.uint8:
        return _transpose_tiles
    return lambda rows, base, pitch, count, block, to: 0


@compiled
def transpose_rows(rows, base, pitch, step, count, block, to):
    """`block[to + 32 x + r] = rows[base + r * pitch + x * step]` for 32 rows of `count` samples; both flat."""
    if step == 1:
        done = _transpose_tiles(rows, base, pitch, count, block, to)
        for x in range(U(done), U(count)):
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
def store_row(row, channels, at, channel_step, step, out):
    """One row of all channels, one after the other, to `out` (flat) from `at` on."""
    target = row.size // channels
    for channel in range(channels):
        part = row[channel * target : (channel + 1) * target]
        start = at + channel * channel_step
        to = out[start : start + (target - 1) * step + 1]
        if step == 3:
            for x in range(part.size):
                to[3 * x] = part[x]
        else:
            for x in range(part.size):
                to[x * step] = part[x]
