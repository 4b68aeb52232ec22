# SPDX-License-Identifier: MIT
"""What `vireo_kernels.tone_mapping.map_tones` computes, in NumPy: the other implementations give the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.reference.transfer import from_light, to_light
from vireo_kernels.tone_curves import FACTOR_BITS, LEVEL_BITS, WEIGHT_BITS, ToneTable

if TYPE_CHECKING:
    from vireo_kernels.color import Layout


def map_tones(rgb: npt.NDArray[np.uint16], *, table: ToneTable, layout: Layout = "planar") -> npt.NDArray[np.uint16]:
    """See `vireo_kernels.tone_mapping.map_tones`."""
    axis = 1 if layout == "planar" else 3
    colours = np.moveaxis(rgb.astype(np.int64), axis, 0)
    index = _weighted(to_light(rgb, "bt1886") if table.of_light else rgb, table, axis)
    index = from_light(index, "bt1886").astype(np.int64) if table.of_light else index
    level, factor = np.moveaxis(table.entries[index].astype(np.int64), -1, 0)
    pull = (np.maximum(factor * (colours[0] - index), 0) * table.red_pull) >> 16
    base = (level << (FACTOR_BITS - LEVEL_BITS)) - pull + (1 << (FACTOR_BITS - 1))
    mapped: npt.NDArray[np.int64] = np.stack(
        [(base + factor * (colour - index)) >> FACTOR_BITS for colour in colours], axis=axis
    )
    return mapped.clip(0, 65535).astype(np.uint16)


def _weighted(values: npt.NDArray[Any], table: ToneTable, axis: int) -> npt.NDArray[np.int64]:
    red, green, blue = np.moveaxis(values.astype(np.int64), axis, 0)
    weights = table.weights
    total: npt.NDArray[np.int64] = weights[0] * red + weights[1] * green + weights[2] * blue
    return (total + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS
