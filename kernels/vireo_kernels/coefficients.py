# SPDX-License-Identifier: MIT
"""The fixed-point numbers of colour conversion, shared by the reference, the CPU and the CUDA version.

Definitions (ITU-R BT.601-7, BT.709-6, BT.2020-2 non-constant luminance; of SMPTE 240M and FCC, ISO/IEC 23091-2):
Y' = Kr R' + Kg G' + Kb B', Cb = (B' - Y') / (2 (1 - Kb)), Cr = (R' - Y') / (2 (1 - Kr)). Codes of n bits, s = 2^(n-8):
limited range is Y = 16 s + 219 s Y', C = 128 s + 224 s Cx; full range is Y = (2^n - 1) Y',
C = 2^(n-1) + (2^n - 1) Cx.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

Matrix = Literal["bt601", "bt709", "bt2020nc", "smpte240m", "fcc"]
ColorRange = Literal["limited", "full"]
ChromaLocation = Literal["left", "center", "topleft"]

WEIGHTS: dict[str, tuple[Fraction, Fraction]] = {
    "bt601": (Fraction("0.299"), Fraction("0.114")),
    "bt709": (Fraction("0.2126"), Fraction("0.0722")),
    "bt2020nc": (Fraction("0.2627"), Fraction("0.0593")),
    "smpte240m": (Fraction("0.212"), Fraction("0.087")),
    "fcc": (Fraction("0.30"), Fraction("0.11")),
}
"""Kr and Kb of each matrix."""

# Note [Why chroma carries four more bits]
# Interpolating chroma bilinearly between its four neighbours needs weights in sixteenths at most, so sixteen times the
# interpolated value is an integer, exactly. Nothing is rounded before the one rounding at the end.
CHROMA_BITS = 4

# The largest numbers of fraction bits with which the sum stays inside 32 bits for 8-bit RGB (|sum| < 552 * 2^21).
DECODE_BITS = {8: 17, 16: 20}
ENCODE_BITS = {8: 16, 16: 30}


def _round_half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


DITHER_BITS = 6
DITHER: tuple[tuple[int, ...], ...] = (
    (0, 32, 8, 40, 2, 34, 10, 42),
    (48, 16, 56, 24, 50, 18, 58, 26),
    (12, 44, 4, 36, 14, 46, 6, 38),
    (60, 28, 52, 20, 62, 30, 54, 22),
    (3, 35, 11, 43, 1, 33, 9, 41),
    (51, 19, 59, 27, 49, 17, 57, 25),
    (15, 47, 7, 39, 13, 45, 5, 37),
    (63, 31, 55, 23, 61, 29, 53, 21),
)
"""The ordered dither (B. E. Bayer, 1973) of the sample at row y and column x of its plane: `DITHER[y % 8][x % 8]`.

