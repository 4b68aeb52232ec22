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
from vireo_kernels.cpu.words import largest_code, word_of
from vireo_kernels.layout import BITS, PixelFormat, words_of
from vireo_kernels.reference.color import dither_offsets, is_cosited, unit_to_codes

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout

I32, I64 = np.int32, np.int64
LUMA8_SHIFT, LUMA16_SHIFT = I32(ENCODE_BITS[8]), I64(ENCODE_BITS[16])
CHROMA8_SHIFT, CHROMA16_SHIFT = I32(ENCODE_BITS[8] + CHROMA_BITS), I64(ENCODE_BITS[16] + CHROMA_BITS)


@compiled
def _luma8(red, green, blue, kr, kg, kb, offset, out):
    for i in range(red.size):
        value = I32(I32(red[i]) * kr + I32(green[i]) * kg + I32(blue[i]) * kb + offset) >> LUMA8_SHIFT
        out[i] = word_of(value, out)


@compiled
def _luma8_mixed(rgb, kr, kg, kb, offset, out):
    for i in range(rgb.size // 3):
        value = I32(I32(rgb[3 * i]) * kr + I32(rgb[3 * i + 1]) * kg + I32(rgb[3 * i + 2]) * kb + offset) >> LUMA8_SHIFT
        out[i] = word_of(value, out)


@compiled
def _column_sums(before, here, after, weight_before, weight_here, weight_after, out):
    for i in range(here.size):
        out[i] = I32(before[i]) * weight_before + I32(here[i]) * weight_here + I32(after[i]) * weight_after


@compiled
def _apart3(rgb, red, green, blue):
    for i in range(red.size):
        red[i] = rgb[3 * i]
        green[i] = rgb[3 * i + 1]
        blue[i] = rgb[3 * i + 2]


@compiled
def _row_sums(sums, width, weight_before, weight_here, weight_after, out):
    """Weighted sums around every second column; `sums` has one sample more on each side, filled in here."""
    sums[0] = sums[1]
    sums[width + 1] = sums[width]
    before, after = sums[: 2 * out.size], sums[2:]
    for i in range(out.size):
        out[i] = (
            I32(before[2 * i]) * weight_before + I32(before[2 * i + 1]) * weight_here + I32(after[2 * i]) * weight_after
        )


@compiled
def _chroma8(red, green, blue, kr, kg, kb, offset, out):
    for i in range(red.size):
        value = I32(I32(red[i]) * kr + I32(green[i]) * kg + I32(blue[i]) * kb + offset) >> CHROMA8_SHIFT
        out[i] = word_of(min(value, largest_code(out)), out)


@compiled
def _pair(u, v, out):
    for i in range(u.size):
        out[2 * i] = u[i]
        out[2 * i + 1] = v[i]


@compiled
def _vertical_weights(vertical):
    if vertical:
        return I32(1), I32(2), I32(1)
    return I32(0), I32(2), I32(2)


@compiled
def _encode8(rgb, width, height, vertical, horizontal, k, interleaved, words):
    """8-bit RGB to frames; `k` is the luma row, the U row, the V row, and the offsets of luma and chroma."""
    half = (width + 1) // 2
    sums = np.empty((3, 2 * half + 2), np.int16)
    mixed = np.empty(3 * width, np.int16)
    averages = np.empty((3, half), np.int16)
    pair = np.empty((2, half), words.dtype)
    yr, yg, yb, offset_y = I32(k[0]), I32(k[1]), I32(k[2]), I32(k[9])
    ur, ug, ub, vr, vg, vb, offset_c = I32(k[3]), I32(k[4]), I32(k[5]), I32(k[6]), I32(k[7]), I32(k[8]), I32(k[10])
    up, mid, down = _vertical_weights(vertical)
    left, centre, right = _vertical_weights(horizontal)
    size = height * width
    for t in range(words.shape[0]):
        for row in range(height):
            target = words[t, row]
            if interleaved:
                at = 3 * (t * height + row) * width
                _luma8_mixed(rgb[at : at + 3 * width], yr, yg, yb, offset_y, target)
            else:
                at = (3 * t * height + row) * width
                red = rgb[at : at + width]
                green = rgb[at + size : at + size + width]
                blue = rgb[at + 2 * size : at + 2 * size + width]
                _luma8(red, green, blue, yr, yg, yb, offset_y, target)
            if width % 2:
                target[width] = target[width - 1]
            if row % 2:
                continue
            before, after = max(row - 1, 0), min(row + 1, height - 1)
            if interleaved:
                n = 3 * width
                first, at, last = (t * height + before) * n, (t * height + row) * n, (t * height + after) * n
                _column_sums(rgb[first : first + n], rgb[at : at + n], rgb[last : last + n], up, mid, down, mixed)
                _apart3(mixed, sums[0, 1 : width + 1], sums[1, 1 : width + 1], sums[2, 1 : width + 1])
            else:
                for plane in range(3):
                    start = (3 * t + plane) * size
                    first, at, last = start + before * width, start + row * width, start + after * width
                    _column_sums(
                        rgb[first : first + width],
                        rgb[at : at + width],
                        rgb[last : last + width],
                        up,
                        mid,
                        down,
                        sums[plane, 1 : width + 1],
                    )
            for plane in range(3):
                _row_sums(sums[plane], width, left, centre, right, averages[plane])
            r, g, b = averages[0], averages[1], averages[2]
            _chroma8(r, g, b, ur, ug, ub, offset_c, pair[0])
            _chroma8(r, g, b, vr, vg, vb, offset_c, pair[1])
            _pair(pair[0], pair[1], words[t, height + row // 2])


@compiled
def _mix16(red, green, blue, kr, kg, kb, offsets, shift, out):
    for i in range(red.size):
        value = (I64(red[i]) * kr + I64(green[i]) * kg + I64(blue[i]) * kb + offsets[i]) >> shift
        out[i] = word_of(min(max(value, I64(0)), I64(largest_code(out))), out)


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
def _encode16(
    rgb,
    kind,
    bytes_each,
    table,
    width,
    height,
    vertical,
    horizontal,
    k,
    luma_offsets,
    chroma_offsets,
    interleaved,
    words,
):
    """16-bit codes or floats to frames, as `_encode8`; rows are fetched into slots, so that each is read once.

    `rgb` is bytes, so that one version serves every type. The offsets are those of each column, for the rows 0..7 that
    repeat.
    """
    half = (width + 1) // 2
    mixed = np.empty(3 * width, np.uint16)
    slots = np.empty((4, 3, width), np.uint16)
    sums = np.empty((3, 2 * half + 2), np.int32)
    averages = np.empty((3, half), np.int32)
    pair = np.empty((2, half), words.dtype)
    yr, yg, yb = I32(k[0]), I32(k[1]), I32(k[2])
    ur, ug, ub, vr, vg, vb = I32(k[3]), I32(k[4]), I32(k[5]), I32(k[6]), I32(k[7]), I32(k[8])
    up, mid, down = _vertical_weights(vertical)
    left, centre, right = _vertical_weights(horizontal)
    for t in range(words.shape[0]):
        for row in range(height):
            slot = slots[row % 4]
            for plane in range(3):
                if interleaved:
                    if plane == 0:
                        at = 3 * (t * height + row) * width
                        _fetch(rgb, kind, bytes_each, table, at, mixed)
                        _apart3(mixed, slot[0], slot[1], slot[2])
                else:
                    at = ((3 * t + plane) * height + row) * width
                    _fetch(rgb, kind, bytes_each, table, at, slot[plane])
            target = words[t, row]
            _mix16(slot[0], slot[1], slot[2], yr, yg, yb, luma_offsets[row % 8], LUMA16_SHIFT, target[:width])
            if width % 2:
                target[width] = target[width - 1]
            if row % 2 == 0 and row != height - 1:
                continue
            here = row - row % 2
            for plane in range(3):
                _column_sums(
                    slots[max(here - 1, 0) % 4, plane],
                    slots[here % 4, plane],
                    slots[row % 4, plane],
                    up,
                    mid,
                    down,
                    sums[plane, 1 : width + 1],
                )
                _row_sums(sums[plane], width, left, centre, right, averages[plane])
            r, g, b = averages[0], averages[1], averages[2]
            offsets = chroma_offsets[row // 2 % 8]
            _mix16(r, g, b, ur, ug, ub, offsets, CHROMA16_SHIFT, pair[0])
            _mix16(r, g, b, vr, vg, vb, offsets, CHROMA16_SHIFT, pair[1])
            _pair(pair[0], pair[1], words[t, height + row // 2])


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
    words = words_of(out, pixel_format)
    interleaved = layout == "interleaved"
    flat = rgb.reshape(-1)
    if plain8:
        _encode8(read_only(flat), width, height, vertical, horizontal, k, interleaved, words)
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
        vertical,
        horizontal,
        k,
        luma_offsets,
        chroma_offsets,
        interleaved,
        words,
    )
