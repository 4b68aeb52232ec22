# SPDX-License-Identifier: MIT
"""From SDR to HDR and back: the mappings of ITU-R BT.2408 and BT.2446, signals to signals, in whole numbers.

All of it is `convert_light` and one more step, `map_tones`. Signals have 16 bits on the way, light 31: finer than
single precision, and the same bits everywhere.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

from vireo_kernels.arguments import Array, require_array, require_choice
from vireo_kernels.color import Layout
from vireo_kernels.devices import adopt, result_array
from vireo_kernels.tone_curves import ToneCurve, tone_table
from vireo_kernels.transfer import SDR_WHITE_IN_PQ, Curve, LightSpec, Primaries, convert_light

Method = Literal["direct", "bt2446a", "bt2446c"]
"""`direct`: light as it is, SDR white at 203 cd/m2 (BT.2408 5.1.2). `bt2446a`, `bt2446c`: Report BT.2446's methods."""

MAX_NITS: dict[str, int] = {"direct": 203, "bt2446a": 1000, "bt2446c": 333}
"""Light, in cd/m2, that no pixel exceeds after `sdr_to_hdr` by each method: that of SDR white."""

HDR_PEAK = 1000
"""The peak, in cd/m2, of method A's HDR and of HLG's nominal display."""

PEAKS = range(100, 10_001)
"""Peaks of an HDR source that `hdr_to_sdr` takes."""

HDR10 = LightSpec(curve="pq", primaries="bt2020")
SDR = LightSpec(curve="bt1886", primaries="bt709")
_WORKING = LightSpec(curve="bt1886", primaries="bt2020")
"""Of `map_tones`: gamma 2.4, whatever its peak."""


def map_tones(rgb: Array, *, curve: ToneCurve, peak: int, layout: Layout = "planar", out: Array | None = None) -> Array:
    """R'G'B' of BT.2020 primaries and gamma 2.4 to the same of another peak, by a curve of `tone_curves`.

    Args:
        rgb: `(T, 3, H, W)` or `(T, H, W, 3)` uint16, red first, C-contiguous.
        curve: see `tone_curves.ToneCurve`.
        peak: of the HDR side, in cd/m2: what 1.0 means there. On the SDR side it means 100.
        layout: of `rgb` and of the result.
        out: the result's array, C-contiguous, `rgb` itself if that may go; made if not given.

    Returns:
        Like `rgb`; `out` if that was given.

    Raises:
        TypeError: an array of another dtype or kind.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    function = "map_tones"
    device, (rgb, given) = adopt(function, rgb=rgb, out=out)
    require_choice(function, "curve", curve, get_args(ToneCurve))
    require_choice(function, "layout", layout, get_args(Layout))
    _require_peak(function, peak)
    shape: tuple[int | str, ...] = ("T", 3, "H", "W") if layout == "planar" else ("T", "H", "W", 3)
    require_array(function, "rgb", rgb, dtypes=("uint16",), shape=shape)
    result = result_array(function, device, given, "uint16", tuple(rgb.shape))
    device.run("tone_mapping", "map_tones", rgb, table=tone_table(curve, peak), layout=layout, out=result)
    return result if out is None else out


def sdr_to_hdr(
    rgb: Array, *, method: Method, source: LightSpec = SDR, layout: Layout = "planar", out: Array | None = None
) -> Array:
    """SDR to PQ of BT.2020 primaries. No pixel exceeds `MAX_NITS[method]`.

    Args:
        rgb: `(T, 3, H, W)` or `(T, H, W, 3)` R'G'B', uint8 or uint16, C-contiguous.
        method: `direct` changes nothing but the signal; the others expand highlights.
        source: what `rgb` means.
        layout: of `rgb` and of the result.
        out: the result's array, uint16; made if not given.

    Raises:
        TypeError, ValueError: as `convert_light`.
    """
    require_choice("sdr_to_hdr", "method", method, get_args(Method))
    if method == "direct":
        return convert_light(rgb, source=source, target=HDR10, gain=SDR_WHITE_IN_PQ, layout=layout, out=out)
    curve: ToneCurve = "bt2446a_inverse" if method == "bt2446a" else "bt2446c_inverse"
    work = convert_light(rgb, source=source, target=_WORKING, gain=Fraction(1), layout=layout, out=out)
    map_tones(work, curve=curve, peak=HDR_PEAK, layout=layout, out=work)
    gain = Fraction(HDR_PEAK, 10_000)
    return convert_light(work, source=_WORKING, target=HDR10, gain=gain, layout=layout, out=work)


def hdr_to_sdr(
    rgb: Array,
    *,
    method: Method,
    source: LightSpec = HDR10,
    peak: int = HDR_PEAK,
    target: Primaries = "bt709",
    layout: Layout = "planar",
    out: Array | None = None,
) -> Array:
    """PQ or HLG to SDR of gamma 2.4; light above what a method can show is clipped.

    Args:
        rgb: `(T, 3, H, W)` or `(T, H, W, 3)` R'G'B', uint8 or uint16, C-contiguous.
        method: `direct` takes 203 cd/m2 for SDR white and clips what is brighter; `bt2446a` bends all light up to
            `peak` below SDR white; `bt2446c` bends less and clips above 333 cd/m2.
        source: what `rgb` means: curve `pq` or `hlg`.
        peak: the brightest light of a PQ source in cd/m2, 100 to 10,000; HLG's is its nominal display's, 1,000.
        target: primaries of the result.
        layout: of `rgb` and of the result.
        out: the result's array, uint16; made if not given.

    Raises:
        TypeError, ValueError: as `convert_light`.
    """
    function = "hdr_to_sdr"
    require_choice(function, "method", method, get_args(Method))
    _require_peak(function, peak)
    hdr_curves: tuple[Curve, ...] = ("pq", "hlg")
    require_choice(function, "the source's curve", source.curve, hdr_curves)
    sdr = LightSpec(curve="bt1886", primaries=target)
    if source.curve == "pq" and method == "direct":
        return convert_light(rgb, source=source, target=sdr, gain=1 / SDR_WHITE_IN_PQ, layout=layout, out=out)
    if source.curve == "pq":
        gain = Fraction(10_000, peak)
    else:
        peak, gain = HDR_PEAK, Fraction(1)
    work = convert_light(rgb, source=source, target=_WORKING, gain=gain, layout=layout, out=out)
    if source.curve == "hlg":
        map_tones(work, curve="hlg_ootf", peak=peak, layout=layout, out=work)
    white = Fraction(1)
    if method == "direct":
        white = Fraction(peak, 203)
    else:
        map_tones(work, curve=method, peak=peak, layout=layout, out=work)
    return convert_light(work, source=_WORKING, target=sdr, gain=white, layout=layout, out=work)


def _require_peak(function: str, peak: object) -> None:
    if not isinstance(peak, int) or peak not in PEAKS:
        raise ValueError(f"{function}: peak is {peak!r}; it must be a whole number of cd/m2, {PEAKS[0]} to {PEAKS[-1]}")
