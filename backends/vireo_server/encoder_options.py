# SPDX-License-Identifier: MIT
"""The encoders we offer, and how a caller's choices are said to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from vireo_server.formats import Color, PixelFormat
from vireo_server.hdr import Hdr


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """STREAM's `encoder`: what the caller chose.

    `crf` is the codec's own quality scale (0 is lossless for h264 and hevc); `threads` is part of the result: x264
    and x265 write other bytes for other numbers; `maxrate` in bit/s caps the rate; `latency` "low" gives each packet
    at once; `keyint` in seconds puts a key frame at every multiple of it, and nowhere else but at the beginning of a
    segment. `nvenc` "on": by the GPU's encoder, whose `preset` and `crf` have meanings of their own.
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
    def kind(self) -> EncoderKind:
        """The encoder that was chosen."""
        return (NVENC if self.nvenc == "on" else ENCODERS)[self.codec]

    def __post_init__(self) -> None:
        """Refuse what no encoder can do."""
        if self.codec not in ENCODERS:
            raise ValueError(f"encoder codec is {self.codec!r}; allowed: {', '.join(ENCODERS)}")
        if self.nvenc not in ("off", "on"):
            raise ValueError(f"nvenc is {self.nvenc!r}; allowed: off, on")
        if self.nvenc == "on" and self.codec not in NVENC:
            raise ValueError(f"encoder codec is {self.codec!r} with nvenc=on; allowed: {', '.join(NVENC)}")
        encoder = self.kind
        if self.preset is not None and str(self.preset) not in encoder.presets:
            allowed = ", ".join(encoder.presets) or "none, leave it out"
            raise ValueError(f"preset {self.preset!r} is unknown to {self.codec}; allowed: {allowed}")
        if self.crf is not None and not 0 <= self.crf <= encoder.crf_max:
            raise ValueError(f"crf is {self.crf!r}; allowed for {self.codec}: 0 to {encoder.crf_max}")
        if not 1 <= self.threads <= 64:
            raise ValueError(f"encoder threads is {self.threads!r}; allowed: 1 to 64")
        if self.maxrate is not None and self.maxrate <= 0:
            raise ValueError(f"maxrate is {self.maxrate!r}; allowed: bits per second, more than 0, or null")
        if self.keyint is not None and not 0.04 <= self.keyint <= 600:
            raise ValueError(f"keyint is {self.keyint!r}; allowed: 0.04 to 600 seconds, or null")
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
        for key, kind in (("threads", int), ("maxrate", int), ("crf", (int, float)), ("keyint", (int, float))):
            if key in given and (not isinstance(given[key], kind) or isinstance(given[key], bool)):
                raise ValueError(f"encoder option {key} is {given[key]!r}; it must be a number")
        return cls(**given)


def _x264(options: EncoderOptions, color: Color, hdr: Hdr | None) -> dict[str, str]:
    # Note [Same bytes from x264]
    # With its SIMD code x264's macroblock tree depends on memory that nobody wrote: one run in eight of the same
    # pictures gave other bytes. `cpu-independent` takes the exact code there; the result is also the same on every
    # CPU.
    params = [f"threads={options.threads}", "open-gop=0", "cpu-independent=1"]
    params.append(f"chromaloc={_CHROMA_LOCATION[color.chroma_location]}")
    if hdr is not None:
        params += [f"mastering-display={hdr.display_x26x}"] if hdr.has_display else []
        params += [f"cll={hdr.light}"] if hdr.light else []
    params += ["scenecut=0"] if options.keyint is not None else []
    chosen = {"x264-params": ":".join(params + _vbv(options)), "forced-idr": "1"}
    return chosen | ({"tune": "zerolatency"} if options.latency == "low" else {})


def _x265(options: EncoderOptions, color: Color, hdr: Hdr | None) -> dict[str, str]:
    # One frame thread, because their number changes the bytes, and x265 takes it from the number of cores.
    params = [f"pools={options.threads}", "frame-threads=1", "open-gop=0", "log-level=error"]
    params += [f"chromaloc={_CHROMA_LOCATION[color.chroma_location]}", *_vbv(options)]
    if options.crf == 0:
        params.append("lossless=1")
    if hdr is not None:
        params += [f"master-display={hdr.display_x26x}"] if hdr.has_display else []
        params += [f"max-cll={hdr.light}"] if hdr.light else []
    params += ["scenecut=0"] if options.keyint is not None else []
    chosen = {"x265-params": ":".join(params), "forced-idr": "1"}
    return chosen | ({"tune": "zerolatency"} if options.latency == "low" else {})


def _vbv(options: EncoderOptions) -> list[str]:
    """A cap on the rate for x264 and x265, in kbit/s, over two seconds."""
    if options.maxrate is None:
        return []
    return [f"vbv-maxrate={options.maxrate // 1000}", f"vbv-bufsize={options.maxrate // 500}"]


def _svt_av1(options: EncoderOptions, color: Color, hdr: Hdr | None) -> dict[str, str]:
    params = [f"lp={options.threads}"]
    params += ["pred-struct=1"] if options.latency == "low" else []
    params += [f"mbr={options.maxrate // 1000}"] if options.maxrate is not None else []
    params += [f"chroma-sample-position={_AV1_POSITION[color.chroma_location]}"]
    if hdr is not None:
        params += [f"mastering-display={hdr.display_av1}"] if hdr.has_display else []
        params += [f"content-light={hdr.light}"] if hdr.light else []
    return {"svtav1-params": ":".join(params)}


