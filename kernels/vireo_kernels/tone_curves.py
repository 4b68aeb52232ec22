# SPDX-License-Identifier: MIT
"""The integer tables of tone mapping, made once for all three implementations.

A curve maps R'G'B' of BT.2020 primaries and gamma 2.4 to the same of another peak. It looks at one number of a pixel,
its luma (or the gamma 2.4 signal of its luminance) Y', and says where that goes and by how much the distances of the
three colours from it grow: X' becomes level(Y') + factor(Y') (X' - Y').
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vireo_kernels.coefficients import WEIGHTS

ToneCurve = Literal["bt2446a", "bt2446a_inverse", "bt2446c", "bt2446c_inverse", "hlg_ootf"]
"""What a curve does, with `peak` in cd/m2 for its HDR side and 100 for SDR:

- `bt2446a`, `bt2446c`: HDR to SDR, Report ITU-R BT.2446-1, methods A and C.
- `bt2446a_inverse`, `bt2446c_inverse`: SDR to HDR by the same methods. Method A is made for a peak of 1,000.
- `hlg_ootf`: HLG's scene light to light of a display of 1,000 cd/m2 (ITU-R BT.2100, gamma 1.2).
"""

LEVEL_BITS, FACTOR_BITS, WEIGHT_BITS = 12, 24, 16
"""Fraction bits of a table's levels (of a 16-bit code), of its factors, and of the weights of the colours."""

#: Method C's parameters (Report ITU-R BT.2446-1), and how much of a colour it mixes into the others.
_K1, _K2, _K3, _K4, _KNEE = "0.83802", "15.09968", "0.74204", "78.99439", "58.535"
_CROSSTALK = Fraction("0.04")


@dataclass(frozen=True, eq=False, kw_only=True)
class ToneTable:
    """A curve as whole numbers.

    `entries` is `(65536, 2) int32`: level and factor of each 16-bit Y'. `weights` of red, green and blue make Y' (they
    add up to one). `of_light`: they weigh linear light, not signals. `red_pull`, of 2^16: method A takes so much of
    red's way up off all three.
    """

    entries: npt.NDArray[np.int32]
    weights: tuple[int, int, int]
    of_light: bool
    red_pull: int


class _Doubles:
    """The arithmetic of a curve in double precision, for all codes at once."""

    number = float
    log = staticmethod(np.log)
    exp = staticmethod(np.exp)
    power = staticmethod(np.power)
    where = staticmethod(np.where)
    maximum = staticmethod(np.maximum)


class _Digits:
    """The same in the context's decimal digits, for one code."""

    number = Decimal

    @staticmethod
    def log(x: Decimal) -> Decimal:
        return x.ln()

    @staticmethod
    def exp(x: Decimal) -> Decimal:
        return x.exp()

    @staticmethod
    def power(x: Decimal, y: Decimal) -> Decimal:
        return x**y if x else Decimal(0)

    @staticmethod
    def where(condition: bool, yes: Any, no: Any) -> Any:
        return yes if condition else no

    @staticmethod
    def maximum(x: Any, y: Any) -> Any:
        return max(x, y)


def _bt2446a(m: Any, y: Any, peak: int) -> tuple[Any, Any]:
    """To a perceptual scale, through a knee of three pieces, and back."""
    n = m.number
    rho_hdr, rho_sdr = (1 + 32 * m.power(n(nits) / n(10_000), 1 / n("2.4")) for nits in (peak, 100))
    perceived = m.log(1 + (rho_hdr - 1) * y) / m.log(rho_hdr)
    bent = m.where(
        perceived <= n("0.7399"),
        n("1.0770") * perceived,
        m.where(
            perceived < n("0.9909"),
            (n("-1.1510") * perceived + n("2.7811")) * perceived - n("0.6302"),
            n("0.5") * perceived + n("0.5"),
        ),
    )
    level = (m.power(rho_sdr, bent) - 1) / (rho_sdr - 1)
    return level, level / (n("1.1") * _at_least_one_code(m, y))


def _bt2446a_inverse(m: Any, y: Any, peak: int) -> tuple[Any, Any]:
    """An exponent of luma that itself depends on luma."""
    n = m.number
    z = 255 * y
    # The last constant of the upper piece is 1.2528; with 1.2328, which some copies have, white would become
    # 895 and not 1000.
    exponent = m.where(
        z <= 70,
        (n("1.8712e-5") * z - n("2.7334e-3")) * z + n("1.3141"),
        (n("2.8305e-6") * z - n("7.4622e-4")) * z + n("1.2528"),
    )
    level = m.power(z, exponent) / peak
    return level, n("1.075") * level / _at_least_one_code(m, y)


