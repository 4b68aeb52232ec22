# SPDX-License-Identifier: MIT
"""HDR10's static metadata as encoders take it: SMPTE ST 2086 (mastering display) and CTA-861.3 (light level)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_Point = tuple[Fraction, Fraction]


@dataclass(frozen=True, kw_only=True)
class Hdr:
    """Chromaticities (x, y) of green, blue, red and white, luminances in nits, and MaxCLL, MaxFALL in nits.

    Each group is None where the source does not say it.
    """

    primaries: tuple[_Point, _Point, _Point, _Point] | None
    luminance: tuple[Fraction, Fraction] | None
    content_light: tuple[int, int] | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Hdr | None:
        """STREAM's `hdr`, None for none."""
        if value is None:
            return None
        display, light = value.get("mastering_display") or {}, value.get("content_light")
        points = [display.get(name) for name in ("green", "blue", "red", "white")]
        nits = [display.get("max_luminance"), display.get("min_luminance")]
        known = [(Fraction(*point[0]), Fraction(*point[1])) for point in points if point]
        return cls(
            primaries=(known[0], known[1], known[2], known[3]) if len(known) == 4 else None,
            luminance=(Fraction(*nits[0]), Fraction(*nits[1])) if nits[0] and nits[1] else None,
            content_light=(int(light["max_content"]), int(light["max_average"])) if light else None,
        )

    @property
    def has_display(self) -> bool:
        """Whether the mastering display is known whole: encoders take no half of it."""
        return self.primaries is not None and self.luminance is not None

    @property
    def display_x26x(self) -> str:
        """`G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)` in units of 1/50000 and 1/10000 nit."""
        return self._display(lambda value: str(round(value * 50000)), lambda value: str(round(value * 10000)))

    @property
    def display_av1(self) -> str:
        """The same with plain numbers."""
        return self._display(lambda value: f"{float(value):.6g}", lambda value: f"{float(value):.7g}")

    @property
    def light(self) -> str | None:
        """`MaxCLL,MaxFALL`."""
        return None if self.content_light is None else "{},{}".format(*self.content_light)

    def _display(self, chroma: Any, nits: Any) -> str:
        assert self.primaries is not None
        assert self.luminance is not None
        points = (f"{name}({chroma(x)},{chroma(y)})" for name, (x, y) in zip("GBRW", self.primaries, strict=True))
        most, least = self.luminance
        return f"{''.join(points).replace('W(', 'WP(')}L({nits(most)},{nits(least)})"
