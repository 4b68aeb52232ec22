# SPDX-License-Identifier: MIT
"""Launches tone_mapping.cu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vireo_kernels.arguments import Array
from vireo_kernels.cuda.runner import Runner, is_aligned, spread, whole
from vireo_kernels.cuda.transfer import PIXELS
from vireo_kernels.curves import code_table, light_table
from vireo_kernels.tone_curves import ToneTable

if TYPE_CHECKING:
    from vireo_kernels.color import Layout


def map_tones(rgb: Array, *, table: ToneTable, layout: Layout, out: Array, runner: Runner) -> None:
    """`vireo_kernels.tone_mapping.map_tones` of checked arguments into `out`, which may be `rgb`."""
    interleaved = layout == "interleaved"
    plane = rgb.size // (3 * rgb.shape[0])
    row_bytes = (6 if interleaved else 2) * plane
    codes = code_table("bt1886")
    runner.launch(
        "tone_mapping.cu",
        "map_tones",
        items=spread(runner, -(-plane // PIXELS), pictures=rgb.shape[0]),
        arguments=[
            rgb,
            out,
            runner.table(table.entries),
            runner.table(light_table("bt1886", 16)),
            runner.table(codes.thresholds),
            runner.table(codes.first),
            *whole(codes.steps, *table.weights, table.of_light, table.red_pull),
            np.int64(plane),
            *whole(interleaved, is_aligned(runner, rgb, row_bytes), is_aligned(runner, out, row_bytes)),
        ],
    )
