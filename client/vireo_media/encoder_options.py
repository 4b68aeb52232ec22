# SPDX-License-Identifier: MIT
"""What a caller may ask of each encoder: one rule, by which a client refuses before a byte is sent and a server before
a picture is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vireo_media.errors import OptionError

__all__ = ["ENCODERS", "NVENC", "EncoderLimits", "EncoderOptions"]

_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_NVENC_PRESETS = tuple(f"p{level}" for level in range(1, 8))


@dataclass(frozen=True, kw_only=True)
class EncoderLimits:
    """What one encoder can do. `crf_max` 0: it is lossless, and has neither a quality nor a rate. `lossless`: its crf
    0 is. `ten_bit`: it keeps pictures of 10 bit."""

    presets: tuple[str, ...] = ()
    crf_max: float = 0
    lossless: bool = False
    ten_bit: bool = True


ENCODERS: Mapping[str, EncoderLimits] = {
    "h264": EncoderLimits(presets=_X26X_PRESETS, crf_max=51, lossless=True),
    "hevc": EncoderLimits(presets=_X26X_PRESETS, crf_max=51, lossless=True),
    "av1": EncoderLimits(presets=tuple(map(str, range(14))), crf_max=63),
    # The libvpx that PyAV carries codes 8 bit only.
    "vp9": EncoderLimits(presets=tuple(map(str, range(9))), crf_max=63, ten_bit=False),
    "ffv1": EncoderLimits(lossless=True),
}
"""Our codec name -> what its encoder on the CPU can do."""

NVENC: Mapping[str, EncoderLimits] = {
    "h264": EncoderLimits(presets=_NVENC_PRESETS, crf_max=51, lossless=True, ten_bit=False),
    "hevc": EncoderLimits(presets=_NVENC_PRESETS, crf_max=51, lossless=True),
    "av1": EncoderLimits(presets=_NVENC_PRESETS, crf_max=63, lossless=True),
}
"""The same for the encoders of a GPU. H.264 of 10 bit few of them have."""

_MOST_RATE = 1_000_000_000
"""Bit/s: above, some encoder counts over its own integers."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """STREAM's `encoder`: what the caller chose.

    `crf` is the codec's own quality scale (0 is lossless for h264 and hevc); `threads` is part of the result: x264
    and x265 write other bytes for other numbers; `maxrate` in bit/s caps the rate; `latency` "low" gives each packet
    at once; `keyint` in seconds puts a key frame at every multiple of it, and nowhere else but at the beginning of a
    segment. `nvenc` "on": by the GPU's encoder, whose `preset` and `crf` have meanings of their own.

    Raises OptionError for what no encoder can do, and for what the chosen one cannot.
    """

    codec: str = "h264"
    preset: str | None = None
    crf: float | None = None
    threads: int = 2
    maxrate: int | None = None
    latency: str = "normal"
    keyint: float | None = None
    nvenc: str = "off"

    @property
    def limits(self) -> EncoderLimits:
        """What the encoder that was chosen can do."""
        return (NVENC if self.nvenc == "on" else ENCODERS)[self.codec]

    def __post_init__(self) -> None:
        for name, choices in (("codec", tuple(ENCODERS)), ("nvenc", ("off", "on")), ("latency", ("normal", "low"))):
            if getattr(self, name) not in choices:
                raise self._wrong(name, _words(choices))
        if self.nvenc == "on" and self.codec not in NVENC:
            raise self._wrong("codec", _words(tuple(NVENC)), given="nvenc 'on'")
        for name, least, most, unit in (
            ("threads", 1, 64, ""), ("maxrate", 1000, _MOST_RATE, " bit/s"), ("keyint", 0.04, 600, " seconds"),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise self._wrong(name, f"{least} to {most}{unit}")
        self._check_encoder(self.limits)

    def _check_encoder(self, limits: EncoderLimits) -> None:
        given = f"codec {self.codec!r}" + (" and nvenc 'on'" if self.nvenc == "on" else "")
        if self.preset is not None and str(self.preset) not in limits.presets:
            raise self._wrong("preset", _words(limits.presets) if limits.presets else "none", given=given)
        if self.crf is not None and not 0 <= self.crf <= limits.crf_max:
            allowed = f"0 to {limits.crf_max}" if limits.crf_max else "none, since it is lossless"
            raise self._wrong("crf", allowed, given=given)
        is_lossless = limits.lossless and (not limits.crf_max or self.crf == 0)
        if self.maxrate is not None and is_lossless:
            given += f" and crf {self.crf!r}" if limits.crf_max else ""
            raise self._wrong("maxrate", "none, since that is lossless", given=given)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EncoderOptions":
        """The options of a stream; null means the default. Raises OptionError."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise OptionError(f"encoder option {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
        given = {key: item for key, item in value.items() if item is not None}
        for key, kind in (("threads", int), ("maxrate", int), ("crf", (int, float)), ("keyint", (int, float))):
            if key in given and (not isinstance(given[key], kind) or isinstance(given[key], bool)):
                raise OptionError(f"option {key!r} cannot be {given[key]!r}; allowed is a number")
        return cls(**given)

    def _wrong(self, name: str, allowed: str, *, given: str = "") -> OptionError:
        together = f" with {given}" if given else ""
        return OptionError(f"option {name!r} cannot be {getattr(self, name)!r}{together}; allowed is {allowed}")


def _words(choices: tuple[str, ...]) -> str:
    return ", ".join(map(repr, choices))
