# SPDX-License-Identifier: MIT
"""FRAMES: planes and surfaces into it and out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from vireo_kernels import frames_shape, frames_to_planes, planes_to_frames, surface_to_frames

SIZES = [(1, 1), (2, 2), (5, 7), (64, 36), (65, 33)]


def planes(rng: np.random.Generator, width: int, height: int, dtype: Any, pitch: int = 0) -> list[np.ndarray]:
    """y, u, v with rows `pitch` samples longer than the picture."""
    half = ((height + 1) // 2, (width + 1) // 2)
    top = 256 if dtype is np.uint8 else 1024
    return [
        rng.integers(0, top, (rows, columns + pitch)).astype(dtype)[:, :columns]
        for rows, columns in ((height, width), half, half)
    ]


def test_shape_of_frames() -> None:
    assert frames_shape(2, width=1920, height=1080, pixel_format="nv12") == (2, 1620, 1920)
    assert frames_shape(1, width=5, height=3, pixel_format="p010") == (1, 5, 12)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("pitch", [0, 27])
def test_planes_go_in_and_come_out(rng: np.random.Generator, width: int, height: int, dtype: Any, pitch: int) -> None:
    y, u, v = planes(rng, width, height, dtype, pitch)
    pixel_format: Any = "nv12" if dtype is np.uint8 else "p010"
    frames = np.full(frames_shape(1, width=width, height=height, pixel_format=pixel_format), 0xEE, np.uint8)
    planes_to_frames(y, u, v, out=frames[0])
    words, shift = frames[0].view(dtype), 0 if dtype is np.uint8 else 6
    np.testing.assert_array_equal(words[:height, :width], y << shift)
    np.testing.assert_array_equal(words[height:, 0::2], u << shift)
    np.testing.assert_array_equal(words[height:, 1::2], v << shift)
    if width % 2:
        np.testing.assert_array_equal(words[:height, width], words[:height, width - 1])
    back = [np.zeros((plane.shape[0], plane.shape[1] + pitch), dtype) for plane in (y, u, v)]
    views = [whole[:, : plane.shape[1]] for whole, plane in zip(back, (y, u, v), strict=True)]
    frames_to_planes(frames[0], y=views[0], u=views[1], v=views[2])
    for ours, plane, whole in zip(views, (y, u, v), back, strict=True):
        np.testing.assert_array_equal(ours, plane)
        assert not whole[:, plane.shape[1] :].any(), "wrote into the pitch"


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_surface_is_copied(rng: np.random.Generator, width: int, height: int, dtype: Any) -> None:
    columns, rows = 2 * ((width + 1) // 2), (height + 1) // 2
    luma = rng.integers(0, 256, (height, width + 9)).astype(dtype)[:, :width]
    chroma = rng.integers(0, 256, (rows, columns + 3)).astype(dtype)[:, :columns]
    out = np.zeros((height + rows, columns * luma.itemsize), np.uint8)
    surface_to_frames(luma, chroma, out=out)
    words = out.view(dtype)
    np.testing.assert_array_equal(words[:height, :width], luma)
    np.testing.assert_array_equal(words[height:], chroma)
    assert (words[:height, width:] == luma[:, -1:]).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y": np.zeros((4, 6), np.int16)}, TypeError, ["y", "int16", "uint8 or uint16"]),
        ({"u": np.zeros((2, 4), np.uint8)}, ValueError, ["u", "(2, 4)", "(2, 3)"]),
        ({"v": np.zeros((2, 3), np.uint16)}, TypeError, ["v", "uint16", "uint8"]),
        ({"u": np.zeros((2, 6), np.uint8)[:, ::2]}, ValueError, ["u", "strides (6, 2)", "adjacent"]),
        ({"v": np.zeros((2, 3), np.uint8)[::-1]}, ValueError, ["v", "strides (-3, 1)", "row"]),
        ({"out": np.zeros((6, 8), np.uint8)}, ValueError, ["out", "(6, 8)", "(6, 6)"]),
        ({"y": [[0]]}, TypeError, ["y", "list", "numpy array"]),
    ],
)
def test_bad_planes_are_named(change: dict[str, Any], error: Any, words: list[str]) -> None:
    good: dict[str, Any] = {
        "y": np.zeros((4, 6), np.uint8), "u": np.zeros((2, 3), np.uint8),
        "v": np.zeros((2, 3), np.uint8), "out": np.zeros((6, 6), np.uint8),
    }  # fmt: skip
    arguments = {**good, **change}
    with pytest.raises(error) as caught:
        planes_to_frames(arguments["y"], arguments["u"], arguments["v"], out=arguments["out"])
    message = str(caught.value)
    assert message.startswith("planes_to_frames: ")
    for word in words:
        assert word in message, message


def test_planes_that_cannot_be_written_are_named() -> None:
    y, half = np.zeros((4, 6), np.uint8), np.zeros((2, 3), np.uint8)
    locked = half.copy()
    locked.flags.writeable = False
    with pytest.raises(ValueError, match=r"frames_to_planes: v .* read-only"):
        frames_to_planes(np.zeros((6, 6), np.uint8), y=y, u=half, v=locked)