It takes the place of the half of rounding: (2 d + 1) / 128 of a code instead of 1/2, so its mean is the same.
"""


def dither_offset(row: int, column: int, shift: int) -> int:
    """What dithering adds to the offset of a sum with `shift` fraction bits: -63/128 .. 63/128 of a code."""
    return (2 * DITHER[row % 8][column % 8] + 1 - (1 << DITHER_BITS)) << (shift - DITHER_BITS - 1)


@dataclass(frozen=True)
class DecodeCoefficients:
    """YUV codes to RGB: R = (y Y + rv V16 + offset_r) >> shift, G and B likewise, then clipped to 0 .. maximum.

    V16 is sixteen times the interpolated chroma code. The offsets hold the black level, the chroma middle and the half
    of rounding (half up).
    """

    y: int
    rv: int
    gu: int
    gv: int
    bu: int
    offset_r: int
    offset_g: int
    offset_b: int
    shift: int
    maximum: int


@dataclass(frozen=True)
class EncodeCoefficients:
    """RGB to YUV codes: Y = (yr R + yg G + yb B + offset_y) >> shift_y; U and V from sixteen times the averaged RGB.

    The chroma rows add up to zero and the luma row to white, exactly, so that grey has no chroma and white is white.
    """

    yr: int
    yg: int
    yb: int
    ur: int
    ug: int
    ub: int
    vr: int
    vg: int
    vb: int
    offset_y: int
    offset_c: int
    shift_y: int
    shift_c: int
    maximum: int


def _scales(color_range: ColorRange, bits: int) -> tuple[int, int, int, int]:
    """Black level, luma span, chroma middle and chroma span in codes of `bits` bits."""
    unit = 1 << (bits - 8)
    if color_range == "limited":
        return 16 * unit, 219 * unit, 128 * unit, 224 * unit
    top = (1 << bits) - 1
    return 0, top, 1 << (bits - 1), top


@cache
def decode_coefficients(matrix: Matrix, color_range: ColorRange, bits: int, rgb_bits: int) -> DecodeCoefficients:
    """Coefficients from YUV codes of `bits` bits (8, 10) to RGB of `rgb_bits` bits (8, 16)."""
    kr, kb = WEIGHTS[matrix]
    kg = 1 - kr - kb
    black, luma_span, middle, chroma_span = _scales(color_range, bits)
    maximum = (1 << rgb_bits) - 1
    fraction_bits = DECODE_BITS[rgb_bits]
    luma = Fraction(maximum << fraction_bits, luma_span)
    chroma = Fraction(maximum << fraction_bits, chroma_span)
    y = _round_half_up(luma) << CHROMA_BITS
    rv = _round_half_up(chroma * 2 * (1 - kr))
    gu = _round_half_up(-chroma * 2 * kb * (1 - kb) / kg)
    gv = _round_half_up(-chroma * 2 * kr * (1 - kr) / kg)
    bu = _round_half_up(chroma * 2 * (1 - kb))
    shift = fraction_bits + CHROMA_BITS
    base = (1 << (shift - 1)) - y * black
    middle16 = middle << CHROMA_BITS
    return DecodeCoefficients(
        y=y,
        rv=rv,
        gu=gu,
        gv=gv,
        bu=bu,
        offset_r=base - rv * middle16,
        offset_g=base - (gu + gv) * middle16,
        offset_b=base - bu * middle16,
        shift=shift,
        maximum=maximum,
    )


@cache
def encode_coefficients(matrix: Matrix, color_range: ColorRange, bits: int, rgb_bits: int) -> EncodeCoefficients:
    """Coefficients from RGB of `rgb_bits` bits (8, 16) to YUV codes of `bits` bits (8, 10)."""
    kr, kb = WEIGHTS[matrix]
    black, luma_span, middle, chroma_span = _scales(color_range, bits)
    fraction_bits = ENCODE_BITS[rgb_bits]
    one = Fraction(1 << fraction_bits, (1 << rgb_bits) - 1)
    luma, chroma = one * luma_span, one * chroma_span
    yr, yb = _round_half_up(luma * kr), _round_half_up(luma * kb)
    ur, ub = _round_half_up(-chroma * kr / (2 * (1 - kb))), _round_half_up(chroma / 2)
    vr, vb = _round_half_up(chroma / 2), _round_half_up(-chroma * kb / (2 * (1 - kr)))
    shift_c = fraction_bits + CHROMA_BITS
    return EncodeCoefficients(
        yr=yr,
        yg=_round_half_up(luma) - yr - yb,
        yb=yb,
        ur=ur,
        ug=-ur - ub,
        ub=ub,
        vr=vr,
        vg=-vr - vb,
        vb=vb,
        offset_y=(black << fraction_bits) + (1 << (fraction_bits - 1)),
        offset_c=(middle << shift_c) + (1 << (shift_c - 1)),
        shift_y=fraction_bits,
        shift_c=shift_c,
        maximum=(1 << bits) - 1,
    )
