# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False
"""Light conversion compiled for the CPU; `vireo_kernels.reference.transfer` says what it computes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from vireo_kernels.arguments import read_only
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.curves import LIGHT_ONE, MANTISSA_BITS, code_table, light_matrix, light_table

if TYPE_CHECKING:
    from vireo_kernels.color import Layout
    from vireo_kernels.transfer import LightSpec


@intrinsic
def _leading_zeros(typing_context, value):
    """Leading zero bits of a 64-bit whole number: one instruction, which numba has no name for."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, False))

    return types.int64(types.int64), generate


@compiled
def code_of_light(light, thresholds, first, steps):
    """The code of a light: that of its bucket's beginning, and one more for each further code that begins below it."""
    shift = max(63 - MANTISSA_BITS - _leading_zeros(light), 0)
    code = np.int64(first[(shift << MANTISSA_BITS) + (light >> shift)])
    for _ in range(steps):
        code += thresholds[code + 1] <= light
    return code


@compiled
def _convert(rgb, planes, step, table, factors, shift, thresholds, first, steps, out):
    """`planes` is the distance of two colours of a sample, `step` that of two samples; `rgb` and `out` are flat."""
    half = np.int64(1) << (shift - 1)
    size = rgb.size // 3
    pixels = planes if step == 1 else size
    for at in range(0, size, pixels):
        for pixel in range(pixels):
            base = 3 * at + pixel * step
            red = np.int64(table[rgb[base]])
            green = np.int64(table[rgb[base + planes]])
            blue = np.int64(table[rgb[base + 2 * planes]])
            for colour in range(3):
                light = factors[colour, 0] * red + factors[colour, 1] * green + factors[colour, 2] * blue + half
                light = min(max(light >> shift, np.int64(0)), np.int64(LIGHT_ONE))
                out[base + colour * planes] = code_of_light(light, thresholds, first, steps)


def convert_light(
    rgb: npt.NDArray[Any],
    *,
    source: LightSpec,
    target: LightSpec,
    gain: Fraction,
    layout: Layout,
    out: npt.NDArray[np.uint16],
) -> None:
    """`vireo_kernels.transfer.convert_light` of checked arguments into `out`."""
    factors, shift = light_matrix(source.primaries, target.primaries, gain)
    codes = code_table(target.curve)
    planes, step = (rgb.shape[2] * rgb.shape[3], 1) if layout == "planar" else (1, 3)
    _convert(
        read_only(rgb.reshape(-1)),
        planes,
        step,
        light_table(source.curve, 8 * rgb.itemsize),
        factors,
        shift,
        codes.thresholds,
        codes.first,
        codes.steps,
        out.reshape(-1),
    )
