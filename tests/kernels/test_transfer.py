# SPDX-License-Identifier: MIT
"""Transfer functions and primaries: published values, exact tables, and one way from SDR to HDR10."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
from vireo_kernels import SDR_WHITE_IN_PQ, ColorSpec, LightSpec, convert_light, rgb_to_frames
from vireo_kernels.curves import (
    LIGHT_ONE,
    bucket_of,
    code_table,
    exact_light_of,
    light_matrix,
    light_of,
    light_table,
    primaries_matrix,
)
from vireo_kernels.layout import words_of
from vireo_kernels.reference import transfer as reference
from vireo_kernels.transfer import Curve

CURVES = get_args(Curve)
SDR = LightSpec(curve="bt1886", primaries="bt709")
HDR10 = LightSpec(curve="pq", primaries="bt2020")


@pytest.mark.parametrize(("source", "target"), list(itertools.product(CURVES, CURVES)))
def test_cpu_has_the_bits_of_the_reference(rng: np.random.Generator, source: Any, target: Any) -> None:
    for dtype, layout, gain, primaries in itertools.product(
        (np.uint8, np.uint16),
        ("planar", "interleaved"),
        (Fraction(1), SDR_WHITE_IN_PQ, 1 / SDR_WHITE_IN_PQ),
        (("bt709", "bt2020"), ("bt2020", "bt709"), ("bt709", "bt709")),
    ):
        shape = (2, 3, 7, 9) if layout == "planar" else (2, 7, 9, 3)
        rgb = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        options: dict[str, Any] = {
            "source": LightSpec(curve=source, primaries=primaries[0]),  # type: ignore[arg-type]
            "target": LightSpec(curve=target, primaries=primaries[1]),  # type: ignore[arg-type]
            "gain": gain, "layout": layout,
        }  # fmt: skip
        np.testing.assert_array_equal(convert_light(rgb, **options), reference.convert_light(rgb, **options))


@pytest.mark.parametrize(
    ("nits", "signal", "code"),
    [
        (0.005, 0.01508, 77), (1, 0.14995, 195), (10, 0.29970, 327), (58, 0.45448, 462), (100, 0.50808, 509),
        (203, 0.58069, 573), (400, 0.65258, 636), (1000, 0.75183, 723), (4000, 0.90257, 855), (10000, 1, 940),
    ],
)  # fmt: skip
def test_pq_has_its_published_values(nits: float, signal: float, code: int) -> None:
    """SMPTE ST 2084, as 10-bit limited codes: those of ITU-R BT.2408 among them (58, 100 and 203 cd/m2)."""
    light = round(nits / 10_000 * LIGHT_ONE)
    ours = reference.from_light(np.array([light]), "pq")[0] / 65535
    assert abs(ours - signal) < 2e-5
    assert int(ours * 876 + 64.5) == code
    assert abs(light_of("pq", np.array([signal]))[0] * 10_000 / nits - 1) < 2e-3


def test_hlg_has_its_published_values() -> None:
    """ITU-R BT.2100: half the signal is a twelfth of the light; the two pieces meet there; 75 % is reference white."""
    assert light_of("hlg", np.array([0.5]))[0] == 1 / 12
    assert abs(light_of("hlg", np.array([0.5 + 1e-9]))[0] - 1 / 12) < 1e-7
    assert abs(light_of("hlg", np.array([1.0]))[0] - 1) < 1e-6
    # 203 of 1000 cd/m2 through the OOTF of gamma 1.2, for grey: E = (203 / 1000)^(1 / 1.2).
    assert abs(light_of("hlg", np.array([0.75]))[0] - 0.203 ** (1 / 1.2)) < 1e-3


def test_srgb_and_bt1886_have_their_published_values() -> None:
    assert abs(light_of("srgb", np.array([0.5]))[0] - 0.21404) < 1e-5
    assert abs(light_of("srgb", np.array([10 / 255]))[0] - 10 / 255 / 12.92) < 1e-12
    assert abs(light_of("bt1886", np.array([0.5]))[0] - 0.5**2.4) < 1e-15


@pytest.mark.parametrize("curve", CURVES)
def test_ten_bits_survive_linear_light(curve: str) -> None:
    codes = np.arange(1024)
    sixteen = ((codes * 65535 * 2 + 1023) // 2046).astype(np.uint16)
    back = reference.from_light(reference.to_light(sixteen, curve), curve)
    np.testing.assert_array_equal((back.astype(np.int64) * 1023 * 2 + 65535) // 131070, codes)


@pytest.mark.parametrize("curve", CURVES)
def test_tables_are_rounded_exactly(curve: str) -> None:
    """Spot checks in 40 digits, and the entries that double precision could not decide."""
    table, codes = light_table(curve, 16), code_table(curve)
    assert table[0] == 0
    assert table[65535] == LIGHT_ONE
    assert (np.diff(table.astype(np.int64)) >= 0).all()
    assert (np.diff(codes.thresholds[:65536].astype(np.int64)) >= 0).all()
    near = light_of(curve, np.arange(65536) / 65535) * LIGHT_ONE
    undecided = np.flatnonzero(np.abs(near - np.floor(near) - 0.5) < 1e-5)
    for code in [*range(1, 65535, 9973), *undecided]:
        exact = exact_light_of(curve, Fraction(int(code), 65535)) * LIGHT_ONE
        assert abs(int(table[code]) - exact) <= 0.5
        least = exact_light_of(curve, Fraction(2 * int(code) - 1, 131070)) * LIGHT_ONE
        assert 0 <= int(codes.thresholds[code]) - least < 1


@pytest.mark.parametrize("curve", CURVES)
def test_a_bucket_never_begins_too_late(rng: np.random.Generator, curve: str) -> None:
    light = np.concatenate([rng.integers(0, LIGHT_ONE + 1, 5000), rng.integers(0, 70000, 5000), [0, 1, LIGHT_ONE]])
    codes = code_table(curve)
    first, code = codes.first[bucket_of(light)], reference.from_light(light, curve)
    assert (first <= code).all()
    assert (code - first.astype(int) <= codes.steps).all()


def test_primaries_are_those_of_bt2087() -> None:
    known = [
        [0.6274039, 0.32928304, 0.04331307],
        [0.06909729, 0.9195404, 0.01136232],
        [0.01639144, 0.08801331, 0.89559525],
    ]
    np.testing.assert_allclose(np.array(primaries_matrix("bt709", "bt2020"), float), known, atol=1e-7)
    back = np.array(primaries_matrix("bt2020", "bt709"), float) @ np.array(known)
    np.testing.assert_allclose(back, np.eye(3), atol=1e-6)
    for gain in (Fraction(1), SDR_WHITE_IN_PQ, 1 / SDR_WHITE_IN_PQ):
        factors, shift = light_matrix("bt709", "bt2020", gain)
        assert np.abs(factors).max() < 1 << 30
        np.testing.assert_allclose(factors.sum(1) / 2.0**shift, float(gain), rtol=1e-7)
        assert len(set(factors.sum(1))) == 1, "white must stay white"


def test_sdr_white_becomes_203_nits_of_hdr10() -> None:
    white = np.full((1, 3, 2, 2), 255, np.uint8)
    signal = convert_light(white, source=SDR, target=HDR10, gain=SDR_WHITE_IN_PQ)
    color = ColorSpec(matrix="bt2020nc", color_range="limited", chroma_location="topleft")
    words = words_of(rgb_to_frames(signal, pixel_format="p010", color=color), "p010")[0] >> 6
    assert (words[:2] == 573).all()
    assert (words[2:] == 512).all()


def test_there_and_back(rng: np.random.Generator) -> None:
    """SDR to HDR10 and back, 8 bits: nothing is out of either's range, so nothing is lost.

    But for colours with a very dark channel: there a step of BT.1886 is smaller than one of the brighter channels' PQ.
    """
    rgb = rng.integers(0, 256, (1, 3, 32, 32)).astype(np.uint8)
    hdr = convert_light(rgb, source=SDR, target=HDR10, gain=SDR_WHITE_IN_PQ)
    back = convert_light(hdr, source=HDR10, target=SDR, gain=1 / SDR_WHITE_IN_PQ)
    bright = rgb.min(axis=1) > 40
    np.testing.assert_array_equal(
        ((back.astype(int) + 128) // 257).transpose(0, 2, 3, 1)[bright], rgb.transpose(0, 2, 3, 1)[bright]
    )


def test_grey_stays_grey_and_order_stays() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 1, 256, 3)
    for source, target in itertools.product(CURVES, CURVES):
        out = convert_light(
            grey,
            source=LightSpec(curve=source, primaries="bt709"),
            target=LightSpec(curve=target, primaries="bt2020"),
            gain=Fraction(1),
            layout="interleaved",
        )
        assert (out == out[..., :1]).all()
        assert (np.diff(out[0, 0, :, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"gain": 0.02}, ValueError, ["gain", "0.02", "Fraction"]),
        ({"gain": Fraction(0)}, ValueError, ["gain", "Fraction(0, 1)"]),
        ({"source": "bt1886"}, TypeError, ["source", "'bt1886'", "LightSpec"]),
        ({"rgb": np.zeros((1, 3, 2, 2), np.float32)}, TypeError, ["rgb", "float32", "uint8 or uint16"]),
        ({"out": np.zeros((1, 3, 2, 2), np.uint8)}, TypeError, ["out", "uint8", "uint16"]),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], error: Any, words: list[str]) -> None:
    good: dict[str, Any] = {
        "rgb": np.zeros((1, 3, 2, 2), np.uint8), "source": SDR, "target": HDR10, "gain": SDR_WHITE_IN_PQ,
    }  # fmt: skip
    arguments = {**good, **change}
    with pytest.raises(error) as caught:
        convert_light(arguments.pop("rgb"), **arguments)
    message = str(caught.value)
    assert message.startswith("convert_light: ")
    for word in words:
        assert word in message, message


def test_a_curve_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="LightSpec: curve is 'bt709'; it must be one of 'bt1886'"):
        LightSpec(curve="bt709", primaries="bt709")  # type: ignore[arg-type]
