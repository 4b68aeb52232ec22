# SPDX-License-Identifier: MIT
"""Launches resize.cu."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vireo_kernels.arguments import Array
from vireo_kernels.cuda.runner import Runner, is_aligned, whole
from vireo_kernels.filters import Filter, Taps, rounding_of, taps_for

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.fit import Fit

OUTPUTS = 4
"""Samples a thread makes."""


@lru_cache(maxsize=64)
def windows(
    filter_name: Filter, antialias: bool, source: int, target: int, offset: int, size: int, channels: int, word: int
) -> Taps:
    """The taps of the samples on a canvas of `size`, the first of them at `offset`, in samples of interleaved rows.

    Weights of other channels are zero in between. Windows begin at multiples of `word` samples and are whole words, so
    that they are loaded 16 bytes at a time; `word` of 1 leaves them as they are.
    """
    taps = taps_for(filter_name, antialias, source, target)
    part = slice(max(-offset, 0), min(len(taps.start), size - offset))
    start, weights = taps.start[part].astype(np.int64), taps.weights[part]
    count, given = weights.shape
    spread = np.zeros((count, channels, (given - 1) * channels + 1), np.int32)
    spread[:, :, ::channels] = weights[:, None]
    spread = spread.reshape(count * channels, -1)
    first = (start[:, None] * channels + np.arange(channels)).reshape(-1)
    begin = first // word * word
    length = -(-int((first - begin).max() + spread.shape[1]) // word) * word
    if word > 1:
        begin = np.minimum(begin, max(-(-source * channels // word) * word - length, 0))
    packed = np.zeros((len(first), length), np.int32)
    np.put_along_axis(packed, (first - begin)[:, None] + np.arange(spread.shape[1]), spread, axis=1)
    return Taps(start=begin.astype(np.int32), weights=packed)


def rounding_arguments(filter_name: Filter, antialias: bool, top: int) -> list[np.int32]:
    """The shifts after rows and after columns, and the range in between."""
    rounding = rounding_of(filter_name, antialias)
    wild = 128 * (top + 1) - 1
    low, high = (0, top) if rounding.clip_between else (-wild, wild)
    return whole(rounding.weight_bits - rounding.kept_bits, rounding.weight_bits + rounding.kept_bits, low, high)


def fill_border(out: Array, fit: Fit, fill: int) -> None:
    """Fill what `fit` leaves free of `(N, height, width, C)`."""
    top, left = max(fit.top, 0), max(fit.left, 0)
    bottom, right = fit.top + fit.resized_height, fit.left + fit.resized_width
    for border in (out[:, :top], out[:, bottom:], out[:, :, :left], out[:, :, right:]):
        if border.size:
            border[...] = fill


def resize_image(
    image: Array,
    *,
    fit: Fit,
    filter_name: Filter,
    antialias: bool,
    layout: Layout,
    fill: int,
    out: Array,
    runner: Runner,
) -> None:
    """`vireo_kernels.resize.resize_image` of checked arguments into `out`."""
    if layout == "planar":
        count, channels = image.shape[0] * image.shape[1], 1
        height, width = image.shape[2:]
    else:
        count, height, width, channels = image.shape
    size = image.dtype.itemsize
    fill_border(out.reshape(count, fit.height, fit.width, channels), fit, fill)
    aligned = is_aligned(runner, image, width * channels * size)
    x = windows(
        filter_name, antialias, width, fit.resized_width, fit.left, fit.width, channels, 16 // size if aligned else 1
    )
    y = windows(filter_name, antialias, height, fit.resized_height, fit.top, fit.height, 1, 1)
    left, top = max(fit.left, 0) * channels, max(fit.top, 0)
    row = fit.width * channels
    # Four samples are stored at once where they begin at a multiple of their size.
    aligned_out = runner.address(out) % (4 * size) == 0 and row % 4 == 0 and left % 4 == 0
    runner.launch(
        "resize.cu",
        f"resize_{image.dtype}",
        items=(-(-len(x.start) // OUTPUTS), len(y.start), count),
        arguments=[
            image,
            out,
            *(runner.table(table) for table in (x.start, x.weights, y.start, y.weights)),
            *whole(width * channels, height, len(x.start), len(y.start), x.weights.shape[1], y.weights.shape[1]),
            *whole(left, top, row, fit.height, aligned, aligned_out),
            *rounding_arguments(filter_name, antialias, 255 if size == 1 else 65535),
        ],
    )
