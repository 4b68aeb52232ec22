# SPDX-License-Identifier: MIT
"""SDR to HDR and back: the values that the reports and others publish, exact tables, and what goes there and back."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext
from typing import Any, get_args

import numpy as np
import pytest
from vireo_kernels import ColorSpec, LightSpec, hdr_to_sdr, map_tones, rgb_to_frames, sdr_to_hdr
from vireo_kernels.curves import light_of
from vireo_kernels.layout import words_of
from vireo_kernels.reference import tone_mapping as reference
from vireo_kernels.tone_curves import _CURVES, FACTOR_BITS, LEVEL_BITS, ToneCurve, _Digits, tone_table
from vireo_kernels.tone_mapping import MAX_NITS, Method

CURVES, METHODS = get_args(ToneCurve), get_args(Method)
HLG = LightSpec(curve="hlg", primaries="bt2020")


def grey(signal: float) -> np.ndarray:
    """A planar pixel of a signal of 0..1."""
    return np.full((1, 3, 1, 1), round(signal * 65535), np.uint16)


def nits_of(pq: np.ndarray) -> np.ndarray:
    return light_of("pq", pq / 65535) * 10_000


@pytest.mark.parametrize("curve", CURVES)
def test_cpu_has_the_bits_of_the_reference(rng: np.random.Generator, curve: Any) -> None:
    for layout, peak in itertools.product(("planar", "interleaved"), (1000, 4000)):
        shape = (2, 3, 7, 9) if layout == "planar" else (2, 7, 9, 3)
        rgb = rng.integers(0, 65536, shape).astype(np.uint16)
        rgb.flat[:60] = [0, 1, 65535] * 20
        expected = reference.map_tones(rgb, table=tone_table(curve, peak), layout=layout)  # type: ignore[arg-type]
        options: dict[str, Any] = {"curve": curve, "peak": peak, "layout": layout}
        np.testing.assert_array_equal(map_tones(rgb, **options), expected)
        np.testing.assert_array_equal(map_tones(rgb, out=rgb, **options), expected, err_msg="in place")


@pytest.mark.parametrize(
    ("method", "sdr", "nits"),
    [
        ("direct", 1, 203), ("direct", 0.5, 203 * 0.5**2.4),
        # Luma as Report BT.2446 method A has it; 999.5 and not 1000 is the report's own fit.
        ("bt2446a", 0.5, 76.3), ("bt2446a", 0.75, 279), ("bt2446a", 0.9, 592), ("bt2446a", 1, 999.5),
        ("bt2446c", 0.3 ** (1 / 2.4), 30 / 0.83802), ("bt2446c", 0.8 ** (1 / 2.4), 126.5),
        ("bt2446c", 0.9 ** (1 / 2.4), 196.6), ("bt2446c", 0.96, 203.15), ("bt2446c", 1, 332.6),
    ],
)  # fmt: skip
def test_sdr_becomes_the_published_light(method: Any, sdr: float, nits: float) -> None:
    got = nits_of(sdr_to_hdr(grey(sdr), method=method))
    assert (got == got[:, :1]).all(), "grey must stay grey"
    assert got[0, 0, 0, 0] == pytest.approx(nits, rel=1e-3)
    assert got.max() <= MAX_NITS[method] + 0.02


def test_the_knee_of_method_a_is_the_published_one() -> None:
    """Single values of HDR of 1000 cd/m2 through BT.2446 method A, computed from its text by hand."""
    for nits, expected in ((10, 0.2362), (100, 0.5388), (203, 0.6871), (1000, 1.0)):
        signal = (nits / 1000) ** (1 / 2.4)
        got = map_tones(grey(signal), curve="bt2446a", peak=1000)[0, 0, 0, 0] / 65535
        assert got == pytest.approx(expected, abs=2e-3), nits


def test_method_a_takes_red_off() -> None:
    """A tenth of Cr is taken off luma, so a red loses and a blue does not."""
    table = tone_table("bt2446a", 1000)
    for colour, pull in (([50000, 20000, 20000], 0.1), ([20000, 20000, 40000], 0)):
        luma = (np.array(table.weights) @ colour + 32768) >> 16
        level, factor = table.entries[luma] / (1 << LEVEL_BITS, 1 << FACTOR_BITS)
        expected = level + factor * (np.array(colour) - luma) - pull * factor * (colour[0] - luma) / 1.4746
        rgb = np.array(colour, np.uint16).reshape(1, 3, 1, 1)
        np.testing.assert_allclose(map_tones(rgb, curve="bt2446a", peak=1000)[0, :, 0, 0], expected, atol=1)


@pytest.mark.parametrize(("signal", "nits"), [(0.75, 203), (1, 1000), (0.5, 1000 * (1 / 12) ** 1.2)])
def test_hlg_is_shown_as_on_its_nominal_display(signal: float, nits: float) -> None:
    """BT.2100's OOTF of gamma 1.2: 75 % is the reference white of BT.2408, 203 cd/m2."""
    direct = hdr_to_sdr(grey(signal), method="direct", source=HLG)[0, 0, 0, 0] / 65535
    assert direct**2.4 == pytest.approx(min(nits / 203, 1), rel=4e-3)
    through_a = hdr_to_sdr(grey(signal), method="bt2446a", source=HLG)
    pq = np.full((1, 3, 1, 1), sdr_code_of(nits), np.uint16)
    assert np.abs(through_a.astype(int) - hdr_to_sdr(pq, method="bt2446a")).max() < 65535 / 500


