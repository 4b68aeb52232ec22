# SPDX-License-Identifier: MIT
# mypy: disallow-untyped-defs=False, disallow-untyped-decorators=False
"""Samples of FRAMES and their codes: known by type while compiling, so that no loop shifts by a variable."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

I32 = np.int32


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


def largest_code(like):
    """255 or 1023, for an array of words like `like`, as int32."""
    return I32(255) if like.dtype == np.uint8 else I32(1023)


@overload(largest_code)
def _largest_code(like):
    if like.dtype == types.uint8:
        return lambda like: I32(255)
    return lambda like: I32(1023)
