# SPDX-License-Identifier: MIT
"""What `vireo_kernels.color` computes, in NumPy: the other implementations give the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.coefficients import decode_coefficients, dither_offset, encode_coefficients
from vireo_kernels.layout import BITS, PixelFormat, frames_shape, words_of

if TYPE_CHECKING:
    from vireo_kernels.color import ColorSpec, Layout, RgbType

Integers = npt.NDArray[Any]


def is_cosited(chroma_location: str) -> tuple[bool, bool]:
    """Whether chroma lies on luma samples, vertically and horizontally (else midway between two)."""
    return chroma_location == "topleft", chroma_location in ("left", "topleft")


def upsample(chroma: Integers, size: int, *, axis: int, cosited: bool) -> Integers:
    """Four times the chroma, interpolated linearly to `size` samples along `axis`; edges repeated."""
    last = chroma.shape[axis] - 1
    here = np.arange(size) // 2
    odd = np.arange(size) % 2
    if cosited:
        near, far = np.where(odd, 2, 4), np.where(odd, 2, 0)
        other = here + 1
    else:
        near, far = np.full(size, 3), np.ones(size, np.int64)
        other = here + np.where(odd, 1, -1)
    shape = [-1 if i == axis % chroma.ndim else 1 for i in range(chroma.ndim)]
    result: Integers = near.reshape(shape) * chroma.take(here, axis) + far.reshape(shape) * chroma.take(
        np.clip(other, 0, last), axis
    )
    return result


def downsample(full: Integers, *, axis: int, cosited: bool) -> Integers:
    """Four times the average of `full` along `axis` around each chroma sample; edges repeated."""
    last = full.shape[axis] - 1
    here = 2 * np.arange((full.shape[axis] + 1) // 2)
    after = full.take(np.minimum(here + 1, last), axis)
    before = full.take(np.maximum(here - 1, 0), axis)
    total: Integers = before + 2 * full.take(here, axis) + after if cosited else 2 * (full.take(here, axis) + after)
    return total


def codes_to_rgb(
    y: Integers, u16: Integers, v16: Integers, *, color: ColorSpec, bits: int, rgb_bits: int
) -> tuple[Integers, Integers, Integers]:
    """Luma codes and sixteen times the chroma codes, at full size, to R, G, B of `rgb_bits` bits."""
    c = decode_coefficients(color.matrix, color.color_range, bits, rgb_bits)
    red = (c.y * y + c.rv * v16 + c.offset_r) >> c.shift
    green = (c.y * y + c.gu * u16 + c.gv * v16 + c.offset_g) >> c.shift
    blue = (c.y * y + c.bu * u16 + c.offset_b) >> c.shift
    return np.clip(red, 0, c.maximum), np.clip(green, 0, c.maximum), np.clip(blue, 0, c.maximum)


def dither_offsets(height: int, width: int, shift: int, *, dither: bool) -> Integers:
    """`(height, width)`: what is added to each sum before its shift; nothing without dithering."""
    tile = [[dither_offset(row, column, shift) if dither else 0 for column in range(8)] for row in range(8)]
    return np.tile(np.array(tile, np.int64), (-(-height // 8), -(-width // 8)))[:height, :width]


def rgb_to_luma(rgb: Integers, *, color: ColorSpec, bits: int, rgb_bits: int, dither: bool = False) -> Integers:
    """`(..., 3, H, W)` RGB to luma codes `(..., H, W)`."""
    c = encode_coefficients(color.matrix, color.color_range, bits, rgb_bits)
    red, green, blue = np.moveaxis(rgb, -3, 0)
    offsets = c.offset_y + dither_offsets(rgb.shape[-2], rgb.shape[-1], c.shift_y, dither=dither)
    luma: Integers = (c.yr * red + c.yg * green + c.yb * blue + offsets) >> c.shift_y
    return luma.clip(0, c.maximum)


def rgb16_to_chroma(
    rgb16: Integers, *, color: ColorSpec, bits: int, rgb_bits: int, dither: bool = False
) -> tuple[Integers, Integers]:
    """Sixteen times the (averaged) RGB `(..., 3, H, W)` to U and V codes `(..., H, W)`."""
    c = encode_coefficients(color.matrix, color.color_range, bits, rgb_bits)
    red, green, blue = np.moveaxis(rgb16, -3, 0)
    offsets = c.offset_c + dither_offsets(rgb16.shape[-2], rgb16.shape[-1], c.shift_c, dither=dither)
    u = (c.ur * red + c.ug * green + c.ub * blue + offsets) >> c.shift_c
    v = (c.vr * red + c.vg * green + c.vb * blue + offsets) >> c.shift_c
    return np.clip(u, 0, c.maximum), np.clip(v, 0, c.maximum)


def unit_to_codes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """float16 or float32 in 0..1 to uint16: round(65535 x) in float32 arithmetic, clipped; NaN is 0."""
    single = values.astype(np.float32)
    single = np.where(single > 0, np.minimum(single, np.float32(1)), np.float32(0))
    return (single * np.float32(65535) + np.float32(0.5)).astype(np.uint16)


def codes_to_unit(codes: npt.NDArray[np.uint16], dtype: str) -> npt.NDArray[Any]:
    """uint16 to float32 in 0..1 (code / 65535, one rounding), or that rounded to float16."""
    single = codes.astype(np.float32) / np.float32(65535)
    return single.astype(np.dtype(dtype))


def frames_to_rgb(
    frames: npt.NDArray[np.uint8],
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout = "planar",
    dtype: RgbType = "uint8",
) -> npt.NDArray[Any]:
    """See `vireo_kernels.color.frames_to_rgb`."""
    words = words_of(frames, pixel_format).astype(np.int64)
    bits = BITS[pixel_format]
    if bits == 10:
        words >>= 6
    vertical, horizontal = is_cosited(color.chroma_location)
    y = words[:, :height, :width]
    u16, v16 = (
        upsample(
            upsample(words[:, height:, start::2], height, axis=1, cosited=vertical), width, axis=2, cosited=horizontal
        )
        for start in (0, 1)
    )
    rgb_bits = 8 if dtype == "uint8" else 16
    planes = codes_to_rgb(y, u16, v16, color=color, bits=bits, rgb_bits=rgb_bits)
    rgb: npt.NDArray[Any] = np.stack(planes, axis=1 if layout == "planar" else 3)
    rgb = rgb.astype(np.uint8 if rgb_bits == 8 else np.uint16)
    return codes_to_unit(rgb, dtype) if dtype.startswith("float") else rgb


def rgb_to_frames(
    rgb: npt.NDArray[Any],
    *,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout = "planar",
    dither: bool = False,
) -> npt.NDArray[np.uint8]:
    """See `vireo_kernels.color.rgb_to_frames`."""
    if rgb.dtype.kind == "f":
        rgb = unit_to_codes(rgb)
    elif dither and rgb.dtype == np.uint8:
        rgb = rgb.astype(np.uint16) * np.uint16(257)
    rgb_bits = 8 * rgb.itemsize
    planar = rgb.astype(np.int64)
    if layout == "interleaved":
        planar = np.moveaxis(planar, 3, 1)
    count, _, height, width = planar.shape
    bits = BITS[pixel_format]
    vertical, horizontal = is_cosited(color.chroma_location)
    luma = rgb_to_luma(planar, color=color, bits=bits, rgb_bits=rgb_bits, dither=dither)
    averaged = downsample(downsample(planar, axis=2, cosited=vertical), axis=3, cosited=horizontal)
    u, v = rgb16_to_chroma(averaged, color=color, bits=bits, rgb_bits=rgb_bits, dither=dither)
    out = np.empty(frames_shape(count, width=width, height=height, pixel_format=pixel_format), np.uint8)
    words = words_of(out, pixel_format)
    shift = 0 if bits == 8 else 6
    words[:, :height, :width] = luma << shift
    words[:, :height, width:] = words[:, :height, width - 1 : width]
    words[:, height:, 0::2] = u << shift
    words[:, height:, 1::2] = v << shift
    return out
