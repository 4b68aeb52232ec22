# SPDX-License-Identifier: MIT
"""The fused way to a network's input: the bits of its three steps, one after the other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from vireo_kernels import (
    ColorSpec,
    Normalization,
    fit_exact,
    fit_letterbox,
    fit_short_side,
    frames_shape,
    frames_to_input,
    frames_to_rgb,
    resize_image,
)
from vireo_kernels.reference import network_input as reference

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HD = ColorSpec(matrix="bt709", color_range="limited")


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_cpu_has_the_bits_of_the_reference(rng: np.random.Generator, pixel_format: Any, dtype: Any) -> None:
    for width, height in ((5, 3), (33, 32), (70, 61)):
        frames = rng.integers(0, 256, frames_shape(2, width=width, height=height, pixel_format=pixel_format), np.uint8)
        fits = (
            fit_exact(width=17, height=11),
            fit_exact(width=90, height=77),
            fit_short_side(width, height, short_side=40).center_crop(width=30, height=23),
            fit_letterbox(width, height, width=33, height=40),
        )
        for fit, layout, (filter_name, antialias), location in itertools.product(
            fits, ("planar", "interleaved"), (("bilinear", True), ("lanczos", False)), ("left", "center")
        ):
            options: dict[str, Any] = {
                "width": width, "height": height, "pixel_format": pixel_format, "fit": fit, "layout": layout,
                "color": ColorSpec(matrix="bt2020nc", color_range="limited", chroma_location=location),
                "filter_name": filter_name, "antialias": antialias, "dtype": dtype, "fill": 114,
            }  # fmt: skip
            ours = frames_to_input(frames, normalization=None if dtype == "uint8" else IMAGENET, **options)
            expected = reference.frames_to_input(frames, normalization=IMAGENET, **options)
            assert ours.dtype == expected.dtype
            np.testing.assert_array_equal(ours, expected, err_msg=str(options))


def test_it_is_the_three_steps(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, frames_shape(1, width=96, height=64, pixel_format="nv12"), np.uint8)
    fit = fit_short_side(96, 64, short_side=32).center_crop(width=32, height=32)
    common: dict[str, Any] = {"width": 96, "height": 64, "pixel_format": "nv12", "color": HD}
    steps = resize_image(frames_to_rgb(frames, **common), fit=fit, filter_name="bilinear", antialias=True)
    fused = frames_to_input(
        frames, fit=fit, filter_name="bilinear", antialias=True, dtype="float32", normalization=IMAGENET, **common
    )
    mean, std = (np.array(values)[None, :, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    np.testing.assert_array_equal(fused, ((steps / 255.0 - mean) / std).astype(np.float32))
    plain = frames_to_input(frames, fit=fit, filter_name="bilinear", antialias=True, dtype="float32", **common)
    np.testing.assert_array_equal(plain, (steps / 255.0).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"normalization": IMAGENET}, ValueError, ["normalization", "dtype 'uint8'", "float32"]),
        ({"normalization": (0.5, 0.5), "dtype": "float32"}, TypeError, ["normalization", "(0.5, 0.5)"]),
        ({"dtype": "uint16"}, ValueError, ["dtype", "'uint16'", "'float16'"]),
        ({"fill": -1}, ValueError, ["fill", "-1", "0 to 255"]),
        ({"filter_name": "cubic"}, ValueError, ["filter_name", "'cubic'", "'bicubic'"]),
        ({"width": 8}, ValueError, ["frames", "(1, 6, 6)", "(T, 6, 8)"]),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], error: Any, words: list[str]) -> None:
    good: dict[str, Any] = {
        "width": 6, "height": 4, "pixel_format": "nv12", "color": HD, "fit": fit_exact(width=2, height=2),
        "filter_name": "bilinear", "antialias": True,
    }  # fmt: skip
    with pytest.raises(error) as caught:
        frames_to_input(np.zeros((1, 6, 6), np.uint8), **{**good, **change})
    message = str(caught.value)
    assert message.startswith("frames_to_input: ")
    for word in words:
        assert word in message, message


def test_a_normalization_checks_itself() -> None:
    with pytest.raises(ValueError, match=r"Normalization: std is \(1.0, 0.0, 1.0\); each number must be positive"):
        Normalization(std=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"Normalization: mean is .* three finite numbers"):
        Normalization(mean=(0.0, float("nan"), 0.0))
