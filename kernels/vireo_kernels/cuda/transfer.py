# SPDX-License-Identifier: MIT
"""Launches transfer.cu."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from vireo_kernels.arguments import Array
from vireo_kernels.cuda.runner import Runner, is_aligned, spread, whole
from vireo_kernels.curves import code_table, light_matrix, light_table

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.transfer import LightSpec

PIXELS = 16
"""Pixels a thread converts."""


def convert_light(
    rgb: Array,
    *,
    source: LightSpec,
    target: LightSpec,
    gain: Fraction,
    layout: Layout,
    out: Array,
    runner: Runner,
) -> None:
    """`vireo_kernels.transfer.convert_light` of checked arguments into `out`."""
    interleaved = layout == "interleaved"
    plane = rgb.size // (3 * rgb.shape[0])
    unit = (3 if interleaved else 1) * plane
    factors, shift = light_matrix(source.primaries, target.primaries, gain)
    codes = code_table(target.curve)
    runner.launch(
        "transfer.cu",
        f"convert_light_{rgb.dtype}",
        items=spread(runner, -(-plane // PIXELS), pictures=rgb.shape[0]),
        arguments=[
            rgb,
            out,
            runner.table(light_table(source.curve, 8 * rgb.dtype.itemsize)),
            runner.table(codes.thresholds),
            runner.table(codes.first),
            *whole(codes.steps, *(int(factor) for factor in factors.reshape(-1)), shift),
            np.int64(plane),
            *whole(interleaved, is_aligned(runner, rgb, unit * rgb.dtype.itemsize), is_aligned(runner, out, 2 * unit)),
        ],
    )
