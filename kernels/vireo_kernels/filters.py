# SPDX-License-Identifier: MIT
"""The weights of every resize, as whole numbers: made once, here, for all three implementations.

Two families, chosen by name and never guessed, because they differ by 33 dB of PSNR on an ordinary reduction:

- antialiased: the filter widens with the reduction, so every source sample counts. What Pillow does, and torch with
  `antialias=True`. Bicubic has a = -0.5; lanczos has 3 lobes; area is the exact average of the covered source area
  (OpenCV's INTER_AREA), and exists only here.
- plain: the filter has a fixed number of taps, however strong the reduction. What OpenCV's INTER_LINEAR, INTER_CUBIC
  and INTER_LANCZOS4 do, and torch by default. Bicubic has a = -0.75; lanczos has 4 lobes.

Sample positions are half-pixel centred: source = (target + 0.5) * source_size / target_size - 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Filter = Literal["bilinear", "bicubic", "lanczos", "area"]
FILTERS: tuple[Filter, ...] = ("bilinear", "bicubic", "lanczos", "area")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    """Where a resize rounds: `weight_bits` of each weight, and what is kept of the row-wise result.

    `kept_bits` fraction bits are kept between the two passes; `clip_between` says whether the row-wise result is
    clipped to the range of the samples.
    """

    weight_bits: int
    kept_bits: int
    clip_between: bool


ANTIALIASED = Rounding(weight_bits=22, kept_bits=0, clip_between=True)
"""Pillow's: 22-bit weights, rows first, rounded and clipped to samples before the columns (its Resample.c)."""
PLAIN = Rounding(weight_bits=14, kept_bits=6, clip_between=False)
"""OpenCV and torch do not round in between; six more bits are as good as that."""


@dataclass(frozen=True, eq=False)
class Taps:
    """For each of n target samples: the first source sample and the weights of it and of those after it.

    `start` is `(n,) int32`, `weights` is `(n, taps) int32` in units of 2^-weight_bits; start + taps never exceeds the
    source's size. Unused weights are zero.
    """

    start: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]


def _triangle(x: Floats) -> Floats:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: Floats, a: float) -> Floats:
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Floats, lobes: int) -> Floats:
    return np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0)


_ANTIALIASED_FILTERS: dict[str, tuple[float, Callable[[Floats], Floats]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, lambda x: _cubic(x, -0.5)),
    "lanczos": (3.0, lambda x: _lanczos(x, 3)),
}
_PLAIN_FILTERS: dict[str, tuple[int, Callable[[Floats], Floats]]] = {
    "bilinear": (1, _triangle),
    "bicubic": (2, lambda x: _cubic(x, -0.75)),
    "lanczos": (4, lambda x: _lanczos(x, 4)),
}


def _packed(first: npt.NDArray[Any], weights: Floats, source: int, bits: int) -> Taps:
    """Integer weights, moved so that no window reaches outside the source.

    Weights are rounded half away from zero, as Pillow does.
    """
    fixed = np.trunc(weights * (1 << bits) + np.copysign(0.5, weights)).astype(np.int64)
    used = np.flatnonzero(fixed.any(axis=0))
    fixed = fixed[:, : used[-1] + 1]
    taps = min(fixed.shape[1], source)
    start = np.minimum(first, source - taps)
    moved = np.zeros((len(first), taps), np.int64)
    columns = np.arange(fixed.shape[1]) + (first - start)[:, None]
    rows, inside = np.nonzero(columns < taps)
    moved[rows, columns[rows, inside]] = fixed[rows, inside]
    return Taps(start=start.astype(np.int32), weights=np.ascontiguousarray(moved, np.int32))


def _antialiased(name: str, source: int, target: int) -> Taps:
    """Pillow's precompute_coeffs, in its order of float64 operations, so that its weights come out to the bit."""
    scale = source / target
    stretch = max(scale, 1.0)
    reach, function = _ANTIALIASED_FILTERS[name]
    support = reach * stretch
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), source)
    offsets = np.arange(int((end - first).max()))
    # The product with the reciprocal, not a division: Pillow's own rounding.
    weights = function((offsets + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch))
    weights[offsets >= (end - first)[:, None]] = 0.0
    total = np.zeros(target)
    for column in weights.T:
        total += column
    return _packed(first, weights / total[:, None], source, ANTIALIASED.weight_bits)


def _area(source: int, target: int) -> Taps:
    """The share of each target sample's area that lies on each source sample; exact, in units of 1 / target."""
    begin, end = np.arange(target) * source, np.arange(1, target + 1) * source
    first = begin // target
    offsets = np.arange(int((-(-end // target) - first).max()))
    left = (first[:, None] + offsets) * target
    overlap = np.minimum(left + target, end[:, None]) - np.maximum(left, begin[:, None])
    return _packed(first, np.maximum(overlap, 0) / source, source, ANTIALIASED.weight_bits)


def _plain(name: str, source: int, target: int) -> Taps:
    """A fixed number of taps; those that fall outside count for the edge sample. The weights add up to one exactly."""
    reach, function = _PLAIN_FILTERS[name]
    numerator = (2 * np.arange(target) + 1) * source - target
    nearest = numerator // (2 * target)
    fraction = (numerator - nearest * 2 * target) / (2 * target)
    offsets = np.arange(1 - reach, reach + 1)
    weights = function(offsets - fraction[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = np.rint(weights * (1 << PLAIN.weight_bits)).astype(np.int64)
    rows = np.arange(target)
    fixed[rows, weights.argmax(axis=1)] += (1 << PLAIN.weight_bits) - fixed.sum(axis=1)
    at = np.clip(nearest[:, None] + offsets, 0, source - 1)
    taps = min(2 * reach, source)
    start = np.minimum(at[:, 0], source - taps)
    packed = np.zeros((target, taps), np.int32)
    for column in range(2 * reach):
        packed[rows, at[:, column] - start] += fixed[:, column].astype(np.int32)
    return Taps(start=start.astype(np.int32), weights=packed)


def rounding_of(filter_name: Filter, antialias: bool) -> Rounding:
    """How this resize rounds."""
    return ANTIALIASED if antialias else PLAIN


@lru_cache(maxsize=256)
def taps_for(filter_name: Filter, antialias: bool, source: int, target: int) -> Taps:
    """The weights that make `target` samples out of `source`; the same size gives weights of one."""
    if filter_name == "area":
        taps = _area(source, target)
    elif antialias:
        taps = _antialiased(filter_name, source, target)
    else:
        taps = _plain(filter_name, source, target)
    taps.start.flags.writeable = False
    taps.weights.flags.writeable = False
    return taps
