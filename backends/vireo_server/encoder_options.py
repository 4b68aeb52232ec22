# SPDX-License-Identifier: MIT
"""The encoders we offer, and how a caller's choices are said to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vireo_server.formats import Color, PixelFormat


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """STREAM's `encoder`: what the caller chose.

    `crf` is the codec's own quality scale (0 is lossless for h264 and hevc); `threads` is part of the result: x264
    and x265 write other bytes for other numbers; `maxrate` in bit/s caps the rate; `latency` "low" gives each packet
    at once.
    """

    codec: str = "h264"
    preset: str | None = None
    crf: float | None = None
    threads: int = 2
    maxrate: int | None = None
    latency: str = "normal"

    def __post_init__(self) -> None:
        """Refuse what no encoder can do."""
        if self.codec not in ENCODERS:
            raise ValueError(f"encoder codec is {self.codec!r}; allowed: {', '.join(ENCODERS)}")
        encoder = ENCODERS[self.codec]
        if self.preset is not None and str(self.preset) not in encoder.presets:
            allowed = ", ".join(encoder.presets) or "none, leave it out"
            raise ValueError(f"preset {self.preset!r} is unknown to {self.codec}; allowed: {allowed}")
        if self.crf is not None and not 0 <= self.crf <= encoder.crf_max:
            raise ValueError(f"crf is {self.crf!r}; allowed for {self.codec}: 0 to {encoder.crf_max}")
        if not 1 <= self.threads <= 64:
            raise ValueError(f"encoder threads is {self.threads!r}; allowed: 1 to 64")
        if self.maxrate is not None and self.maxrate <= 0:
            raise ValueError(f"maxrate is {self.maxrate!r}; allowed: bits per second, more than 0, or null")
        if self.latency not in ("normal", "low"):
            raise ValueError(f"latency is {self.latency!r}; allowed: normal, low")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EncoderOptions:
        """The options of a stream; null means the default. Raises ValueError."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise ValueError(f"encoder option {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
        given = {key: item for key, item in value.items() if item is not None}
        for key, kind in (("threads", int), ("maxrate", int), ("crf", (int, float))):
            if key in given and (not isinstance(given[key], kind) or isinstance(given[key], bool)):
                raise ValueError(f"encoder option {key} is {given[key]!r}; it must be a number")
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """One of libav's encoders and how our options are said to it."""

    name: str
    presets: tuple[str, ...]
    preset: str | None
    crf: float | None
    crf_max: float
    #: Whether 4:2:0 pictures of this codec have even sizes only.
    even_sizes: bool = False
    #: libav pixel format for each layout of FRAMES; x264 takes NV12 as it is.
    pixel_formats: Mapping[PixelFormat, str] = field(
        default_factory=lambda: {"nv12": "yuv420p", "p010": "yuv420p10le"},
    )

    def options(self, options: EncoderOptions, *, color: Color) -> dict[str, str]:
        """libav's private options of this encoder."""
        crf = self.crf if options.crf is None else options.crf
        preset = self.preset if options.preset is None else str(options.preset)
        low = options.latency == "low"
        chosen: dict[str, str] = {}
        if preset is not None and self.name != "libvpx-vp9":
            chosen["preset"] = preset
        if crf is not None:
            chosen["crf"] = f"{crf:g}"
        if self.name == "libx264":
            chosen["x264-params"] = (
                f"threads={options.threads}:open-gop=0:chromaloc={_CHROMA_LOCATION[color.chroma_location]}"
            )
            chosen |= {"tune": "zerolatency"} if low else {}
            if options.maxrate is not None:
                chosen["x264-params"] += f":vbv-maxrate={options.maxrate // 1000}:vbv-bufsize={options.maxrate // 500}"
        elif self.name == "libx265":
            # One frame thread, because the number of them changes the bytes with the number of cores.
            parts = [
                f"pools={options.threads}", "frame-threads=1", "open-gop=0", "log-level=error",
                f"chromaloc={_CHROMA_LOCATION[color.chroma_location]}",
            ]  # fmt: skip
            if crf == 0:
                parts.append("lossless=1")
            if options.maxrate is not None:
                parts += [f"vbv-maxrate={options.maxrate // 1000}", f"vbv-bufsize={options.maxrate // 500}"]
            chosen["x265-params"] = ":".join(parts)
            chosen |= {"tune": "zerolatency"} if low else {}
        elif self.name == "libsvtav1":
            parts = [f"lp={options.threads}"]
            if low:
                parts.append("pred-struct=1")
            if options.maxrate is not None:
                parts.append(f"mbr={options.maxrate // 1000}")
            chosen["svtav1-params"] = ":".join(parts)
        elif self.name == "libvpx-vp9":
            chosen |= {"row-mt": "1", "deadline": "realtime" if low else "good", "cpu-used": preset or "4", "b": "0"}
            if low:
                chosen["lag-in-frames"] = "0"
        return chosen


_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

#: Our codec name -> the encoder. Presets and crf default to what is sane for a service, not to libav's defaults.
ENCODERS: dict[str, EncoderKind] = {
    "h264": EncoderKind(
        name="libx264", presets=_X26X_PRESETS, preset="veryfast", crf=20, crf_max=51, even_sizes=True,
        pixel_formats={"nv12": "nv12", "p010": "yuv420p10le"},
    ),
    "hevc": EncoderKind(name="libx265", presets=_X26X_PRESETS, preset="veryfast", crf=22, crf_max=51, even_sizes=True),
    "av1": EncoderKind(
        name="libsvtav1", presets=tuple(str(n) for n in range(14)), preset="10", crf=30, crf_max=63
    ),
    "vp9": EncoderKind(
        name="libvpx-vp9", presets=tuple(str(n) for n in range(9)), preset="6", crf=31, crf_max=63
    ),
    "ffv1": EncoderKind(name="ffv1", presets=(), preset=None, crf=None, crf_max=0),
}  # fmt: skip

#: H.264's and HEVC's chroma_sample_loc_type.
_CHROMA_LOCATION = {"left": 0, "center": 1, "topleft": 2}
