# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Frames to RGB, compiled for the CPU; `vireo_kernels.reference.color` says what it computes.

# Note [How these loops come to be vector code]
# LLVM gives up on a loop that touches more than about four arrays (it would need too many overlap checks at run time)
# or whose indices may be negative. So each loop below has few arrays (three runs of one count as one), starts at zero,
# and takes shifted views instead of shifted indices; numbers are cast to 32 bits before arithmetic, because numba would
# widen them to 64.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import read_only
from vireo_kernels.coefficients import decode_coefficients
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.words import finished, wide
from vireo_kernels.layout import BITS, PixelFormat
from vireo_kernels.reference.color import codes_to_unit, is_cosited

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout

I32, U = np.int32, np.uintp
CODES, TABLE, FLOATS = 0, 1, 2
RGB_KINDS = {"uint16": CODES, "uint8": TABLE, "float16": TABLE, "float32": FLOATS}
"""How samples and 16-bit codes go together: as they are, by a table, or as code / 65535."""


@compiled
def _luma_codes(words, at, codes):
    """The codes of a row of luma of P010 that begins at sample `at`."""
    for i in range(U(codes.size)):
        codes[i] = words[at + i] >> 6


@compiled
def _chroma_codes(octets, ten, at, u, v, to, count):
    """The codes of an interleaved row of chroma, apart, with one sample more on each side, which repeats the edge."""
    if ten:
        words = octets.view(np.uint16)
        for i in range(U(count)):
            u[to + i + U(1)] = words[at + U(2) * i] >> 6
            v[to + i + U(1)] = words[at + U(2) * i + U(1)] >> 6
    else:
        for i in range(U(count)):
            u[to + i + U(1)] = octets[at + U(2) * i]
            v[to + i + U(1)] = octets[at + U(2) * i + U(1)]
    last = to + U(count)
    u[to], u[last + U(1)] = u[to + U(1)], u[last]
    v[to], v[last + U(1)] = v[to + U(1)], v[last]


@compiled
def _blend_chroma(rows, near, far, near_weight, far_weight, middle, out):
    """Four times the chroma between the rows that begin at `near` and `far`, less the middle."""
    for i in range(U(out.size)):
        out[i] = I32(rows[near + i]) * near_weight + I32(rows[far + i]) * far_weight - middle


@compiled
def _widen_chroma(chroma, horizontal, out):
    """Four times a row of chroma, interpolated to twice its length."""
    if horizontal:
        for i in range(U(chroma.size - 2)):
            here = I32(chroma[i + U(1)])
            out[U(2) * i] = 4 * here
            out[U(2) * i + U(1)] = 2 * (here + I32(chroma[i + U(2)]))
    else:
        for i in range(U(chroma.size - 2)):
            here = 3 * I32(chroma[i + U(1)])
            out[U(2) * i] = here + I32(chroma[i])
            out[U(2) * i + U(1)] = here + I32(chroma[i + U(2)])


@compiled
def _mix(luma, at, u, v, y, rv, gu, gv, bu, offset, out, to, step, width):
    """The three colours of a row, `step` samples apart."""
    green, blue = to + step, to + step + step
    for i in range(U(width)):
        shade = wide(wide(I32(luma[at + i]) << 4, out) * y + offset, out)
        out[to + i] = finished(wide(shade + wide(v[i], out) * rv, out), out)
        out[green + i] = finished(wide(shade + wide(u[i], out) * gu + wide(v[i], out) * gv, out), out)
        out[blue + i] = finished(wide(shade + wide(u[i], out) * bu, out), out)


@compiled
def _mix_row(luma, at, wide_u, wide_v, k, out, to, step, width):
    """The three colours of a row whose luma begins at `at`."""
    # 32-bit factors: 64-bit products of two 32-bit numbers have vector instructions, those of 64-bit numbers do not.
    y, rv, gu, gv, bu, offset = I32(k[0] >> 4), I32(k[1]), I32(k[2]), I32(k[3]), I32(k[4]), wide(k[5], out)
    _mix(luma, at, wide_u, wide_v, y, rv, gu, gv, bu, offset, out, U(to), U(step), width)


@compiled
def _interleave3(planes, width, out, to):
    for i in range(U(width)):
        out[to + U(3) * i] = planes[i]
        out[to + U(3) * i + U(1)] = planes[i + U(width)]
        out[to + U(3) * i + U(2)] = planes[i + U(2 * width)]


