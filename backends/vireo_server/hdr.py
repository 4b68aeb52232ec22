# SPDX-License-Identifier: MIT
"""HDR10: what its frames are, and its static metadata as encoders take it.

Metadata is SMPTE ST 2086 (mastering display) and CTA-861.3 (light level: MaxCLL, MaxFALL).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from vireo_kernels.curves import PRIMARIES, WHITE
from vireo_kernels.tone_mapping import HDR_PEAK
from vireo_media.description import HDR_TRANSFERS

from vireo_server.errors import BadInput
from vireo_server.formats import Color, Format

#: The option that turns dithering off where pictures of 16 bits are rounded to what is coded.
DITHER = "dither"

HDR10_COLOR = Color(matrix="bt2020nc", range="tv", transfer="smpte2084", primaries="bt2020", chroma_location="topleft")

#: The black of the mastering display that we claim, in cd/m2.
_BLACK = (50, 10_000)


def require_sdr(format: Format, *, stage: str) -> None:
    """Raise BadInput where frames are HDR already."""
    if format.color.transfer in HDR_TRANSFERS:
        raise BadInput(
            f"the source is HDR already (transfer {format.color.transfer!r}); allowed: SDR; use it as it is",
            stage=stage,
        )


def hdr10_format(format: Format, *, light: int, stage: str) -> Format:
    """The format of `format`'s frames once they are HDR10.

    `light` is what no pixel exceeds, in cd/m2: MaxCLL and MaxFALL, which must be known before the first frame is
    coded, are this bound unless the stream's options `max_cll` and `max_fall` say better. 0 says nothing.

    Raises:
        BadInput: an option that cannot be.
    """
    levels = {}
    for name in ("max_cll", "max_fall"):
        value = format.options.get(name, light)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10_000:
            raise BadInput(f"option {name} is {value!r}; allowed: 0 (unknown) to 10000 cd/m2", stage=stage)
        levels[name] = value
    green, blue, red, white = (
        [[Fraction(value).numerator, Fraction(value).denominator] for value in point]
        for point in (*(PRIMARIES["bt2020"][place] for place in (1, 2, 0)), WHITE)
    )
    display = {"green": green, "blue": blue, "red": red, "white": white}
    hdr = {
        "mastering_display": {**display, "max_luminance": [HDR_PEAK, 1], "min_luminance": list(_BLACK)},
        "content_light": {"max_content": levels["max_cll"], "max_average": levels["max_fall"]}
        if any(levels.values())
        else None,
    }
    return replace(format, pixel_format="p010", color=HDR10_COLOR, hdr=hdr)


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