def _vpx(options: EncoderOptions, color: Color, hdr: Hdr | None) -> dict[str, str]:
    chosen = {"row-mt": "1", "b": "0", "deadline": "good"}
    chosen |= {"deadline": "realtime", "lag-in-frames": "0"} if options.latency == "low" else {}
    return chosen | ({"maxrate": str(options.maxrate)} if options.maxrate is not None else {})


def _nvenc(options: EncoderOptions, color: Color, hdr: Hdr | None) -> dict[str, str]:
    # Light levels and where chroma lies are not options of NVENC's; the container carries what it can of them.
    chosen = {"rc": "vbr", "forced-idr": "1", "strict_gop": "1"}
    chosen |= {"tune": "lossless"} if options.crf == 0 else {}
    chosen |= {"tune": "ll", "zerolatency": "1", "delay": "0", "bf": "0"} if options.latency == "low" else {}
    chosen |= {"no-scenecut": "1"} if options.keyint is not None else {}
    if options.maxrate is not None:
        chosen |= {"maxrate": str(options.maxrate), "bufsize": str(2 * options.maxrate)}
    return chosen


def _ffv1(options: EncoderOptions, color: Color, hdr: Hdr | None) -> dict[str, str]:
    return {"slicecrc": "1"}


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """One of libav's encoders and how our options are said to it.

    `pixel_formats` maps each layout of FRAMES to what libav's encoder takes; `even_sizes`: its 4:2:0 pictures have
    even sizes only. `device_format`: libav's name for pictures in a GPU's memory, of an encoder that takes those.
    """

    name: str
    private: Callable[[EncoderOptions, Color, Hdr | None], dict[str, str]]
    pixel_formats: Mapping[PixelFormat, str]
    presets: tuple[str, ...] = ()
    preset_option: str = "preset"
    preset: str | None = None
    crf: float | None = None
    crf_max: float = 0
    crf_option: str = "crf"
    even_sizes: bool = False
    device_format: str = ""

    def options(self, options: EncoderOptions, *, color: Color, hdr: Hdr | None = None) -> dict[str, str]:
        """libav's private options of this encoder."""
        crf = self.crf if options.crf is None else options.crf
        preset = self.preset if options.preset is None else str(options.preset)
        chosen = self.private(options, color, hdr)
        if preset is not None:
            chosen[self.preset_option] = preset
        if crf is not None:
            chosen[self.crf_option] = f"{crf:g}"
        return chosen


#: H.264's and HEVC's chroma_sample_loc_type.
_CHROMA_LOCATION = {"left": 0, "center": 1, "topleft": 2}

#: SVT-AV1's words; AV1 has no centre.
_AV1_POSITION = {"left": "vertical", "center": "unknown", "topleft": "colocated"}

_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_PLANAR: Mapping[PixelFormat, str] = {"nv12": "yuv420p", "p010": "yuv420p10le"}

#: Our codec name -> the encoder. Presets and crf default to what is sane for a service, not to libav's defaults.
ENCODERS: dict[str, EncoderKind] = {
    "h264": EncoderKind(
        name="libx264", private=_x264, presets=_X26X_PRESETS, preset="veryfast", crf=20, crf_max=51, even_sizes=True,
        pixel_formats={"nv12": "nv12", "p010": "yuv420p10le"},
    ),
    "hevc": EncoderKind(
        name="libx265", private=_x265, presets=_X26X_PRESETS, preset="veryfast", crf=22, crf_max=51, even_sizes=True,
        pixel_formats=_PLANAR,
    ),
    "av1": EncoderKind(
        name="libsvtav1", private=_svt_av1, presets=tuple(map(str, range(14))), preset="8", crf=30, crf_max=63,
        pixel_formats=_PLANAR,
    ),
    # The libvpx that PyAV carries codes 8 bit only.
    "vp9": EncoderKind(
        name="libvpx-vp9", private=_vpx, presets=tuple(map(str, range(9))), preset_option="cpu-used", preset="6",
        crf=31, crf_max=63, pixel_formats={"nv12": "yuv420p"},
    ),
    "ffv1": EncoderKind(name="ffv1", private=_ffv1, pixel_formats=_PLANAR),
}  # fmt: skip

_NVENC: dict[str, Any] = {
    "private": _nvenc, "presets": tuple(f"p{level}" for level in range(1, 8)), "preset": "p4", "crf_option": "cq",
    "even_sizes": True, "device_format": "cuda",
}  # fmt: skip

#: The same for the encoders of a GPU. H.264 of 10 bit few of them have.
NVENC: dict[str, EncoderKind] = {
    "h264": EncoderKind(name="h264_nvenc", crf=23, crf_max=51, pixel_formats={"nv12": "yuv420p"}, **_NVENC),
    "hevc": EncoderKind(name="hevc_nvenc", crf=25, crf_max=51, pixel_formats=_PLANAR, **_NVENC),
    "av1": EncoderKind(name="av1_nvenc", crf=30, crf_max=63, pixel_formats=_PLANAR, **_NVENC),
}
