# SPDX-License-Identifier: MIT
"""Transfer functions, primaries and the way from SDR to HDR: signals to signals through linear light, in whole numbers.

A signal is a code of 0..255 or 0..65535 for 0..1. Linear light is a whole number of 2^-31 of a curve's own peak:

| curve | signal to light | light of 1.0 |
|---|---|---|
| `bt1886` | L = V^2.4: what a display does with SDR (ITU-R BT.1886, black 0) | peak white of the picture |
| `srgb` | IEC 61966-2-1 | peak white of the picture |
| `pq` | SMPTE ST 2084 (ITU-R BT.2100) EOTF | 10,000 cd/m2 |
| `hlg` | ITU-R BT.2100 inverse OETF: scene light, without the display's OOTF | peak of the scene |

`pow` and `log` differ between libraries, so no kernel calls them: the curves are tables, made once by the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from vireo_kernels.arguments import Array, require_array, require_choice
from vireo_kernels.color import Layout
from vireo_kernels.devices import adopt, result_array

Curve = Literal["bt1886", "srgb", "pq", "hlg"]
Primaries = Literal["bt709", "bt470bg", "smpte170m", "smpte432", "bt2020"]
"""FFmpeg's names: HD, 625-line SD, 525-line SD, Display P3, UHD."""

SDR_WHITE_IN_PQ = Fraction(203, 10_000)
"""The gain that brings SDR white to 203 cd/m2 of PQ's 10,000: reference white of ITU-R BT.2408."""


@dataclass(frozen=True, kw_only=True)
class LightSpec:
    """How a signal means light: its curve and its primaries (white D65 for both).

    Raises:
        ValueError: an unknown value.
    """

    curve: Curve
    primaries: Primaries

    def __post_init__(self) -> None:
        require_choice("LightSpec", "curve", self.curve, get_args(Curve))
        require_choice("LightSpec", "primaries", self.primaries, get_args(Primaries))


def convert_light(
    rgb: Array,
    *,
    source: LightSpec,
    target: LightSpec,
    gain: Fraction,
    layout: Layout = "planar",
    out: Array | None = None,
) -> Array:
    """Signal to linear light, to other primaries, times `gain`, to another signal; clipped to what the target can show.

    Light is not compressed: SDR to PQ with `SDR_WHITE_IN_PQ` is the direct mapping of ITU-R BT.2408 5.1.2, which leaves
    hues as they are and needs no tone mapping.

    Args:
        rgb: `(T, 3, H, W)` or `(T, H, W, 3)` R'G'B', red first, uint8 or uint16, C-contiguous.
        source: what `rgb` means.
        target: what the result shall mean.
        gain: light of the target for light of 1 of the source, each in its own unit (see the table above): positive, at
            most 10,000.
        layout: of `rgb` and of the result.
        out: the result's array, C-contiguous; made if not given.

    Returns:
        Like `rgb`, uint16: round(65535 V'), half up; `out` if that was given.

    Raises:
        TypeError: an array of another dtype or kind, or no LightSpec.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    function = "convert_light"
    device, (rgb, given) = adopt(function, rgb=rgb, out=out)
    require_choice(function, "layout", layout, get_args(Layout))
    shape: tuple[int | str, ...] = ("T", 3, "H", "W") if layout == "planar" else ("T", "H", "W", 3)
    require_array(function, "rgb", rgb, dtypes=("uint8", "uint16"), shape=shape)
    for name, light in (("source", source), ("target", target)):
        if not isinstance(light, LightSpec):
            raise TypeError(f"{function}: {name} is {light!r}; it must be a LightSpec(curve=..., primaries=...)")
    if not isinstance(gain, (Fraction, int)) or not 0 < gain <= 10_000:
        raise ValueError(
            f"{function}: gain is {gain!r}; it must be a Fraction above 0 and up to 10000, such as Fraction(203, 10000)"
        )
    result = result_array(function, device, given, "uint16", tuple(rgb.shape))
    device.run(
        "transfer",
        "convert_light",
        rgb,
        source=source,
        target=target,
        gain=Fraction(gain),
        layout=layout,
        out=result,
    )
    return result if out is None else out