def sdr_code_of(nits: float) -> int:
    """The 16-bit PQ code of a light."""
    return int(np.searchsorted(light_of("pq", np.arange(65536) / 65535), nits / 10_000))


@pytest.mark.parametrize("method", ["direct", "bt2446c"])
@pytest.mark.parametrize("primaries", ["bt709", "bt470bg", "smpte170m"])
def test_there_and_back(rng: np.random.Generator, method: Any, primaries: Any) -> None:
    """SDR to HDR and back, 8 bits: the same codes, but where a channel is too dark beside the others for 16 bits."""
    rgb = rng.integers(0, 256, (1, 3, 32, 32)).astype(np.uint8)
    hdr = sdr_to_hdr(rgb, method=method, source=LightSpec(curve="bt1886", primaries=primaries))
    back = (hdr_to_sdr(hdr, method=method, target=primaries).astype(int) + 128) // 257
    bright = (rgb.min(axis=1) > 40)[:, np.newaxis].repeat(3, axis=1)
    np.testing.assert_array_equal(back[bright], rgb[bright])


def test_method_a_there_and_back_is_close(rng: np.random.Generator) -> None:
    """The report's two directions are fits of each other, not inverses."""
    ramp = np.repeat(np.arange(0, 256, 5, dtype=np.uint8), 3).reshape(1, 1, -1, 3)
    hdr = sdr_to_hdr(ramp, method="bt2446a", layout="interleaved")
    back = hdr_to_sdr(hdr, method="bt2446a", layout="interleaved") / 257
    assert np.abs(back - ramp).max() < 12
    assert (np.diff(back[0, 0, :, 0]) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_grey_stays_grey_and_order_stays(method: Any) -> None:
    ramp = np.repeat(np.arange(0, 65536, 17, dtype=np.uint16), 3).reshape(1, 1, -1, 3)
    for out in (
        sdr_to_hdr(ramp, method=method, layout="interleaved"),
        hdr_to_sdr(ramp, method=method, layout="interleaved"),
        hdr_to_sdr(ramp, method=method, layout="interleaved", peak=4000),
        hdr_to_sdr(ramp, method=method, layout="interleaved", source=HLG),
    ):
        assert (out == out[..., :1]).all()
        assert (np.diff(out[0, 0, :, 0].astype(int)) >= 0).all()
        assert out[0, 0, 0, 0] == 0


def test_a_peak_becomes_white() -> None:
    for peak in (400, 1000, 4000, 10_000):
        pq = np.full((1, 3, 1, 1), sdr_code_of(peak), np.uint16)
        assert hdr_to_sdr(pq, method="bt2446a", peak=peak).min() > 65535 * 0.998, peak


@pytest.mark.parametrize("curve", CURVES)
def test_tables_are_rounded_exactly(curve: Any) -> None:
    entries = tone_table(curve, 1000).entries
    with localcontext() as context:
        context.prec = 40
        for code in range(1, 65536, 3277):
            level, factor = _CURVES[curve](_Digits, Decimal(code) / 65535, 1000)
            assert abs(int(entries[code, 0]) - level * (65535 << LEVEL_BITS)) <= Decimal("0.5")
            assert abs(int(entries[code, 1]) - factor * (1 << FACTOR_BITS)) <= Decimal("0.5")


def test_doubtful_entries_are_made_in_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose `pow` puts a level on the wrong side of where it is rounded gets the same table."""
    expected = tone_table("bt2446a", 1000).entries
    formula = _CURVES["bt2446a"]

    def shaken(m: Any, y: Any, peak: int) -> Any:
        level, factor = formula(m, y, peak)
        if m is not _Digits:
            level = level.copy()
            level[30_000] = (expected[30_000, 0] - 0.5 - 1e-6) / (65535 << LEVEL_BITS)
        return level, factor

    monkeypatch.setitem(_CURVES, "bt2446a", shaken)
    np.testing.assert_array_equal(tone_table.__wrapped__("bt2446a", 1000).entries, expected)


def test_white_is_573_in_ten_bits() -> None:
    """BT.2408: 203 cd/m2 are 58 % of PQ; dithered, white lies between the two codes around 572.7."""
    white = sdr_to_hdr(np.full((1, 3, 16, 16), 255, np.uint8), method="direct")
    color = ColorSpec(matrix="bt2020nc", color_range="limited", chroma_location="topleft")
    plain, dithered = (
        words_of(rgb_to_frames(white, pixel_format="p010", color=color, dither=dither), "p010")[0] >> 6
        for dither in (False, True)
    )
    assert (plain[:16] == 573).all()
    assert (plain[16:] == 512).all()
    assert set(np.unique(dithered[:16])) == {572, 573}
    assert dithered[:16].mean() == pytest.approx(64 + 876 * 0.58069, abs=0.02)


@pytest.mark.parametrize(
    ("call", "change", "error", "words"),
    [
        (sdr_to_hdr, {"method": "bt2446b"}, ValueError, ["method", "'bt2446b'", "'direct', 'bt2446a', 'bt2446c'"]),
        (hdr_to_sdr, {"method": "bt2446a", "peak": 50}, ValueError, ["peak", "50", "100 to 10000"]),
        (hdr_to_sdr, {"method": "direct", "peak": 1e3}, ValueError, ["peak", "1000.0", "whole number"]),
        (
            hdr_to_sdr, {"method": "direct", "source": LightSpec(curve="srgb", primaries="bt709")},
            ValueError, ["curve", "'srgb'", "'pq', 'hlg'"],
        ),
        (map_tones, {"curve": "reinhard", "peak": 1000}, ValueError, ["curve", "'reinhard'", "'bt2446a'"]),
        (map_tones, {"curve": "bt2446a", "peak": 1000, "rgb": np.zeros((1, 3, 2, 2), np.uint8)}, TypeError, ["uint16"]),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Any, change: dict[str, Any], error: Any, words: list[str]) -> None:
    arguments = {"rgb": np.zeros((1, 3, 2, 2), np.uint16), **change}
    with pytest.raises(error) as caught:
        call(arguments.pop("rgb"), **arguments)
    message = str(caught.value)
    assert message.startswith(f"{call.__name__}: ")
    for word in words:
        assert word in message, message
