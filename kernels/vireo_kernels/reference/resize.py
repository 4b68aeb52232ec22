# SPDX-License-Identifier: MIT
"""What `vireo_kernels.resize` computes, in NumPy: the other implementations give the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.filters import Filter, Taps, rounding_of, taps_for

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.fit import Fit

Integers = npt.NDArray[Any]


def apply_taps(samples: Integers, taps: Taps, *, axis: int) -> Integers:
    """The weighted sums along `axis`, in units of 2^-weight_bits; int64."""
    moved = np.moveaxis(samples, axis, -1)
    total = np.zeros((*moved.shape[:-1], len(taps.start)), np.int64)
    for tap in range(taps.weights.shape[1]):
        total += moved[..., taps.start + tap] * taps.weights[:, tap].astype(np.int64)
    return np.moveaxis(total, -1, axis)


def resize_planes(samples: Integers, *, width: int, height: int, filter_name: Filter, antialias: bool) -> Integers:
    """`(..., H, W)` uint8 or uint16 to `(..., height, width)`: rows first, then columns."""
    top = int(np.iinfo(samples.dtype).max)
    rounding = rounding_of(filter_name, antialias)
    shift = rounding.weight_bits - rounding.kept_bits
    rows = apply_taps(samples.astype(np.int64), taps_for(filter_name, antialias, samples.shape[-1], width), axis=-1)
    rows = (rows + (1 << (shift - 1))) >> shift
    if rounding.clip_between:
        rows = rows.clip(0, top)
    shift = rounding.weight_bits + rounding.kept_bits
    columns = apply_taps(rows, taps_for(filter_name, antialias, samples.shape[-2], height), axis=-2)
    result: Integers = ((columns + (1 << (shift - 1))) >> shift).clip(0, top).astype(samples.dtype)
    return result


def place(planes: Integers, fit: Fit, *, fill: int) -> Integers:
    """`(..., H, W)` onto the canvas of `fit`: cropped where it is larger, surrounded by `fill` where it is smaller."""
    canvas = np.full((*planes.shape[:-2], fit.height, fit.width), fill, planes.dtype)
    rows = slice(max(fit.top, 0), min(fit.top + fit.resized_height, fit.height))
    columns = slice(max(fit.left, 0), min(fit.left + fit.resized_width, fit.width))
    canvas[..., rows, columns] = planes[
        ..., rows.start - fit.top : rows.stop - fit.top, columns.start - fit.left : columns.stop - fit.left
    ]
    return canvas


def resize_image(
    image: Integers, *, fit: Fit, filter_name: Filter, antialias: bool, layout: Layout = "planar", fill: int = 0
) -> Integers:
    """See `vireo_kernels.resize.resize_image`."""
    planar = np.moveaxis(image, 3, 1) if layout == "interleaved" else image
    resized = resize_planes(
        planar, width=fit.resized_width, height=fit.resized_height, filter_name=filter_name, antialias=antialias
    )
    placed = place(resized, fit, fill=fill)
    return np.ascontiguousarray(np.moveaxis(placed, 1, 3)) if layout == "interleaved" else placed
