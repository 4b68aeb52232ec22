# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Colour conversion compiled for the CPU; `vireo_kernels.reference.color` says what it computes.

# Note [How these loops come to be vector code]
# LLVM gives up on a loop that touches more than about four arrays (it would need too many overlap checks at run time)
# or whose indices may be negative. So each loop below has few arrays, starts at zero, and takes shifted views instead
# of shifted indices; numbers are cast to 32 bits before arithmetic, because numba would widen them to 64.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numba import njit

from vireo_kernels.arguments import read_only
from vireo_kernels.coefficients import decode_coefficients, encode_coefficients
from vireo_kernels.layout import BITS, PixelFormat, words_of
from vireo_kernels.reference.color import codes_to_unit, is_cosited, unit_to_codes

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout

I32, I64 = np.int32, np.int64
compiled = njit(nogil=True, cache=True)


@compiled
def _blend_chroma(near, far, near_weight, far_weight, middle, shift, u, v):
    """Four times the chroma between two interleaved rows, less the middle, apart as u and v."""
    for i in range(u.size):
        u[i] = (I32(near[2 * i]) >> shift) * near_weight + (I32(far[2 * i]) >> shift) * far_weight - middle
        v[i] = (I32(near[2 * i + 1]) >> shift) * near_weight + (I32(far[2 * i + 1]) >> shift) * far_weight - middle


@compiled
def _widen_chroma(before, here, after, even_before, even_here, odd_here, odd_after, out):
    """Four times a row of chroma, interpolated to twice its length."""
    for i in range(here.size):
        centre = I32(here[i])
        out[2 * i] = I32(before[i]) * even_before + centre * even_here
        out[2 * i + 1] = centre * odd_here + I32(after[i]) * odd_after


@compiled
def _mix_one8(luma, chroma, shift_in, y, c, offset, shift, out):
    for i in range(out.size):
        value = ((I32(luma[i]) >> shift_in) * y + I32(chroma[i]) * c + offset) >> shift
        out[i] = min(max(value, I32(0)), I32(255))


@compiled
def _mix_two8(luma, u, v, shift_in, y, cu, cv, offset, shift, out):
    for i in range(out.size):
        value = ((I32(luma[i]) >> shift_in) * y + I32(u[i]) * cu + I32(v[i]) * cv + offset) >> shift
        out[i] = min(max(value, I32(0)), I32(255))


@compiled
def _mix_one16(luma, chroma, shift_in, y, c, offset, shift, out):
    for i in range(out.size):
        value = (I64(luma[i]) >> shift_in) * y + I64(chroma[i]) * c + offset
        out[i] = min(max(value >> shift, I64(0)), I64(65535))


@compiled
def _mix_two16(luma, u, v, shift_in, y, cu, cv, offset, shift, out):
    for i in range(out.size):
        value = (I64(luma[i]) >> shift_in) * y + I64(u[i]) * cu + I64(v[i]) * cv + offset
        out[i] = min(max(value >> shift, I64(0)), I64(65535))


@compiled
def _interleave3(red, green, blue, out):
    for i in range(red.size):
        out[3 * i] = red[i]
        out[3 * i + 1] = green[i]
        out[3 * i + 2] = blue[i]


@compiled
def _chroma_rows(words, height, row, vertical, horizontal, middle, shift, u, v, wide_u, wide_v):
    """Sixteen times (chroma - middle) of one luma row, at full width, into wide_u and wide_v."""
    last = words.shape[0] - height - 1
    here = row // 2
    if vertical:
        other = min(here + 1, last)
        far_weight = I32(2 * (row % 2))
    else:
        other = min(max(here - 1 + 2 * (row % 2), 0), last)
        far_weight = I32(1)
    near_weight = I32(4) - far_weight
    count = u.size - 2
    _blend_chroma(
        words[height + here],
        words[height + other],
        near_weight,
        far_weight,
        middle,
        shift,
        u[1 : count + 1],
        v[1 : count + 1],
    )
    u[0], u[count + 1] = u[1], u[count]
    v[0], v[count + 1] = v[1], v[count]
    if horizontal:
        even_before, even_here, odd_here, odd_after = I32(0), I32(4), I32(2), I32(2)
    else:
        even_before, even_here, odd_here, odd_after = I32(1), I32(3), I32(3), I32(1)
    _widen_chroma(u[:count], u[1 : count + 1], u[2:], even_before, even_here, odd_here, odd_after, wide_u)
    _widen_chroma(v[:count], v[1 : count + 1], v[2:], even_before, even_here, odd_here, odd_after, wide_v)


