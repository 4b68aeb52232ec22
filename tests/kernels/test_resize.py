# SPDX-License-Identifier: MIT
"""Resizing: the CPU version against the reference, that against Pillow, OpenCV and torch, and edges by hand."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from vireo_kernels import Fit, fit_exact, fit_letterbox, fit_short_side, resize_image
from vireo_kernels.filters import ANTIALIASED, PLAIN, taps_for
from vireo_kernels.reference import resize as reference

FAMILIES: list[tuple[Any, bool]] = [
    ("bilinear", True), ("bicubic", True), ("lanczos", True), ("area", True),
    ("bilinear", False), ("bicubic", False), ("lanczos", False),
]  # fmt: skip
PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
OPENCV = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
# Source and target, width x height: reductions by odd and even factors, enlargements, and sizes below every window.
PAIRS = [
    ((512, 300), (224, 224)),
    ((101, 53), (64, 80)),
    ((64, 64), (128, 128)),
    ((60, 40), (60, 20)),
    ((5, 3), (11, 7)),
    ((7, 5), (1, 1)),
    ((1, 1), (4, 4)),
]


@pytest.mark.parametrize(("filter_name", "antialias"), FAMILIES)
def test_cpu_has_the_bits_of_the_reference(rng: np.random.Generator, filter_name: Any, antialias: bool) -> None:
    fits = [
        lambda w, h: fit_exact(width=17, height=11),
        lambda w, h: fit_exact(width=90, height=77),
        lambda w, h: fit_exact(width=200, height=4),
        lambda w, h: fit_short_side(w, h, short_side=40).center_crop(width=30, height=23),
        lambda w, h: fit_letterbox(w, h, width=33, height=40),
    ]
    sizes = [(1, 1), (5, 3), (9, 31), (33, 32), (70, 45)]
    for (width, height), fit, layout, dtype in itertools.product(
        sizes, fits, ("planar", "interleaved"), (np.uint8, np.uint16)
    ):
        shape = (2, 3, height, width) if layout == "planar" else (2, height, width, 3)
        image = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        options: dict[str, Any] = {
            "fit": fit(width, height), "filter_name": filter_name, "antialias": antialias,
            "layout": layout, "fill": 77,
        }  # fmt: skip
        ours, expected = resize_image(image, **options), reference.resize_image(image, **options)
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours, expected, err_msg=f"{width} x {height} {options}")


@pytest.mark.parametrize("filter_name", list(PILLOW))
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_antialiased_family_is_pillows(
    colourful: Any, filter_name: Any, source: tuple[int, int], target: tuple[int, int]
) -> None:
    picture = colourful(*source, 3)
    theirs = np.asarray(Image.fromarray(picture).resize(target, PILLOW[filter_name]))
    ours = resize_image(
        picture[None],
        fit=fit_exact(width=target[0], height=target[1]),
        filter_name=filter_name,
        antialias=True,
        layout="interleaved",
    )[0]
    # The issue asks for a difference of 1 at most; it is none.
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("filter_name", list(OPENCV))
@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0][0] > 8])
def test_the_plain_family_is_opencvs(
    colourful: Any, filter_name: Any, source: tuple[int, int], target: tuple[int, int]
) -> None:
    picture = colourful(*source, 4)
    theirs = cv2.resize(picture, target, interpolation=OPENCV[filter_name])
    ours = resize_image(
        picture[None],
        fit=fit_exact(width=target[0], height=target[1]),
        filter_name=filter_name,
        antialias=False,
        layout="interleaved",
    )[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("target", [(224, 224), (256, 150), (100, 100)])
def test_area_is_opencvs(colourful: Any, target: tuple[int, int]) -> None:
    picture = colourful(512, 300, 5)
    theirs = cv2.resize(picture, target, interpolation=cv2.INTER_AREA)
    ours = resize_image(
        picture[None],
        fit=fit_exact(width=target[0], height=target[1]),
        filter_name="area",
        antialias=True,
        layout="interleaved",
    )[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_torch_agrees(colourful: Any, filter_name: Any, antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; it comes with the training extra")
    picture = np.ascontiguousarray(colourful(512, 300, 6).transpose(2, 0, 1))[None]
    # Given uint8, torch clips what its plain bicubic overshoots between the passes; given float32 it does not.
    given = torch.from_numpy(picture) if antialias else torch.from_numpy(picture).float()
    theirs = torch.nn.functional.interpolate(given, size=(224, 224), mode=filter_name, antialias=antialias).numpy()
    theirs = np.floor(theirs.clip(0, 255) + 0.5) if not antialias else theirs.astype(np.float32)
    ours = resize_image(picture, fit=fit_exact(width=224, height=224), filter_name=filter_name, antialias=antialias)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_the_families_differ(colourful: Any) -> None:
    """That is why neither is a default: on a reduction they are far apart."""
    picture = colourful(512, 300, 7)[None]
    fit = fit_exact(width=224, height=131)
    one, other = (
        resize_image(picture, fit=fit, filter_name="bilinear", antialias=antialias, layout="interleaved").astype(int)
        for antialias in (True, False)
    )
    assert np.abs(one - other).mean() > 2


# Edges by hand.


def resized(row: list[int], target: int, filter_name: Any, antialias: bool) -> list[int]:
    image = np.array(row, np.uint8).reshape(1, 1, 1, -1)
    fit = fit_exact(width=target, height=1)
    return list(resize_image(image, fit=fit, filter_name=filter_name, antialias=antialias)[0, 0, 0].astype(int))


def test_rows_by_hand() -> None:
    # Twice as wide, half-pixel centres: 1/4 and 3/4 between neighbours, the edge repeated.
    assert resized([0, 100], 4, "bilinear", False) == [0, 25, 75, 100]
    assert resized([0, 100], 4, "bilinear", True) == [0, 25, 75, 100]
    # Half as wide: plain takes the two nearest, antialiased a triangle of 1 3 3 1 (3 3 1 at the edge).
    assert resized([0, 80, 80, 160], 2, "bilinear", False) == [40, 120]
    assert resized([0, 70, 140, 210], 2, "bilinear", True) == [50, 160]
    # (3*0 + 3*70 + 140) / 7 and (70 + 3*140 + 3*210) / 7
    assert resized([0, 60, 120], 1, "area", True) == [60]
    # 2 of 3: the first takes all of 0 and half of 60.
    assert resized([0, 60, 120], 2, "area", True) == [20, 100]
    assert resized([7], 5, "bicubic", True) == [7] * 5
    assert resized([7], 5, "lanczos", False) == [7] * 5


def test_the_same_size_is_the_same_picture(colourful: Any) -> None:
    picture = colourful(37, 41, 8)[None]
    for (filter_name, antialias), dtype in itertools.product(FAMILIES, (np.uint8, np.uint16)):
        image = picture.astype(dtype) * (1 if dtype is np.uint8 else 257)
        fit = fit_exact(width=37, height=41)
        out = resize_image(image, fit=fit, filter_name=filter_name, antialias=antialias, layout="interleaved")
        np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize(("filter_name", "antialias"), FAMILIES)
def test_weights_add_up_to_one(filter_name: Any, antialias: bool) -> None:
    for source, target in ((1920, 224), (224, 1920), (3, 7), (1, 5), (1000, 1000)):
        taps = taps_for(filter_name, antialias, source, target)
        one = 1 << (ANTIALIASED if antialias else PLAIN).weight_bits
        # Rounding each weight of a long window by itself may leave a rest: a unit for two weights at most.
        allowed = (taps.weights.shape[1] + 1) // 2 if antialias else 0
        assert np.abs(taps.weights.sum(1, dtype=np.int64) - one).max() <= allowed
        assert taps.start.min() >= 0
        assert (taps.start + taps.weights.shape[1]).max() <= source


def test_a_plain_colour_stays(rng: np.random.Generator) -> None:
    for filter_name, antialias in FAMILIES:
        for value in rng.integers(0, 256, 5):
            image = np.full((1, 1, 50, 60), value, np.uint8)
            out = resize_image(image, fit=fit_exact(width=23, height=77), filter_name=filter_name, antialias=antialias)
            assert (out == value).all()


# Fitting.


def test_short_side_is_torchvisions() -> None:
    fit = fit_short_side(1920, 1080, short_side=256)
    assert (fit.resized_width, fit.resized_height) == (455, 256)
    fit = fit_short_side(1080, 1920, short_side=256)
    assert (fit.resized_width, fit.resized_height) == (256, 455)
    cropped = fit_short_side(455, 256, short_side=256).center_crop(width=224, height=224)
    # round((455 - 224) / 2) of torchvision: 115.5 goes to 116.
    assert (cropped.left, cropped.top, cropped.width, cropped.height) == (-116, -16, 224, 224)


def test_letterbox_keeps_the_ratio_and_the_middle() -> None:
    fit = fit_letterbox(1920, 1080, width=640, height=640)
    assert fit == Fit(resized_width=640, resized_height=360, left=0, top=140, width=640, height=640)
    fit = fit_letterbox(1080, 1920, width=641, height=640)
    assert (fit.resized_width, fit.resized_height, fit.left, fit.top) == (360, 640, 140, 0)
    image = np.full((1, 3, 10, 20), 200, np.uint8)
    out = resize_image(
        image, fit=fit_letterbox(20, 10, width=8, height=8), filter_name="bilinear", antialias=True, fill=114
    )
    assert (out[:, :, 2:6] == 200).all()
    assert (out[:, :, :2] == 114).all()
    assert (out[:, :, 6:] == 114).all()


def test_a_crop_is_a_part_of_the_whole(colourful: Any) -> None:
    picture = colourful(90, 60, 9)[None]
    whole = fit_short_side(90, 60, short_side=40)
    options: dict[str, Any] = {"filter_name": "bicubic", "antialias": True, "layout": "interleaved"}
    part = resize_image(picture, fit=whole.center_crop(width=30, height=20), **options)
    np.testing.assert_array_equal(part, resize_image(picture, fit=whole, **options)[:, 10:30, 15:45])


# Bad input.

IMAGE = np.zeros((1, 3, 4, 6), np.uint8)
GOOD: dict[str, Any] = {"fit": fit_exact(width=2, height=2), "filter_name": "bilinear", "antialias": True}


@pytest.mark.parametrize(
    ("image", "changes", "error", "words"),
    [
        (IMAGE, {"filter_name": "nearest"}, ValueError, ["filter_name", "'nearest'", "'bilinear'", "'area'"]),
        (IMAGE, {"antialias": None}, TypeError, ["antialias", "None", "Pillow", "OpenCV"]),
        (IMAGE, {"filter_name": "area", "antialias": False}, ValueError, ["antialias", "False", "area"]),
        (IMAGE, {"fit": (2, 2)}, TypeError, ["fit", "(2, 2)", "fit_exact"]),
        (IMAGE, {"fill": 256}, ValueError, ["fill", "256", "0 to 255"]),
        (IMAGE, {"layout": "hwc"}, ValueError, ["layout", "'hwc'"]),
        (IMAGE.astype(np.float32), {}, TypeError, ["image", "float32", "uint8 or uint16"]),
        (IMAGE[0], {}, ValueError, ["image", "(3, 4, 6)", "(T, C, H, W)"]),
        (IMAGE[:, :, :, ::2], {}, ValueError, ["image", "C-contiguous"]),
        (IMAGE, {"out": np.zeros((1, 3, 2, 3), np.uint8)}, ValueError, ["out", "(1, 3, 2, 3)", "(1, 3, 2, 2)"]),
    ],
)
def test_bad_input_is_named(image: Any, changes: dict[str, Any], error: Any, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        resize_image(image, **{**GOOD, **changes})
    message = str(caught.value)
    assert message.startswith("resize_image: ")
    for word in words:
        assert word in message, message


def test_a_fit_beside_its_canvas_is_refused() -> None:
    with pytest.raises(ValueError, match="Fit: left 8, top 0 put the resized picture"):
        Fit(resized_width=4, resized_height=4, left=8, top=0, width=8, height=8)
    with pytest.raises(ValueError, match=r"Fit\.center_crop: width 9 x height 4 is more than the canvas"):
        fit_exact(width=8, height=8).center_crop(width=9, height=4)
    with pytest.raises(ValueError, match="fit_short_side: short_side is 0"):
        fit_short_side(10, 10, short_side=0)
