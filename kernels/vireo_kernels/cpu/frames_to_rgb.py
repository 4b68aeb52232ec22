# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Frames to RGB, compiled for the CPU; `vireo_kernels.reference.color` says what it computes.

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

from vireo_kernels.arguments import read_only
from vireo_kernels.coefficients import CHROMA_BITS, DECODE_BITS, decode_coefficients
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.words import code_of
from vireo_kernels.layout import BITS, PixelFormat, words_of
from vireo_kernels.reference.color import codes_to_unit, is_cosited

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout

I32, I64 = np.int32, np.int64
CODES, TABLE, FLOATS = 0, 1, 2
RGB_KINDS = {"uint16": CODES, "uint8": TABLE, "float16": TABLE, "float32": FLOATS}
"""How samples and 16-bit codes go together: as they are, by a table, or as code / 65535."""
DECODE8_SHIFT, DECODE16_SHIFT = I32(DECODE_BITS[8] + CHROMA_BITS), I64(DECODE_BITS[16] + CHROMA_BITS)


@compiled
def _blend_chroma(near, far, near_weight, far_weight, middle, u, v):
    """Four times the chroma between two interleaved rows, less the middle, apart as u and v."""
    for i in range(u.size):
        u[i] = code_of(near[2 * i]) * near_weight + code_of(far[2 * i]) * far_weight - middle
        v[i] = code_of(near[2 * i + 1]) * near_weight + code_of(far[2 * i + 1]) * far_weight - middle


@compiled
def _widen_chroma(before, here, after, even_before, even_here, odd_here, odd_after, out):
    """Four times a row of chroma, interpolated to twice its length."""
    for i in range(here.size):
        centre = I32(here[i])
        out[2 * i] = I32(before[i]) * even_before + centre * even_here
        out[2 * i + 1] = centre * odd_here + I32(after[i]) * odd_after


@compiled
def _mix_one8(luma, chroma, y, c, offset, out):
    for i in range(out.size):
        value = I32(code_of(luma[i]) * y + I32(chroma[i]) * c + offset) >> DECODE8_SHIFT
        out[i] = min(max(value, I32(0)), I32(255))


@compiled
def _mix_two8(luma, u, v, y, cu, cv, offset, out):
    for i in range(out.size):
        value = I32(code_of(luma[i]) * y + I32(u[i]) * cu + I32(v[i]) * cv + offset) >> DECODE8_SHIFT
        out[i] = min(max(value, I32(0)), I32(255))


@compiled
def _mix_one16(luma, chroma, y, c, offset, out):
    for i in range(out.size):
        value = I64(code_of(luma[i]) << 4) * y + I64(chroma[i]) * c + offset
        out[i] = min(max(value >> DECODE16_SHIFT, I64(0)), I64(65535))


@compiled
def _mix_two16(luma, u, v, y, cu, cv, offset, out):
    for i in range(out.size):
        value = I64(code_of(luma[i]) << 4) * y + I64(u[i]) * cu + I64(v[i]) * cv + offset
        out[i] = min(max(value >> DECODE16_SHIFT, I64(0)), I64(65535))


@compiled
def _interleave3(red, green, blue, out):
    for i in range(red.size):
        out[3 * i] = red[i]
        out[3 * i + 1] = green[i]
        out[3 * i + 2] = blue[i]


