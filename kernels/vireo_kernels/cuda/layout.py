# SPDX-License-Identifier: MIT
"""Launches layout.cu."""

from __future__ import annotations

import numpy as np

from vireo_kernels.arguments import Array
from vireo_kernels.cuda.runner import Runner, whole


def surface_to_frames(luma: Array, chroma: Array, *, out: Array, runner: Runner) -> None:
    """`vireo_kernels.layout.surface_to_frames` of checked arguments into `out`."""
    height, width = luma.shape
    size = luma.dtype.itemsize
    pitches = luma.strides[0], chroma.strides[0]
    addresses = [runner.address(array) for array in (luma, chroma, out)]
    aligned = all(number % 16 == 0 for number in (*addresses, *pitches, out.shape[1]))
    runner.launch(
        "layout.cu",
        "surface_to_frames",
        items=(-(-out.shape[1] // 16), out.shape[0], 1),
        arguments=[
            luma,
            chroma,
            out,
            np.int64(pitches[0]),
            np.int64(pitches[1]),
            *whole(height, chroma.shape[0], width * size, out.shape[1], size, aligned),
        ],
    )
