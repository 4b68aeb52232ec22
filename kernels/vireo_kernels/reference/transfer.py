# SPDX-License-Identifier: MIT
"""What `vireo_kernels.transfer` computes, in NumPy: the other implementations give the same bits."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.curves import LIGHT_ONE, code_table, light_matrix, light_table

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.transfer import LightSpec


def to_light(codes: npt.NDArray[Any], curve: str) -> npt.NDArray[np.uint32]:
    """uint8 or uint16 signal codes to light in units of 2^-31."""
    light: npt.NDArray[np.uint32] = light_table(curve, 8 * codes.itemsize)[codes]
    return light


def from_light(light: npt.NDArray[Any], curve: str) -> npt.NDArray[np.uint16]:
    """Light in units of 2^-31 to the nearest uint16 signal code (nearest as a signal, half up)."""
    light = np.minimum(light, LIGHT_ONE)
    return (np.searchsorted(code_table(curve).thresholds, light, side="right") - 1).astype(np.uint16)


def convert_light(
    rgb: npt.NDArray[Any], *, source: LightSpec, target: LightSpec, gain: Fraction, layout: Layout = "planar"
) -> npt.NDArray[np.uint16]:
    """See `vireo_kernels.transfer.convert_light`."""
    axis = 1 if layout == "planar" else 3
    light = np.moveaxis(to_light(rgb, source.curve).astype(np.int64), axis, 0)
    factors, shift = light_matrix(source.primaries, target.primaries, gain)
    mixed = [(factors[row, 0] * light[0] + factors[row, 1] * light[1] + factors[row, 2] * light[2]) for row in range(3)]
    rounded = (np.stack(mixed, axis=axis) + (1 << (shift - 1))) >> shift
    return from_light(rounded.clip(0, LIGHT_ONE), target.curve)
