# SPDX-License-Identifier: MIT
"""Padding to a multiple and cropping back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from vireo_kernels import Pad, crop_image, pad_image, pad_to_multiple


def test_the_border_of_a_multiple() -> None:
    assert pad_to_multiple(1920, 1080, multiple=16) == Pad(right=0, bottom=8)
    assert pad_to_multiple(17, 16, multiple=16) == Pad(right=15, bottom=0)
    assert pad_to_multiple(1, 1, multiple=1) == Pad()


def test_edges_are_repeated_by_hand() -> None:
    image = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 1, 2, 2)
    out = pad_image(image, pad=Pad(left=1, top=2, right=0, bottom=1))
    np.testing.assert_array_equal(out[0, 0], [[1, 1, 2], [1, 1, 2], [1, 1, 2], [3, 3, 4], [3, 3, 4]])


@pytest.mark.parametrize("layout", ["planar", "interleaved"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_what_was_padded_is_cropped_back(rng: np.random.Generator, layout: Any, dtype: str) -> None:
    image = (rng.random((2, 3, 5, 7) if layout == "planar" else (2, 5, 7, 3)) * 200).astype(dtype)
    pad = Pad(left=1, top=2, right=3, bottom=4)
    padded = pad_image(image, pad=pad, layout=layout)
    np.testing.assert_array_equal(crop_image(padded, pad=pad, layout=layout), image)
    widths = ((0, 0), (0, 0), (2, 4), (1, 3)) if layout == "planar" else ((0, 0), (2, 4), (1, 3), (0, 0))
    np.testing.assert_array_equal(padded, np.pad(image, widths, "edge"))
    out = np.zeros_like(padded)
    assert pad_image(image, pad=pad, layout=layout, out=out) is out
    np.testing.assert_array_equal(out, padded)


def test_a_border_grows_with_the_picture() -> None:
    assert Pad(left=1, right=2).scaled(4) == Pad(left=4, right=8)


def test_bad_borders_are_named() -> None:
    with pytest.raises(ValueError, match="Pad: left is -1; it must be an integer of at least 0"):
        Pad(left=-1)
    with pytest.raises(ValueError, match=r"crop_image: pad is .* leaves nothing of \(1, 1, 4, 4\) uint8"):
        crop_image(np.zeros((1, 1, 4, 4), np.uint8), pad=Pad(top=2, bottom=2))
    with pytest.raises(TypeError, match=r"pad_image: image is .*float64"):
        pad_image(np.zeros((1, 1, 4, 4)), pad=Pad())