def _bt2446c(m: Any, y: Any, peak: int) -> tuple[Any, Any]:
    """Linear below a knee, logarithmic above it."""
    n = m.number
    k1, k2, k3, k4 = n(_K1), n(_K2), n(_K3), n(_K4)
    inflection = n(_KNEE) / k1
    nits = peak * m.power(_at_least_one_code(m, y), n("2.4"))
    above = k2 * m.log(m.maximum(nits / inflection, n(1)) - k3) + k4
    return _scaled(m, y, m.where(nits < inflection, k1, above / nits) * peak / 100)


def _bt2446c_inverse(m: Any, y: Any, peak: int) -> tuple[Any, Any]:
    """The opposite of `_bt2446c`."""
    n = m.number
    k1, k2, k3, k4 = n(_K1), n(_K2), n(_K3), n(_K4)
    nits = 100 * m.power(_at_least_one_code(m, y), n("2.4"))
    above = n(_KNEE) / k1 * (m.exp((nits - k4) / k2) + k3)
    return _scaled(m, y, m.where(nits < n(_KNEE), 1 / k1, above / nits) * 100 / peak)


def _hlg_ootf(m: Any, y: Any, peak: int) -> tuple[Any, Any]:
    """BT.2100: light times the scene's luminance to the power of gamma - 1."""
    n = m.number
    return _scaled(m, y, m.power(m.power(y, n("2.4")), n("0.2")))


def _scaled(m: Any, y: Any, ratio: Any) -> tuple[Any, Any]:
    """Level and factor of light times `ratio`, which on signals is its 2.4th root."""
    factor = m.power(ratio, 1 / m.number("2.4"))
    return factor * y, factor


def _at_least_one_code(m: Any, y: Any) -> Any:
    """Y', or one code where it is black: nothing depends on it there, but nothing may be divided by 0."""
    return m.maximum(y, 1 / m.number(65535))


_CURVES = {
    "bt2446a": _bt2446a,
    "bt2446a_inverse": _bt2446a_inverse,
    "bt2446c": _bt2446c,
    "bt2446c_inverse": _bt2446c_inverse,
    "hlg_ootf": _hlg_ootf,
}


@cache
def tone_table(curve: ToneCurve, peak: int) -> ToneTable:
    """The table of a curve; see `curves` for why entries that doubles cannot round for certain are made twice."""
    formula = _CURVES[curve]
    signals = np.arange(65536) / 65535
    scales = (65535 << LEVEL_BITS, 1 << FACTOR_BITS)
    columns = []
    for column, (values, scale) in enumerate(zip(formula(_Doubles, signals, peak), scales, strict=True)):
        edge = values * scale + 0.5
        whole = np.floor(edge).astype(np.int64)
        for code in np.flatnonzero(np.abs(edge - np.rint(edge)) < 1e-5):
            with localcontext() as context:
                context.prec = 40
                exact = formula(_Digits, Decimal(int(code)) / 65535, peak)[column] * scale
                whole[code] = int(exact.to_integral_value(ROUND_HALF_UP))
        columns.append(whole.astype(np.int32))
    entries = np.stack(columns, axis=1)
    entries.flags.writeable = False
    of_light = curve not in ("bt2446a", "bt2446a_inverse")
    # Crosstalk is undone after the curve, and scaling light commutes with it: all that is left of it is in Y.
    crosstalk = _CROSSTALK if curve.startswith("bt2446c") else Fraction(0)
    # Cr is (R' - Y') / 1.4746, and a tenth of it is taken off.
    red_pull = round(Fraction("0.1") / Fraction("1.4746") * 65536) if curve == "bt2446a" else 0
    return ToneTable(entries=entries, weights=_weights(crosstalk), of_light=of_light, red_pull=red_pull)


def _weights(crosstalk: Fraction) -> tuple[int, int, int]:
    """BT.2020's weights of a pixel each of whose colours got `crosstalk` of the two others."""
    red, blue = (round(((1 - 3 * crosstalk) * weight + crosstalk) * 65536) for weight in WEIGHTS["bt2020nc"])
    return red, (1 << WEIGHT_BITS) - red - blue, blue
