# SPDX-License-Identifier: MIT
"""The CUDA sources, run: on the host by the shim (two sizes of blocks), on a GPU where there is one; same bits.

Sizes have ragged edges: widths around 16 columns and 16 bytes, odd and even, one row and one column; arrays begin at
aligned addresses and beside them.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
from vireo_kernels import (
    SDR_WHITE_IN_PQ,
    ColorSpec,
    LightSpec,
    Normalization,
    coefficients,
    curves,
    fit_exact,
    fit_letterbox,
    fit_short_side,
    frames_shape,
    surface_to_frames,
    tone_curves,
)
from vireo_kernels.cuda import frames_to_rgb as cuda_frames_to_rgb
from vireo_kernels.cuda import layout as cuda_layout
from vireo_kernels.cuda import network_input as cuda_network_input
from vireo_kernels.cuda import resize as cuda_resize
from vireo_kernels.cuda import rgb_to_frames as cuda_rgb_to_frames
from vireo_kernels.cuda import tone_mapping as cuda_tone_mapping
from vireo_kernels.cuda import transfer as cuda_transfer
from vireo_kernels.cuda.runner import FOLDER
from vireo_kernels.reference import color as reference_color
from vireo_kernels.reference import network_input as reference_network_input
from vireo_kernels.reference import resize as reference_resize
from vireo_kernels.reference import tone_mapping as reference_tone_mapping
from vireo_kernels.reference import transfer as reference_transfer

COLORS = [
    ColorSpec(matrix="bt709", color_range="limited", chroma_location="left"),
    ColorSpec(matrix="bt601", color_range="full", chroma_location="center"),
    ColorSpec(matrix="bt2020nc", color_range="limited", chroma_location="topleft"),
]
SIZES = [(1, 1), (15, 3), (16, 2), (17, 5), (48, 9), (66, 8), (128, 7)]
RGB_TYPES = ("uint8", "uint16", "float16", "float32")


def random_frames(rng: np.random.Generator, width: int, height: int, pixel_format: Any) -> np.ndarray:
    return rng.integers(0, 256, frames_shape(2, width=width, height=height, pixel_format=pixel_format), np.uint8)


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
@pytest.mark.parametrize("dtype", RGB_TYPES)
def test_frames_to_rgb(rng: np.random.Generator, runner: Any, to_host: Any, pixel_format: Any, dtype: Any) -> None:
    for (width, height), color, layout in itertools.product(SIZES, COLORS, ("planar", "interleaved")):
        frames = random_frames(rng, width, height, pixel_format)
        options: dict[str, Any] = {
            "width": width, "height": height, "pixel_format": pixel_format, "color": color, "layout": layout,
        }  # fmt: skip
        expected = reference_color.frames_to_rgb(frames, dtype=dtype, **options)
        for offset in (0, 2):
            out = runner.empty(expected.shape, dtype)
            cuda_frames_to_rgb.frames_to_rgb(runner.place(frames, offset=offset), out=out, runner=runner, **options)
            np.testing.assert_array_equal(to_host(out), expected, err_msg=str(options))


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
@pytest.mark.parametrize("dtype", RGB_TYPES)
@pytest.mark.parametrize("dither", [False, True])
def test_rgb_to_frames(
    rng: np.random.Generator, runner: Any, to_host: Any, pixel_format: Any, dtype: Any, dither: bool
) -> None:
    for (width, height), color, layout in itertools.product(SIZES, COLORS, ("planar", "interleaved")):
        shape = (2, 3, height, width) if layout == "planar" else (2, height, width, 3)
        if dtype.startswith("float"):
            rgb = (rng.random(shape) * 1.2 - 0.1).astype(dtype)
            rgb.flat[:: max(rgb.size // 7, 1)] = np.nan
        else:
            rgb = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        options: dict[str, Any] = {"pixel_format": pixel_format, "color": color, "layout": layout, "dither": dither}
        expected = reference_color.rgb_to_frames(rgb, **options)
        for offset in (0, 4):
            out = runner.empty(expected.shape, "uint8")
            cuda_rgb_to_frames.rgb_to_frames(
                runner.place(rgb, offset=offset), width=width, height=height, out=out, runner=runner, **options
            )
            np.testing.assert_array_equal(to_host(out), expected, err_msg=f"{width} x {height} {options}")


FITS = [
    lambda w, h: fit_exact(width=19, height=5),
    lambda w, h: fit_exact(width=64, height=33),
    lambda w, h: fit_short_side(w, h, short_side=24).center_crop(width=20, height=21),
    lambda w, h: fit_letterbox(w, h, width=28, height=30),
]


@pytest.mark.parametrize(("filter_name", "antialias"), [("bilinear", True), ("lanczos", True), ("bicubic", False)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resize(
    rng: np.random.Generator, runner: Any, to_host: Any, filter_name: Any, antialias: bool, dtype: Any
) -> None:
    sizes = [(1, 1), (7, 5), (16, 9), (48, 31), (70, 20), (160, 12)]
    for (width, height), fit, layout in itertools.product(sizes, FITS, ("planar", "interleaved")):
        shape = (2, 3, height, width) if layout == "planar" else (2, height, width, 3)
        image = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        options: dict[str, Any] = {
            "fit": fit(width, height), "filter_name": filter_name, "antialias": antialias,
            "layout": layout, "fill": 99,
        }  # fmt: skip
        expected = reference_resize.resize_image(image, **options)
        for offset in (0, 2):
            out = runner.empty(expected.shape, str(expected.dtype))
            cuda_resize.resize_image(runner.place(image, offset=offset), out=out, runner=runner, **options)
            np.testing.assert_array_equal(to_host(out), expected, err_msg=f"{width} x {height} {options}")


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_frames_to_input(rng: np.random.Generator, runner: Any, to_host: Any, pixel_format: Any, dtype: Any) -> None:
    normalization = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for (width, height), fit, layout in itertools.product(
        [(1, 1), (17, 9), (64, 20), (70, 33)], FITS, ("planar", "interleaved")
    ):
        frames = random_frames(rng, width, height, pixel_format)
        options: dict[str, Any] = {
            "width": width, "height": height, "pixel_format": pixel_format, "color": COLORS[(width + height) % 3],
            "fit": fit(width, height), "filter_name": "bilinear", "antialias": True, "layout": layout,
            "normalization": normalization, "fill": 114,
        }  # fmt: skip
        expected = reference_network_input.frames_to_input(frames, dtype=dtype, **options)
        out = runner.empty(expected.shape, dtype)
        cuda_network_input.frames_to_input(runner.place(frames), out=out, runner=runner, **options)
        np.testing.assert_array_equal(to_host(out), expected, err_msg=str(options))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("target", ["bt1886", "srgb", "pq", "hlg"])
def test_convert_light(rng: np.random.Generator, runner: Any, to_host: Any, dtype: Any, target: Any) -> None:
    for (width, height), layout, gain in itertools.product(
        [(1, 1), (5, 3), (16, 4), (31, 3)], ("planar", "interleaved"), (Fraction(1), SDR_WHITE_IN_PQ)
    ):
        shape = (2, 3, height, width) if layout == "planar" else (2, height, width, 3)
        rgb = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        options: dict[str, Any] = {
            "source": LightSpec(curve="bt1886", primaries="bt709"),
            "target": LightSpec(curve=target, primaries="bt2020"),
            "gain": gain, "layout": layout,
        }  # fmt: skip
        out = runner.empty(shape, "uint16")
        cuda_transfer.convert_light(runner.place(rgb), out=out, runner=runner, **options)
        np.testing.assert_array_equal(to_host(out), reference_transfer.convert_light(rgb, **options))


@pytest.mark.parametrize("curve", get_args(tone_curves.ToneCurve))
def test_map_tones(rng: np.random.Generator, runner: Any, to_host: Any, curve: Any) -> None:
    table = tone_curves.tone_table(curve, 1000)
    for (width, height), layout, offset in itertools.product(
        [(1, 1), (5, 3), (16, 4), (31, 3)], ("planar", "interleaved"), (0, 2)
    ):
        shape = (2, 3, height, width) if layout == "planar" else (2, height, width, 3)
        rgb = rng.integers(0, 65536, shape).astype(np.uint16)
        expected = reference_tone_mapping.map_tones(rgb, table=table, layout=layout)  # type: ignore[arg-type]
        source, out = runner.place(rgb, offset=offset), runner.empty(shape, "uint16")
        for target in (out, source):  # in place last
            cuda_tone_mapping.map_tones(source, table=table, layout=layout, out=target, runner=runner)  # type: ignore[arg-type]
            np.testing.assert_array_equal(to_host(target), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_surface_to_frames(rng: np.random.Generator, runner: Any, to_host: Any, dtype: Any) -> None:
    for (width, height), pitch in itertools.product(SIZES, (0, 16, 3)):
        columns, rows = 2 * ((width + 1) // 2), (height + 1) // 2
        luma = rng.integers(0, 65536, (height, width + pitch)).astype(dtype)
        chroma = rng.integers(0, 65536, (rows, columns + pitch)).astype(dtype)
        shape = (height + rows, columns * np.dtype(dtype).itemsize)
        expected = np.zeros(shape, np.uint8)
        surface_to_frames(luma[:, :width], chroma[:, :columns], out=expected)
        out = runner.empty(shape, "uint8")
        cuda_layout.surface_to_frames(
            runner.place(luma)[:, :width], runner.place(chroma)[:, :columns], out=out, runner=runner
        )
        np.testing.assert_array_equal(to_host(out), expected)


def test_aligned_pictures_go_by_vector_accesses(rng: np.random.Generator, runner: Any) -> None:
    """Every sample of a picture whose rows are aligned is read and written 16 bytes at a time, once."""
    if not hasattr(runner, "vector_accesses"):
        pytest.skip("the host counts accesses; a GPU does not")
    frames = runner.place(rng.integers(0, 256, (1, 96, 128), np.uint8))
    options: dict[str, Any] = {"width": 128, "height": 64, "pixel_format": "nv12", "color": COLORS[0]}
    rgb = runner.empty((1, 3, 64, 128), "uint8")
    cuda_frames_to_rgb.frames_to_rgb(frames, out=rgb, layout="planar", runner=runner, **options)
    # Luma and three colours once; of chroma three rows for two of luma (its own, the one above, the one below).
    assert runner.vector_accesses == (4 * 64 + 3 * 32) * 128 // 16
    before = runner.vector_accesses
    cuda_rgb_to_frames.rgb_to_frames(
        rgb, width=128, height=64, pixel_format="nv12", color=COLORS[0], layout="planar", dither=False,
        out=runner.empty(frames.shape, "uint8"), runner=runner,
    )  # fmt: skip
    assert runner.vector_accesses - before == (3 * 64 + 96) * 128 // 16


def test_every_kernel_has_vector_accesses(rng: np.random.Generator, runner: Any) -> None:
    if not hasattr(runner, "vector_accesses"):
        pytest.skip("the host counts accesses; a GPU does not")
    frame: dict[str, Any] = {"width": 128, "height": 64, "pixel_format": "nv12", "color": COLORS[0]}
    fit: dict[str, Any] = {"fit": fit_exact(width=32, height=16), "filter_name": "bilinear", "antialias": True}
    frames = runner.place(rng.integers(0, 256, (1, 96, 128), np.uint8))
    rgb = runner.place(rng.integers(0, 256, (1, 3, 64, 128), np.uint8))
    small = runner.empty((1, 3, 16, 32), "uint8")
    sixteen = runner.place(np.zeros((1, 3, 16, 32), np.uint16))
    sdr, hdr = LightSpec(curve="bt1886", primaries="bt709"), LightSpec(curve="pq", primaries="bt2020")
    works = {
        "resize": lambda: cuda_resize.resize_image(
            rgb, layout="planar", fill=0, out=small, runner=runner, **fit
        ),
        "network_input": lambda: cuda_network_input.frames_to_input(
            frames, layout="planar", fill=0, normalization=Normalization(), out=small, runner=runner, **frame, **fit
        ),
        "transfer": lambda: cuda_transfer.convert_light(
            rgb, source=sdr, target=hdr, gain=SDR_WHITE_IN_PQ, layout="planar",
            out=runner.empty(rgb.shape, "uint16"), runner=runner,
        ),
        "tone_mapping": lambda: cuda_tone_mapping.map_tones(
            sixteen, table=tone_curves.tone_table("bt2446a", 1000), layout="planar", out=sixteen, runner=runner
        ),
        "layout": lambda: cuda_layout.surface_to_frames(
            frames[0, :64], frames[0, 64:], out=runner.empty((96, 128), "uint8"), runner=runner
        ),
    }  # fmt: skip
    for name, work in works.items():
        before = runner.vector_accesses
        work()
        assert runner.vector_accesses > before, name


def test_the_sources_have_the_references_numbers() -> None:
    """Constants that the sources repeat, because no header of C++ can import them."""
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.cu*"))

    def value(name: str) -> int:
        found = set(re.findall(rf"{name} = (\d+);", text))
        assert len(found) == 1, f"{name} is defined as {found}"
        return int(found.pop())

    chroma_bits = coefficients.CHROMA_BITS
    assert value("DECODE8_SHIFT") == coefficients.DECODE_BITS[8] + chroma_bits
    assert value("DECODE16_SHIFT") == coefficients.DECODE_BITS[16] + chroma_bits
    assert value("CHROMA_BITS") == chroma_bits
    assert value("ENCODE8_BITS") == coefficients.ENCODE_BITS[8]
    assert value("ENCODE16_BITS") == coefficients.ENCODE_BITS[16]
    assert value("DITHER_BITS") == coefficients.DITHER_BITS
    assert value("MANTISSA_BITS") == curves.MANTISSA_BITS
    assert value("LEVEL_BITS") == tone_curves.LEVEL_BITS
    assert value("FACTOR_BITS") == tone_curves.FACTOR_BITS
    assert value("WEIGHT_BITS") == tone_curves.WEIGHT_BITS
    assert f"LIGHT_ONE = 1LL << {curves.LIGHT_BITS};" in text