@compiled
def _decode8(words, width, height, shift_in, middle, vertical, horizontal, k, shift, interleaved, out):
    """Frames to 8-bit RGB; `k` is y, rv, gu, gv, bu and the offsets of red, green, blue (chroma already centred)."""
    half = (width + 1) // 2
    u, v = np.empty(half + 2, np.int16), np.empty(half + 2, np.int16)
    wide_u, wide_v = np.empty(2 * half, np.int16), np.empty(2 * half, np.int16)
    red, green, blue = np.empty(width, np.uint8), np.empty(width, np.uint8), np.empty(width, np.uint8)
    y, rv, gu, gv, bu, offset = I32(k[0]), I32(k[1]), I32(k[2]), I32(k[3]), I32(k[4]), I32(k[5])
    for t in range(words.shape[0]):
        for row in range(height):
            _chroma_rows(words[t], height, row, vertical, horizontal, middle, shift_in, u, v, wide_u, wide_v)
            if not interleaved:
                at = (3 * t * height + row) * width
                red = out[at : at + width]
                green = out[at + height * width : at + height * width + width]
                blue = out[at + 2 * height * width : at + 2 * height * width + width]
            luma = words[t, row]
            _mix_one8(luma, wide_v, shift_in, y, rv, offset, shift, red)
            _mix_two8(luma, wide_u, wide_v, shift_in, y, gu, gv, offset, shift, green)
            _mix_one8(luma, wide_u, shift_in, y, bu, offset, shift, blue)
            if interleaved:
                at = 3 * (t * height + row) * width
                _interleave3(red, green, blue, out[at : at + 3 * width])


@compiled
def _store16(codes, table, out):
    for i in range(codes.size):
        out[i] = table[codes[i]]


@compiled
def _decode16(words, width, height, shift_in, middle, vertical, horizontal, k, shift, interleaved, table, out):
    """Frames to 16-bit RGB, or to what `table` has for each 16-bit code."""
    half = (width + 1) // 2
    u, v = np.empty(half + 2, np.int16), np.empty(half + 2, np.int16)
    wide_u, wide_v = np.empty(2 * half, np.int16), np.empty(2 * half, np.int16)
    planes, mixed = np.empty((3, width), np.uint16), np.empty(3 * width, np.uint16)
    for t in range(words.shape[0]):
        for row in range(height):
            _chroma_rows(words[t], height, row, vertical, horizontal, middle, shift_in, u, v, wide_u, wide_v)
            luma = words[t, row]
            _mix_one16(luma, wide_v, shift_in, k[0], k[1], k[5], shift, planes[0])
            _mix_two16(luma, wide_u, wide_v, shift_in, k[0], k[2], k[3], k[5], shift, planes[1])
            _mix_one16(luma, wide_u, shift_in, k[0], k[4], k[5], shift, planes[2])
            if interleaved:
                at = 3 * (t * height + row) * width
                _interleave3(planes[0], planes[1], planes[2], mixed)
                _store16(mixed, table, out[at : at + 3 * width])
            else:
                for plane in range(3):
                    at = ((3 * t + plane) * height + row) * width
                    _store16(planes[plane], table, out[at : at + width])


@cache
def _unit_table(dtype: str) -> npt.NDArray[np.generic]:
    """What each 16-bit code becomes; float16 as its bits, which numba can store."""
    codes = np.arange(65536).astype(np.uint16)
    if dtype == "uint16":
        return codes
    table = codes_to_unit(codes, dtype)
    return table.view(np.uint16) if dtype == "float16" else table


@cache
def _code_table() -> npt.NDArray[np.uint16]:
    """The 16-bit code of each float16 bit pattern."""
    return unit_to_codes(np.arange(65536).astype(np.uint16).view(np.float16))