@compiled
def scratch_for(width):
    """What `rgb_row` works in.

    The last three chroma rows, U and V apart, and where in the frames they were; chroma between two rows; that at full
    width; luma codes.
    """
    half = (width + 1) // 2
    rows = np.empty(3 * (half + 2), np.int16), np.empty(3 * (half + 2), np.int16), np.full(3, -1)
    full = np.empty(2 * half, np.int16), np.empty(2 * half, np.int16)
    return rows, np.empty(half + 2, np.int16), full, np.empty(width, np.int16)


@compiled
def rgb_row(octets, ten, at, height, row, vertical, horizontal, middle, k, scratch, out, to, step, width):
    """Convert one row of the picture that begins at sample `at`; its colours go `step` apart to `out` from `to` on.

    Arrays are flat; samples of `octets` have two bytes where `ten` is set (P010), so that one version serves both.
    `k` is y, rv, gu, gv, bu and the offset. The type of `out`, uint8 or uint16, decides how many bits.
    """
    (u_rows, v_rows, held), tall, (wide_u, wide_v), luma = scratch
    pitch, last = wide_u.size, (height + 1) // 2 - 1
    here = row // 2
    if vertical:
        other = min(here + 1, last)
        far_weight = I32(2 * (row % 2))
    else:
        other = min(max(here - 1 + 2 * (row % 2), 0), last)
        far_weight = I32(1)
    for index in (here, other):
        place = at + (height + index) * pitch
        if held[index % 3] != place:
            _chroma_codes(octets, ten, U(place), u_rows, v_rows, U(index % 3 * tall.size), pitch // 2)
            held[index % 3] = place
    near, far = U(here % 3 * tall.size), U(other % 3 * tall.size)
    for rows, full in ((u_rows, wide_u), (v_rows, wide_v)):
        _blend_chroma(rows, near, far, I32(4 - far_weight), far_weight, middle, tall)
        _widen_chroma(tall, horizontal, full)
    if ten:
        _luma_codes(octets.view(np.uint16), U(at + row * pitch), luma)
        _mix_row(luma, U(0), wide_u, wide_v, k, out, to, step, width)
    else:
        _mix_row(octets, U(at + row * pitch), wide_u, wide_v, k, out, to, step, width)


@compiled
def _decode8(octets, ten, width, height, count, middle, vertical, horizontal, k, interleaved, out):
    """Frames to 8-bit RGB."""
    frame, plane = (height + (height + 1) // 2) * 2 * ((width + 1) // 2), height * width
    scratch, planes = scratch_for(width), np.empty(3 * width, np.uint8)
    for t in range(count):
        for row in range(height):
            at, to = t * frame, 3 * t * plane + row * width
            if interleaved:
                rgb_row(octets, ten, at, height, row, vertical, horizontal, middle, k, scratch, planes, 0, width, width)
                _interleave3(planes, width, out, U(3 * (t * plane + row * width)))
            else:
                rgb_row(octets, ten, at, height, row, vertical, horizontal, middle, k, scratch, out, to, plane, width)


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
def _decode16(octets, ten, width, height, count, middle, vertical, horizontal, k, interleaved, kind, table, out):
    """Frames to 16-bit RGB, or what `kind` makes of it; `out` is bytes, so that one version serves every type."""
    frame, plane = (height + (height + 1) // 2) * 2 * ((width + 1) // 2), height * width
    planes, mixed = np.empty(3 * width, np.uint16), np.empty(3 * width, np.uint16)
    scratch = scratch_for(width)
    for t in range(count):
        for row in range(height):
            rgb_row(
                octets, ten, t * frame, height, row, vertical, horizontal, middle, k, scratch, planes, 0, width, width
            )
            if interleaved:
                _interleave3(planes, width, mixed, U(0))
                _store(mixed, kind, table, out, 3 * (t * plane + row * width))
            else:
                for colour in range(3):
                    part = planes[colour * width : (colour + 1) * width]
                    _store(part, kind, table, out, (3 * t + colour) * plane + row * width)


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
    octets, ten, count = read_only(frames.reshape(-1)), pixel_format == "p010", len(frames)
    interleaved = layout == "interleaved"
    if dtype == "uint8":
        _decode8(octets, ten, width, height, count, middle4, vertical, horizontal, k, interleaved, out.reshape(-1))
        return
    bytes_out = out.reshape(-1).view(np.uint8)
    kind, table = RGB_KINDS[dtype], half_table(dtype)
    _decode16(octets, ten, width, height, count, middle4, vertical, horizontal, k, interleaved, kind, table, bytes_out)
