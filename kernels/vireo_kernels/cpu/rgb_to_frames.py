# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""RGB to frames, compiled for the CPU; `vireo_kernels.reference.color` says what it computes.

The loops follow the same rules as those of `frames_to_rgb` (see its note).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import read_only
from vireo_kernels.coefficients import CHROMA_BITS, ENCODE_BITS, encode_coefficients
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.frames_to_rgb import CODES, FLOATS, RGB_KINDS
from vireo_kernels.layout import BITS, PixelFormat
from vireo_kernels.reference.color import dither_offsets, is_cosited, unit_to_codes

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout

I32, I64, U = np.int32, np.int64, np.uintp
LUMA8_SHIFT, LUMA16_SHIFT = I32(ENCODE_BITS[8]), I64(ENCODE_BITS[16])
CHROMA8_SHIFT, CHROMA16_SHIFT = I32(ENCODE_BITS[8] + CHROMA_BITS), I64(ENCODE_BITS[16] + CHROMA_BITS)


@compiled
def _luma8(source, red, green, blue, kr, kg, kb, offset, codes, to, width):
    """Luma codes of a row whose colours begin at `red`, `green` and `blue` of `source`."""
    for i in range(U(width)):
        total = I32(source[red + i]) * kr + I32(source[green + i]) * kg + I32(source[blue + i]) * kb + offset
        codes[to + i] = I32(I32(total) >> LUMA8_SHIFT)


@compiled
def _apart3(rgb, at, width, out, to):
    """A row of interleaved samples as three rows, one after the other."""
    for i in range(U(width)):
        out[to + i] = rgb[at + U(3) * i]
        out[to + U(width) + i] = rgb[at + U(3) * i + U(1)]
        out[to + U(2 * width) + i] = rgb[at + U(3) * i + U(2)]


@compiled
def _column_sums(source, before, here, after, vertical, sums, to, width):
    """Four times the average of the rows around a chroma row."""
    if vertical:
        for i in range(U(width)):
            sums[to + i] = I32(source[before + i]) + 2 * I32(source[here + i]) + I32(source[after + i])
    else:
        for i in range(U(width)):
            sums[to + i] = 2 * (I32(source[here + i]) + I32(source[after + i]))