def decode(
    frames: npt.NDArray[np.uint8],
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout,
    out: npt.NDArray[Any],
) -> None:
    """`vireo_kernels.color.frames_to_rgb` of checked arguments into `out`."""
    bits = BITS[pixel_format]
    dtype = str(out.dtype)
    c = decode_coefficients(color.matrix, color.color_range, bits, 8 if dtype == "uint8" else 16)
    middle = 1 << (bits - 1)
    # The chroma middle is taken off before the multiplication, so one offset serves the three colours.
    offset = c.offset_r + c.rv * 16 * middle
    k = np.array([c.y, c.rv, c.gu, c.gv, c.bu, offset], np.int64)
    vertical, horizontal = is_cosited(color.chroma_location)
    words = read_only(words_of(frames, pixel_format))
    shift_in = 0 if bits == 8 else 6
    flat = out.view(np.uint16).reshape(-1) if dtype == "float16" else out.reshape(-1)
    interleaved = layout == "interleaved"
    if dtype == "uint8":
        _decode8(
            words,
            width,
            height,
            I32(shift_in),
            I32(4 * middle),
            vertical,
            horizontal,
            k,
            I32(c.shift),
            interleaved,
            flat,
        )
    else:
        table = read_only(_unit_table(dtype))
        _decode16(
            words,
            width,
            height,
            I32(shift_in),
            I32(4 * middle),
            vertical,
            horizontal,
            k,
            c.shift,
            interleaved,
            table,
            flat,
        )


@compiled
def _luma8(red, green, blue, kr, kg, kb, offset, shift, maximum, shift_out, out):
    for i in range(red.size):
        value = (I32(red[i]) * kr + I32(green[i]) * kg + I32(blue[i]) * kb + offset) >> shift
        out[i] = min(max(value, I32(0)), maximum) << shift_out


