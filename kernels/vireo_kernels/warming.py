# SPDX-License-Identifier: MIT
"""Compiling the CPU kernels before they are needed, so that no first request waits for it."""

from __future__ import annotations

import numpy as np

from vireo_kernels.color import ColorSpec, RgbType, frames_to_rgb, rgb_to_frames
from vireo_kernels.fit import fit_exact
from vireo_kernels.layout import PixelFormat, frames_shape, frames_to_planes, planes_to_frames
from vireo_kernels.network_input import InputType, frames_to_input

FORMATS: tuple[PixelFormat, ...] = ("nv12", "p010")
RGB_TYPES: tuple[RgbType, ...] = ("uint8", "uint16")
INPUT_TYPES: tuple[InputType, ...] = ("uint8", "float32", "float16")


def warm() -> None:
    """Compile, or load from numba's cache, what serving uses: half a minute the first time, under a second later."""
    color = ColorSpec(matrix="bt709", color_range="limited")
    for pixel_format in FORMATS:
        frames = np.zeros(frames_shape(1, width=64, height=64, pixel_format=pixel_format), np.uint8)
        samples = np.uint8 if pixel_format == "nv12" else np.uint16
        y, u, v = (np.zeros((size, size), samples) for size in (64, 32, 32))
        planes_to_frames(y, u, v, out=frames[0])
        frames_to_planes(frames[0], y=y, u=u, v=v)
        for rgb_type in RGB_TYPES:
            rgb = frames_to_rgb(frames, width=64, height=64, pixel_format=pixel_format, color=color, dtype=rgb_type)
            rgb_to_frames(rgb, pixel_format=pixel_format, color=color)
        for input_type in INPUT_TYPES:
            frames_to_input(
                frames,
                width=64,
                height=64,
                pixel_format=pixel_format,
                color=color,
                fit=fit_exact(width=32, height=32),
                filter_name="bilinear",
                antialias=True,
                dtype=input_type,
            )
