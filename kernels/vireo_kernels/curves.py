# SPDX-License-Identifier: MIT
"""The integer tables of transfer functions and primaries, made once for all three implementations."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIGHT_BITS = 31
LIGHT_ONE = 1 << LIGHT_BITS
MANTISSA_BITS = 12
"""How finely the index of `CodeTable` divides each octave of light."""

# SMPTE ST 2084.
M1, M2 = 2610 / 16384, 2523 / 4096 * 128
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ITU-R BT.2100, HLG.
A, B, C = 0.17883277, 0.28466892, 0.55991073


def light_of(curve: str, signal: Floats) -> Floats:
    """Linear light, 0..1 of the curve's peak, of a signal of 0..1."""
    if curve == "bt1886":
        return np.power(signal, 2.4)
    if curve == "srgb":
        return np.where(signal <= 0.04045, signal / 12.92, np.power((signal + 0.055) / 1.055, 2.4))
    if curve == "pq":
        root = np.power(signal, 1 / M2)
        light: Floats = np.power(np.maximum(root - C1, 0) / (C2 - C3 * root), 1 / M1)
        return light
    return np.where(signal <= 0.5, signal * signal / 3, (np.exp((signal - C) / A) + B) / 12)


def exact_light_of(curve: str, signal: Fraction) -> Decimal:
    """`light_of` to 40 digits, the same on every machine."""
    m1, m2 = Decimal(2610) / 16384, Decimal(2523) / 32
    c1, c2, c3 = Decimal(3424) / 4096, Decimal(2413) / 128, Decimal(2392) / 128
    a, b, c = Decimal(str(A)), Decimal(str(B)), Decimal(str(C))
    with localcontext() as context:
        context.prec = 40
        value = Decimal(signal.numerator) / signal.denominator
        if curve == "bt1886":
            return value ** Decimal("2.4")
        if curve == "srgb":
            if value <= Decimal("0.04045"):
                return value / Decimal("12.92")
            return ((value + Decimal("0.055")) / Decimal("1.055")) ** Decimal("2.4")
        if curve == "pq":
            root = value ** (1 / m2)
            return (max(root - c1, Decimal(0)) / (c2 - c3 * root)) ** (1 / m1)
        return value * value / 3 if value <= Decimal("0.5") else (((value - c) / a).exp() + b) / 12


def _whole_light(curve: str, numerators: npt.NDArray[np.int64], denominator: int, rounding: str) -> npt.NDArray[Any]:
    """Light of the signals in units of 2^-31, rounded half up or up (decimal's names).

    # Note [Why tables are made in two ways]
    # numpy's `pow` gives other last digits on other processors. Where those could change the rounded number, a few
    # times in a table, it is computed again in decimal arithmetic, which is the same everywhere.
    """
    light = light_of(curve, numerators / denominator) * LIGHT_ONE
    edge = light + 0.5 if rounding == ROUND_HALF_UP else light
    rounded = np.floor(edge) if rounding == ROUND_HALF_UP else np.ceil(edge)
    whole: npt.NDArray[Any] = rounded.astype(np.int64)
    for index in np.flatnonzero(np.abs(edge - np.rint(edge)) < 2e-3):
        exact = exact_light_of(curve, Fraction(int(numerators[index]), denominator)) * LIGHT_ONE
        whole[index] = int(exact.to_integral_value(rounding))
    return whole.clip(0, LIGHT_ONE)


@cache
def light_table(curve: str, bits: int) -> npt.NDArray[np.uint32]:
    """Light, in units of 2^-31, of each code of `bits` bits."""
    top = (1 << bits) - 1
    return _frozen(_whole_light(curve, np.arange(top + 1), top, ROUND_HALF_UP).astype(np.uint32))


@dataclass(frozen=True, eq=False)
class CodeTable:
    """The 16-bit code of a light: the number of `thresholds` that are not above it.

    `thresholds` is `(65536 + steps,) uint32`: the least light of each code (0 of code 0; of codes above 65535 more than
    any light). `first` is `(buckets,) uint16`: the code of the least light of each bucket (see `bucket_of`). A light's
    own code is at most `steps` further.
    """

    thresholds: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint16]
    steps: int