@compiled
def _row_sums(sums, at, width, horizontal, out, to):
    """Four times the average around every second column; `sums` has one more on each side, filled in here."""
    sums[at] = sums[at + U(1)]
    sums[at + U(width + 1)] = sums[at + U(width)]
    if horizontal:
        for i in range(U((width + 1) // 2)):
            first = at + U(2) * i
            out[to + i] = I32(sums[first]) + 2 * I32(sums[first + U(1)]) + I32(sums[first + U(2)])
    else:
        for i in range(U((width + 1) // 2)):
            first = at + U(2) * i
            out[to + i] = 2 * (I32(sums[first + U(1)]) + I32(sums[first + U(2)]))


@compiled
def _chroma8(averages, half, kr, kg, kb, offset, largest, codes):
    for i in range(U(half)):
        total = I32(averages[i]) * kr + I32(averages[U(half) + i]) * kg + I32(averages[U(2 * half) + i]) * kb + offset
        codes[i] = min(I32(I32(total) >> CHROMA8_SHIFT), largest)


@compiled
def _store_luma(codes, octets, ten, to, pitch):
    """A row of luma codes from sample `to` on; the padding sample of an odd width repeats the last one."""
    last = to + U(codes.size - 1)
    if ten:
        words = octets.view(np.uint16)
        for i in range(U(codes.size)):
            words[to + i] = codes[i] << 6
        if pitch > codes.size:
            words[last + U(1)] = words[last]
    else:
        for i in range(U(codes.size)):
            octets[to + i] = codes[i]
        if pitch > codes.size:
            octets[last + U(1)] = octets[last]


@compiled
def _luma_row8(source, red, green, blue, k, luma, octets, ten, to, pitch):
    """A row of luma, straight to NV12 or by way of `luma` to P010."""
    kr, kg, kb, offset = I32(k[0]), I32(k[1]), I32(k[2]), I32(k[9])
    if ten:
        _luma8(source, red, green, blue, kr, kg, kb, offset, luma, U(0), luma.size)
        _store_luma(luma, octets, ten, to, pitch)
    else:
        _luma8(source, red, green, blue, kr, kg, kb, offset, octets, to, luma.size)
        if pitch > luma.size:
            octets[to + U(luma.size)] = octets[to + U(luma.size - 1)]


@compiled
def _store_chroma(u, v, octets, ten, to):
    """A row of chroma codes, interleaved, from sample `to` on."""
    if ten:
        words = octets.view(np.uint16)
        for i in range(U(u.size)):
            words[to + U(2) * i] = u[i] << 6
            words[to + U(2) * i + U(1)] = v[i] << 6
    else:
        for i in range(U(u.size)):
            octets[to + U(2) * i] = u[i]
            octets[to + U(2) * i + U(1)] = v[i]


@compiled
def _averages(source, before, here, after, step, vertical, horizontal, sums, averages, width):
    """Sixteen times the averages of three colours, `step` apart, around each sample of a chroma row."""
    half = (width + 1) // 2
    for colour in range(3):
        part, to = colour * step, U(colour * (2 * half + 2))
        _column_sums(source, U(before + part), U(here + part), U(after + part), vertical, sums, to + U(1), width)
        _row_sums(sums, to, width, horizontal, averages, U(colour * half))


@compiled
def _encode8(rgb, width, height, count, vertical, horizontal, k, largest, interleaved, octets, ten):
    """8-bit RGB to frames; `k` is the luma row, the U row, the V row, and the offsets of luma and chroma.

    Arrays are flat; samples of `octets` have two bytes where `ten` is set (P010), so that one version serves both.
    """
    half = (width + 1) // 2
    pitch, size = 2 * half, height * width
    sums, averages = np.empty(3 * (pitch + 2), np.int16), np.empty(3 * half, np.int16)
    luma, u, v = np.empty(width, np.int16), np.empty(half, np.int16), np.empty(half, np.int16)
    # The last four rows of interleaved pictures, their colours one after the other.
    rows = np.empty(12 * width if interleaved else 0, np.uint8)
    ur, ug, ub, vr, vg, vb, offset_c = I32(k[3]), I32(k[4]), I32(k[5]), I32(k[6]), I32(k[7]), I32(k[8]), I32(k[10])
    for t in range(count):
        frame = t * (height + (height + 1) // 2) * pitch
        for row in range(height):
            to = U(frame + row * pitch)
            if interleaved:
                at = row % 4 * 3 * width
                _apart3(rgb, U(3 * (t * size + row * width)), width, rows, U(at))
                _luma_row8(rows, U(at), U(at + width), U(at + 2 * width), k, luma, octets, ten, to, pitch)
            else:
                at = 3 * t * size + row * width
                _luma_row8(rgb, U(at), U(at + size), U(at + 2 * size), k, luma, octets, ten, to, pitch)
            if row % 2 == 0 and row != height - 1:
                continue
            # The second of two rows, or the last: both are there, and the one before them.
            here = row - row % 2
            before = max(here - 1, 0)
            if interleaved:
                n = 3 * width
                at_before, at_here, at_after = before % 4 * n, here % 4 * n, row % 4 * n
                _averages(rows, at_before, at_here, at_after, width, vertical, horizontal, sums, averages, width)
            else:
                base = 3 * t * size
                at_before, at_here, at_after = base + before * width, base + here * width, base + row * width
                _averages(rgb, at_before, at_here, at_after, size, vertical, horizontal, sums, averages, width)
            _chroma8(averages, half, ur, ug, ub, offset_c, I32(largest), u)
            _chroma8(averages, half, vr, vg, vb, offset_c, I32(largest), v)
            _store_chroma(u, v, octets, ten, U(frame + (height + row // 2) * pitch))


@compiled
def _fetch(octets, kind, bytes_each, table, at, out):
    """Samples `at` and after of `octets` as 16-bit codes, as `kind` says (see RGB_KINDS)."""
    if kind == FLOATS:
        floats = octets.view(np.float32)[at : at + out.size]
        for i in range(out.size):
            value = floats[i]
            value = min(value, np.float32(1)) if value > np.float32(0) else np.float32(0)
            out[i] = I32(value * np.float32(65535) + np.float32(0.5))
    elif bytes_each == 1:
        small = octets[at : at + out.size]
        for i in range(out.size):
            out[i] = table[small[i]]
    else:
        words = octets.view(np.uint16)[at : at + out.size]
        if kind == CODES:
            for i in range(out.size):
                out[i] = words[i]
        else:
            for i in range(out.size):
                out[i] = table[words[i]]


@compiled
def _mix16(source, at, step, kr, kg, kb, offsets, row, shift, largest, codes):
    """A luma or chroma row; `offsets` has those of each column for the rows 0..7 that repeat."""
    first = U(row % 8 * (offsets.size // 8))
    green, blue = at + step, at + U(2) * step
    for i in range(U(codes.size)):
        total = I64(source[at + i]) * kr + I64(source[green + i]) * kg + I64(source[blue + i]) * kb + offsets[first + i]
        codes[i] = min(max(total >> shift, I64(0)), largest)


@compiled
def _encode16(
    rgb,
    kind,
    bytes_each,
    table,
    width,
    height,
    count,
    vertical,
    horizontal,
    k,
    luma_offsets,
    chroma_offsets,
    largest,
    interleaved,
    octets,
    ten,
):
    """16-bit codes or floats to frames, as `_encode8`; `rgb` is bytes, so that one version serves every type."""
    half, size = (width + 1) // 2, height * width
    pitch = 2 * half
    mixed, rows = np.empty(3 * width, np.uint16), np.empty(12 * width, np.uint16)
    sums, averages = np.empty(3 * (pitch + 2), np.int32), np.empty(3 * half, np.int32)
    luma, u, v = np.empty(width, np.int16), np.empty(half, np.int16), np.empty(half, np.int16)
    yr, yg, yb = I32(k[0]), I32(k[1]), I32(k[2])
    ur, ug, ub, vr, vg, vb = I32(k[3]), I32(k[4]), I32(k[5]), I32(k[6]), I32(k[7]), I32(k[8])
    for t in range(count):
        frame = t * (height + (height + 1) // 2) * pitch
        for row in range(height):
            at, to = row % 4 * 3 * width, U(frame + row * pitch)
            if interleaved:
                _fetch(rgb, kind, bytes_each, table, 3 * (t * size + row * width), mixed)
                _apart3(mixed, U(0), width, rows, U(at))
            else:
                for plane in range(3):
                    part = rows[at + plane * width : at + (plane + 1) * width]
                    _fetch(rgb, kind, bytes_each, table, (3 * t + plane) * size + row * width, part)
            _mix16(rows, U(at), U(width), yr, yg, yb, luma_offsets, row, LUMA16_SHIFT, largest, luma)
            _store_luma(luma, octets, ten, to, pitch)
            if row % 2 == 0 and row != height - 1:
                continue
            here = row - row % 2
            n = 3 * width
            at_before, at_here, at_after = max(here - 1, 0) % 4 * n, here % 4 * n, row % 4 * n
            _averages(rows, at_before, at_here, at_after, width, vertical, horizontal, sums, averages, width)
            pair_row = row // 2
            _mix16(averages, U(0), U(half), ur, ug, ub, chroma_offsets, pair_row, CHROMA16_SHIFT, largest, u)
            _mix16(averages, U(0), U(half), vr, vg, vb, chroma_offsets, pair_row, CHROMA16_SHIFT, largest, v)
            _store_chroma(u, v, octets, ten, U(frame + (height + pair_row) * pitch))


@cache
def code_table(dtype: str) -> npt.NDArray[np.uint16]:
    """The 16-bit code of each uint8 or float16 (by its bits: numba has no float16 on the CPU); nothing for others."""
    if dtype == "uint8":
        return read_only(np.arange(256).astype(np.uint16) * np.uint16(257))
    words = np.arange(65536 if dtype == "float16" else 0).astype(np.uint16)
    return read_only(unit_to_codes(words.view(np.float16)))


def rgb_to_frames(
    rgb: npt.NDArray[Any],
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout,
    dither: bool,
    out: npt.NDArray[np.uint8],
) -> None:
    """`vireo_kernels.color.rgb_to_frames` of checked arguments into `out`."""
    bits = BITS[pixel_format]
    dtype = str(rgb.dtype)
    plain8 = dtype == "uint8" and not dither
    c = encode_coefficients(color.matrix, color.color_range, bits, 8 if plain8 else 16)
    k = np.array([c.yr, c.yg, c.yb, c.ur, c.ug, c.ub, c.vr, c.vg, c.vb, c.offset_y, c.offset_c], np.int64)
    vertical, horizontal = is_cosited(color.chroma_location)
    octets, ten, largest = out.reshape(-1), pixel_format == "p010", c.maximum
    interleaved = layout == "interleaved"
    flat = rgb.reshape(-1)
    if plain8:
        _encode8(read_only(flat), width, height, len(out), vertical, horizontal, k, largest, interleaved, octets, ten)
        return
    luma_offsets = c.offset_y + dither_offsets(8, width, c.shift_y, dither=dither)
    chroma_offsets = c.offset_c + dither_offsets(8, (width + 1) // 2, c.shift_c, dither=dither)
    _encode16(
        read_only(flat.view(np.uint8)),
        RGB_KINDS[dtype],
        rgb.itemsize,
        code_table(dtype),
        width,
        height,
        len(out),
        vertical,
        horizontal,
        k,
        luma_offsets.reshape(-1),
        chroma_offsets.reshape(-1),
        largest,
        interleaved,
        octets,
        ten,
    )
