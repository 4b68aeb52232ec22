# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Planes into FRAMES, compiled for the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import read_only
from vireo_kernels.cpu.compiling import compiled
from vireo_kernels.cpu.words import code_of, word_of


@compiled
def _merge(y, u, v, width, words):
    """Rows of `y`, `u`, `v` may be longer than the picture is wide."""
    height = y.shape[0]
    for row in range(height):
        source, target = y[row], words[row, :width]
        for i in range(target.size):
            target[i] = word_of(source[i], words)
        if width % 2:
            words[row, width] = words[row, width - 1]
    for row in range(u.shape[0]):
        first, second, pairs = u[row], v[row], words[height + row]
        for i in range((width + 1) // 2):
            pairs[2 * i] = word_of(first[i], words)
            pairs[2 * i + 1] = word_of(second[i], words)


def _whole_rows(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The plane with its pitch as part of each row: contiguous, so that loops over it become vector code.

    The last row then seems to end behind the array; nothing is read or written there.
    """
    pitch = plane.strides[0] // plane.itemsize
    return np.lib.stride_tricks.as_strided(plane, (plane.shape[0], pitch), (plane.strides[0], plane.itemsize))


def merge(y: npt.NDArray[Any], u: npt.NDArray[Any], v: npt.NDArray[Any], *, words: npt.NDArray[Any]) -> None:
    """Planar YUV 4:2:0 into `(H + ceil(H/2), 2 ceil(W/2))` samples."""
    rows = (read_only(_whole_rows(plane)) for plane in (y, u, v))
    _merge(*rows, y.shape[1], words)


@compiled
def _split(words, width, y, u, v):
    height = y.shape[0]
    for row in range(height):
        source, target = words[row, :width], y[row]
        for i in range(source.size):
            target[i] = code_of(source[i])
    for row in range(u.shape[0]):
        first, second, pairs = u[row], v[row], words[height + row]
        for i in range((width + 1) // 2):
            first[i] = code_of(pairs[2 * i])
            second[i] = code_of(pairs[2 * i + 1])


def split(words: npt.NDArray[Any], y: npt.NDArray[Any], u: npt.NDArray[Any], v: npt.NDArray[Any]) -> None:
    """The opposite of `merge`."""
    _split(read_only(words), y.shape[1], _whole_rows(y), _whole_rows(u), _whole_rows(v))


def surface_to_frames(luma: npt.NDArray[Any], chroma: npt.NDArray[Any], *, out: npt.NDArray[np.uint8]) -> None:
    """`vireo_kernels.layout.surface_to_frames` of checked arguments into `out`."""
    words = out.view(luma.dtype)
    height, width = luma.shape
    words[:height, :width] = luma
    words[:height, width:] = luma[:, width - 1 :]
    words[height:] = chroma
