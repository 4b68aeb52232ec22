# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-decorators=False
"""Samples of FRAMES and their codes: known by type while compiling, so that no loop shifts by a variable."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from vireo_kernels.coefficients import CHROMA_BITS, DECODE_BITS

I32 = np.int32
DECODE8_SHIFT, DECODE16_SHIFT = I32(DECODE_BITS[8] + CHROMA_BITS), np.int64(DECODE_BITS[16] + CHROMA_BITS)


def code_of(word):
    """The code in a word of NV12 (itself) or P010 (its upper ten bits), as int32."""
    return I32(word) if word.dtype == np.uint8 else I32(word) >> I32(6)


@overload(code_of)
def _code_of(word):
    if word == types.uint8:
        return lambda word: I32(word)
    return lambda word: I32(word) >> I32(6)


def word_of(code, like):
    """The word that holds `code` (int32) in an array of words like `like`."""
    return np.uint8(code) if like.dtype == np.uint8 else np.uint16(code << I32(6))


@overload(word_of)
def _word_of(code, like):
    if like.dtype == types.uint8:
        return lambda code, like: np.uint8(code)
    return lambda code, like: np.uint16(code << 6)


def wide(value, like):
    """`value` in the arithmetic that sums of samples like those of `like` need: int32 for uint8, int64 for uint16."""
    return I32(value) if like.dtype == np.uint8 else np.int64(value)


@overload(wide)
def _wide(value, like):
    if like.dtype == types.uint8:
        return lambda value, like: I32(value)
    return lambda value, like: np.int64(value)


def sums_like(count, like):
    """An array for `count` sums of samples like those of `like`."""
    return np.empty(count, I32 if like.dtype == np.uint8 else np.int64)


@overload(sums_like)
def _sums_like(count, like):
    if like.dtype == types.uint8:
        return lambda count, like: np.empty(count, np.int32)
    return lambda count, like: np.empty(count, np.int64)


def kept_like(count, like):
    """An array for what is kept between the passes over samples like those of `like`: int16 for uint8, else int32."""
    return np.empty(count, np.int16 if like.dtype == np.uint8 else I32)


@overload(kept_like)
def _kept_like(count, like):
    if like.dtype == types.uint8:
        return lambda count, like: np.empty(count, np.int16)
    return lambda count, like: np.empty(count, np.int32)


def finished(total, like):
    """A colour from its sum: shifted, clipped; for an array like `like`, uint8 or uint16."""
    shift, top = (DECODE8_SHIFT, 255) if like.dtype == np.uint8 else (DECODE16_SHIFT, 65535)
    return min(max(total >> shift, 0), top)


@overload(finished)
def _finished(total, like):
    if like.dtype == types.uint8:
        return lambda total, like: min(max(I32(I32(total) >> DECODE8_SHIFT), I32(0)), I32(255))
    return lambda total, like: min(max(total >> DECODE16_SHIFT, np.int64(0)), np.int64(65535))