def bucket_of(light: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The bucket of a light: its octave and the MANTISSA_BITS bits after its leading one; monotonic."""
    light = light.astype(np.int64)
    length = np.frexp(light.astype(np.float64))[1].astype(np.int64)  # the number of bits, exact below 2^53
    shift = np.maximum(length - 1 - MANTISSA_BITS, 0)
    bucket: npt.NDArray[Any] = (shift << MANTISSA_BITS) + (light >> shift)
    return bucket


@cache
def code_table(curve: str) -> CodeTable:
    """The table that inverts `curve`: half-way signals between two codes are where the next code begins."""
    least = _whole_light(curve, 2 * np.arange(1, 65536) - 1, 2 * 65535, ROUND_CEILING)
    thresholds = np.concatenate([[0], least]).astype(np.uint32)
    buckets = np.arange(((LIGHT_BITS - MANTISSA_BITS + 1) << MANTISSA_BITS) + 2)
    # The least light of bucket b: see bucket_of.
    shift = np.maximum((buckets >> MANTISSA_BITS) - 1, 0)
    bottom = (buckets - (shift << MANTISSA_BITS)) << shift
    first = np.searchsorted(thresholds, bottom, side="right") - 1
    last = np.searchsorted(thresholds, bottom[1:] - 1, side="right") - 1
    steps = int((last - first[:-1]).max())
    padded = np.concatenate([thresholds, np.full(steps, LIGHT_ONE + 1, np.uint32)])
    return CodeTable(thresholds=_frozen(padded), first=_frozen(first.astype(np.uint16)), steps=steps)


# CIE xy of red, green, blue and white D65.
PRIMARIES: dict[str, tuple[tuple[str, str], ...]] = {
    "bt709": (("0.64", "0.33"), ("0.30", "0.60"), ("0.15", "0.06")),
    "bt470bg": (("0.64", "0.33"), ("0.29", "0.60"), ("0.15", "0.06")),
    "smpte170m": (("0.630", "0.340"), ("0.310", "0.595"), ("0.155", "0.070")),
    "smpte432": (("0.680", "0.320"), ("0.265", "0.690"), ("0.150", "0.060")),
    "bt2020": (("0.708", "0.292"), ("0.170", "0.797"), ("0.131", "0.046")),
}
WHITE = ("0.3127", "0.3290")
FractionMatrix = list[list[Fraction]]


def _product(a: FractionMatrix, b: FractionMatrix) -> FractionMatrix:
    return [[sum((a[i][k] * b[k][j] for k in range(3)), Fraction(0)) for j in range(3)] for i in range(3)]


def _inverse(m: FractionMatrix) -> FractionMatrix:
    (a, b, c), (d, e, f), (g, h, i) = m
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    adjugate = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    return [[value / determinant for value in row] for row in adjugate]


def _to_xyz(primaries: str) -> FractionMatrix:
    """RGB to XYZ, from the chromaticities alone (SMPTE RP 177), exactly."""
    corners = [[Fraction(x) / Fraction(y), Fraction(1), (1 - Fraction(x) - Fraction(y)) / Fraction(y)]
               for x, y in PRIMARIES[primaries]]  # fmt: skip
    columns = [[corners[j][i] for j in range(3)] for i in range(3)]
    x, y = (Fraction(value) for value in WHITE)
    white = [[x / y], [Fraction(1)], [(1 - x - y) / y]]
    inverse = _inverse(columns)
    scale = [sum((inverse[i][k] * white[k][0] for k in range(3)), Fraction(0)) for i in range(3)]
    return [[columns[i][j] * scale[j] for j in range(3)] for i in range(3)]


def primaries_matrix(source: str, target: str) -> FractionMatrix:
    """Linear RGB of `source` primaries to linear RGB of `target` primaries (ITU-R BT.2087), exactly."""
    return _product(_inverse(_to_xyz(target)), _to_xyz(source))


@cache
def light_matrix(source: str, target: str, gain: Fraction) -> tuple[npt.NDArray[np.int64], int]:
    """`primaries_matrix` times `gain` as whole numbers of 2^-shift, and that shift.

    Each factor is below 2^30, so that three products with light (31 bits and one) stay inside 64 bits. The rows add up
    to the gain exactly: white stays white.
    """
    matrix = primaries_matrix(source, target)
    largest = max(abs(value * gain) for row in matrix for value in row)
    shift = 29
    while largest * (1 << shift) >= 1 << 30:
        shift -= 1
    while shift < 60 and largest * (1 << (shift + 1)) < 1 << 29:
        shift += 1
    whole = (2 * (gain * (1 << shift)) + 1) // 2
    rows = []
    for index, row in enumerate(matrix):
        factors = [int((2 * value * gain * (1 << shift) + 1) // 2) for value in row]
        factors[index] += int(whole) - sum(factors)
        rows.append(factors)
    return _frozen(np.array(rows, np.int64)), shift


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array
