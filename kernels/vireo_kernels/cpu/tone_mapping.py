# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False
"""Tone mapping compiled for the CPU; `vireo_kernels.reference.tone_mapping` says what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import read_only
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.transfer import code_of_light
from vireo_kernels.curves import code_table, light_table
from vireo_kernels.tone_curves import FACTOR_BITS, LEVEL_BITS, WEIGHT_BITS, ToneTable

if TYPE_CHECKING:
    from vireo_kernels.color import Layout


@compiled
def _map(rgb, planes, step, entries, weights, red_pull, of_light, light, thresholds, first, steps, out):
    """`planes` is the distance of two colours of a sample, `step` that of two samples; `rgb` and `out` are flat."""
    half, half_weight = np.int64(1) << (FACTOR_BITS - 1), np.int64(1) << (WEIGHT_BITS - 1)
    size = rgb.size // 3
    pixels = planes if step == 1 else size
    for at in range(0, size, pixels):
        for pixel in range(pixels):
            base = 3 * at + pixel * step
            red, green, blue = np.int64(rgb[base]), np.int64(rgb[base + planes]), np.int64(rgb[base + 2 * planes])
            if of_light:
                total = weights[0] * np.int64(light[red]) + weights[1] * np.int64(light[green])
                total = (total + weights[2] * np.int64(light[blue]) + half_weight) >> WEIGHT_BITS
                index = code_of_light(total, thresholds, first, steps)
            else:
                index = (weights[0] * red + weights[1] * green + weights[2] * blue + half_weight) >> WEIGHT_BITS
            level, factor = np.int64(entries[index, 0]), np.int64(entries[index, 1])
            pull = (max(factor * (red - index), np.int64(0)) * red_pull) >> 16
            start = (level << (FACTOR_BITS - LEVEL_BITS)) - pull + half
            for colour in range(3):
                to = base + colour * planes
                mapped = (start + factor * (np.int64(rgb[to]) - index)) >> FACTOR_BITS
                out[to] = min(max(mapped, np.int64(0)), np.int64(65535))


def map_tones(rgb: npt.NDArray[np.uint16], *, table: ToneTable, layout: Layout, out: npt.NDArray[np.uint16]) -> None:
    """`vireo_kernels.tone_mapping.map_tones` of checked arguments into `out`, which may be `rgb`."""
    codes = code_table("bt1886")
    planes, step = (rgb.shape[2] * rgb.shape[3], 1) if layout == "planar" else (1, 3)
    _map(
        read_only(rgb.reshape(-1)),
        planes,
        step,
        table.entries,
        np.array(table.weights, np.int64),
        table.red_pull,
        table.of_light,
        light_table("bt1886", 16),
        codes.thresholds,
        codes.first,
        codes.steps,
        out.reshape(-1),
    )