@compiled
def chroma_row(words, height, row, vertical, horizontal, middle, u, v, wide_u, wide_v):
    """Sixteen times (chroma - middle) of one luma row, at full width, into wide_u and wide_v."""
    last = words.shape[0] - height - 1
    here = row // 2
    if vertical:
        other = min(here + 1, last)
        far_weight = I32(2 * (row % 2))
    else:
        other = min(max(here - 1 + 2 * (row % 2), 0), last)
        far_weight = I32(1)
    near_weight = I32(4 - far_weight)
    count = u.size - 2
    _blend_chroma(
        words[height + here],
        words[height + other],
        near_weight,
        far_weight,
        middle,
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
def mix_row8(luma, wide_u, wide_v, k, red, green, blue):
    """One row of 8-bit RGB; `k` is y, rv, gu, gv, bu and the offset (chroma is centred already)."""
    y, rv, gu, gv, bu, offset = I32(k[0]), I32(k[1]), I32(k[2]), I32(k[3]), I32(k[4]), I32(k[5])
    _mix_one8(luma, wide_v, y, rv, offset, red)
    _mix_two8(luma, wide_u, wide_v, y, gu, gv, offset, green)
    _mix_one8(luma, wide_u, y, bu, offset, blue)


@compiled
def _decode8(words, width, height, middle, vertical, horizontal, k, interleaved, out):
    """Frames to 8-bit RGB."""
    half = (width + 1) // 2
    u, v = np.empty(half + 2, np.int16), np.empty(half + 2, np.int16)
    wide_u, wide_v = np.empty(2 * half, np.int16), np.empty(2 * half, np.int16)
    red, green, blue = np.empty(width, np.uint8), np.empty(width, np.uint8), np.empty(width, np.uint8)
    for t in range(words.shape[0]):
        for row in range(height):
            chroma_row(words[t], height, row, vertical, horizontal, middle, u, v, wide_u, wide_v)
            if not interleaved:
                at = (3 * t * height + row) * width
                red = out[at : at + width]
                green = out[at + height * width : at + height * width + width]
                blue = out[at + 2 * height * width : at + 2 * height * width + width]
            mix_row8(words[t, row], wide_u, wide_v, k, red, green, blue)
            if interleaved:
                at = 3 * (t * height + row) * width
                _interleave3(red, green, blue, out[at : at + 3 * width])


@compiled
def _store(codes, kind, table, out, at):
    """A row of 16-bit codes to `out` (bytes) from sample `at` on, as `kind` says (see RGB_KINDS)."""
    if kind == FLOATS:
        floats = out.view(np.float32)[at : at + codes.size]
        for i in range(codes.size):
            floats[i] = np.float32(codes[i]) / np.float32(65535)
        return
    words = out.view(np.uint16)[at : at + codes.size]
    if kind == CODES:
        for i in range(codes.size):
            words[i] = codes[i]
    else:
        for i in range(codes.size):
            words[i] = table[codes[i]]


@compiled
def _decode16(words, width, height, middle, vertical, horizontal, k, interleaved, kind, table, out):
    """Frames to 16-bit RGB, or what `kind` makes of it; `out` is bytes, so that one version serves every type."""
    half = (width + 1) // 2
    u, v = np.empty(half + 2, np.int16), np.empty(half + 2, np.int16)
    wide_u, wide_v = np.empty(2 * half, np.int16), np.empty(2 * half, np.int16)
    planes, mixed = np.empty((3, width), np.uint16), np.empty(3 * width, np.uint16)
    # 32-bit factors: the products then are 32 x 32 -> 64 bits, for which there are vector instructions.
    y, rv, gu, gv, bu, offset = I32(k[0] >> 4), I32(k[1]), I32(k[2]), I32(k[3]), I32(k[4]), k[5]
    for t in range(words.shape[0]):
        for row in range(height):
            chroma_row(words[t], height, row, vertical, horizontal, middle, u, v, wide_u, wide_v)
            luma = words[t, row]
            _mix_one16(luma, wide_v, y, rv, offset, planes[0])
            _mix_two16(luma, wide_u, wide_v, y, gu, gv, offset, planes[1])
            _mix_one16(luma, wide_u, y, bu, offset, planes[2])
            if interleaved:
                _interleave3(planes[0], planes[1], planes[2], mixed)
                _store(mixed, kind, table, out, 3 * (t * height + row) * width)
            else:
                for plane in range(3):
                    _store(planes[plane], kind, table, out, ((3 * t + plane) * height + row) * width)


@cache
def half_table(dtype: str) -> npt.NDArray[np.uint16]:
    """For float16 the bits of each 16-bit code's value (numba has no float16 on the CPU); nothing for other types."""
    codes = np.arange(65536 if dtype == "float16" else 0).astype(np.uint16)
    return read_only(codes_to_unit(codes, "float16").view(np.uint16))


def factors(color: ColorSpec, bits: int, rgb_bits: int) -> tuple[npt.NDArray[np.int64], np.int32]:
    """y, rv, gu, gv, bu and the offset, and four times the chroma middle.

    The middle is taken off before the multiplication, so one offset serves the three colours.
    """
    c = decode_coefficients(color.matrix, color.color_range, bits, rgb_bits)
    middle = 1 << (bits - 1)
    offset = c.offset_r + c.rv * 16 * middle
    return np.array([c.y, c.rv, c.gu, c.gv, c.bu, offset], np.int64), I32(4 * middle)


def frames_to_rgb(
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
    dtype = str(out.dtype)
    k, middle4 = factors(color, BITS[pixel_format], 8 if dtype == "uint8" else 16)
    vertical, horizontal = is_cosited(color.chroma_location)
    words = read_only(words_of(frames, pixel_format))
    interleaved = layout == "interleaved"
    if dtype == "uint8":
        _decode8(words, width, height, middle4, vertical, horizontal, k, interleaved, out.reshape(-1))
        return
    octets = out.reshape(-1).view(np.uint8)
    kind, table = RGB_KINDS[dtype], half_table(dtype)
    _decode16(words, width, height, middle4, vertical, horizontal, k, interleaved, kind, table, octets)