@compiled
def _luma8_mixed(rgb, kr, kg, kb, offset, shift, maximum, shift_out, out):
    for i in range(rgb.size // 3):
        value = (I32(rgb[3 * i]) * kr + I32(rgb[3 * i + 1]) * kg + I32(rgb[3 * i + 2]) * kb + offset) >> shift
        out[i] = min(max(value, I32(0)), maximum) << shift_out


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
def _chroma8(red, green, blue, kr, kg, kb, offset, shift, maximum, shift_out, out):
    for i in range(red.size):
        value = (I32(red[i]) * kr + I32(green[i]) * kg + I32(blue[i]) * kb + offset) >> shift
        out[i] = min(max(value, I32(0)), maximum) << shift_out


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
def _encode8(rgb, width, height, vertical, horizontal, k, shift_y, maximum, shift_out, interleaved, words):
    """8-bit RGB to frames; `k` is the luma row, the U row, the V row, and the offsets of luma and chroma."""
    half = (width + 1) // 2
    sums = np.empty((3, 2 * half + 2), np.int16)
    mixed = np.empty(3 * width, np.int16)
    averages = np.empty((3, half), np.int16)
    pair = np.empty((2, half), words.dtype)
    yr, yg, yb, offset_y = I32(k[0]), I32(k[1]), I32(k[2]), I32(k[9])
    ur, ug, ub, vr, vg, vb, offset_c = I32(k[3]), I32(k[4]), I32(k[5]), I32(k[6]), I32(k[7]), I32(k[8]), I32(k[10])
    shift_c = I32(shift_y + 4)
    up, mid, down = _vertical_weights(vertical)
    left, centre, right = _vertical_weights(horizontal)
    size = height * width
    for t in range(words.shape[0]):
        for row in range(height):
            target = words[t, row]
            if interleaved:
                at = 3 * (t * height + row) * width
                _luma8_mixed(rgb[at : at + 3 * width], yr, yg, yb, offset_y, shift_y, maximum, shift_out, target)
            else:
                at = (3 * t * height + row) * width
                red = rgb[at : at + width]
                green = rgb[at + size : at + size + width]
                blue = rgb[at + 2 * size : at + 2 * size + width]
                _luma8(red, green, blue, yr, yg, yb, offset_y, shift_y, maximum, shift_out, target)
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
            _chroma8(r, g, b, ur, ug, ub, offset_c, shift_c, maximum, shift_out, pair[0])
            _chroma8(r, g, b, vr, vg, vb, offset_c, shift_c, maximum, shift_out, pair[1])
            _pair(pair[0], pair[1], words[t, height + row // 2])


@compiled
def _fetch16(source, table, out):
    """A row as 16-bit codes: by table if there is one, else float32 values in 0..1 or codes already."""
    for i in range(out.size):
        out[i] = table[source[i]]


@compiled
def _fetch32(source, table, out):
    for i in range(out.size):
        value = source[i]
        value = min(value, np.float32(1)) if value > np.float32(0) else np.float32(0)
        out[i] = I32(value * np.float32(65535) + np.float32(0.5))


@compiled
def _mix16(red, green, blue, kr, kg, kb, offset, shift, maximum, shift_out, out):
    for i in range(red.size):
        value = (I64(red[i]) * kr + I64(green[i]) * kg + I64(blue[i]) * kb + offset) >> shift
        out[i] = min(max(value, I64(0)), maximum) << shift_out


@compiled
def _encode16(
    fetch, rgb, table, width, height, vertical, horizontal, k, shift_y, maximum, shift_out, interleaved, words
):
    """16-bit codes or floats to frames, as `_encode8`; rows are fetched into three slots, so each is read once."""
    half = (width + 1) // 2
    mixed = np.empty(3 * width, np.uint16)
    slots = np.empty((4, 3, width), np.uint16)
    sums = np.empty((3, 2 * half + 2), np.int32)
    averages = np.empty((3, half), np.int32)
    pair = np.empty((2, half), words.dtype)
    up, mid, down = _vertical_weights(vertical)
    left, centre, right = _vertical_weights(horizontal)
    for t in range(words.shape[0]):
        for row in range(height):
            slot = slots[row % 4]
            for plane in range(3):
                if interleaved:
                    if plane == 0:
                        at = 3 * (t * height + row) * width
                        fetch(rgb[at : at + 3 * width], table, mixed)
                        _apart3(mixed, slot[0], slot[1], slot[2])
                else:
                    at = ((3 * t + plane) * height + row) * width
                    fetch(rgb[at : at + width], table, slot[plane])
            target = words[t, row]
            _mix16(slot[0], slot[1], slot[2], k[0], k[1], k[2], k[9], shift_y, maximum, shift_out, target[:width])
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
            _mix16(r, g, b, k[3], k[4], k[5], k[10], shift_y + 4, maximum, shift_out, pair[0])
            _mix16(r, g, b, k[6], k[7], k[8], k[10], shift_y + 4, maximum, shift_out, pair[1])
            _pair(pair[0], pair[1], words[t, height + row // 2])


def encode(
    rgb: npt.NDArray[Any],
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout,
    out: npt.NDArray[np.uint8],
) -> None:
    """`vireo_kernels.color.rgb_to_frames` of checked arguments into `out`."""
    bits = BITS[pixel_format]
    dtype = str(rgb.dtype)
    c = encode_coefficients(color.matrix, color.color_range, bits, 8 if dtype == "uint8" else 16)
    k = np.array([c.yr, c.yg, c.yb, c.ur, c.ug, c.ub, c.vr, c.vg, c.vb, c.offset_y, c.offset_c], np.int64)
    vertical, horizontal = is_cosited(color.chroma_location)
    words = words_of(out, pixel_format)
    shift_out = 0 if bits == 8 else 6
    interleaved = layout == "interleaved"
    flat = read_only(rgb.view(np.uint16) if dtype == "float16" else rgb).reshape(-1)
    if dtype == "uint8":
        _encode8(
            flat,
            width,
            height,
            vertical,
            horizontal,
            k,
            I32(c.shift_y),
            I32(c.maximum),
            I32(shift_out),
            interleaved,
            words,
        )
        return
    fetch = _fetch32 if dtype == "float32" else _fetch16
    table = read_only(_code_table() if dtype == "float16" else _unit_table("uint16"))
    _encode16(
        fetch, flat, table, width, height, vertical, horizontal, k, c.shift_y, c.maximum, shift_out, interleaved, words
    )
