# SPDX-License-Identifier: MIT
"""The encoders we offer, and how a caller's choices are said to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vireo_media.encoder_options import EncoderOptions

from vireo_server.formats import Color, PixelFormat
from vireo_server.hdr import Hdr

Size = tuple[int, int]
"""Width and height of what is coded."""


def _x264(options: EncoderOptions, color: Color, hdr: Hdr | None, size: Size) -> dict[str, str]:
    # Note [Same bytes from x264]
    # With its SIMD code x264's macroblock tree depends on memory that nobody wrote: one run in eight of the same
    # pictures gave other bytes. `cpu-independent` takes the exact code there; the result is also the same on every
    # CPU.
    params = [f"threads={options.threads}", "open-gop=0", "cpu-independent=1"]
    params.append(f"chromaloc={_CHROMA_LOCATION[color.chroma_location]}")
    if hdr is not None:
        params += [f"mastering-display={hdr.display_x26x}"] if hdr.has_display else []
        params += [f"cll={hdr.light}"] if hdr.light else []
    params += ["qp=0"] if options.crf == 0 else []  # Of 10 bit crf 0 is not lossless.
    params += ["scenecut=0"] if options.keyint is not None else []
    chosen = {"x264-params": ":".join(params + _vbv(options)), "forced-idr": "1"}
    return chosen | ({"tune": "zerolatency"} if options.latency == "low" else {})


def _x265(options: EncoderOptions, color: Color, hdr: Hdr | None, size: Size) -> dict[str, str]:
    # One frame thread, because their number changes the bytes, and x265 takes it from the number of cores.
    params = [f"pools={options.threads}", "frame-threads=1", "open-gop=0", "log-level=error"]
    params += [f"chromaloc={_CHROMA_LOCATION[color.chroma_location]}", *_vbv(options)]
    if options.crf == 0:
        params.append("lossless=1")
    if hdr is not None:
        params += [f"master-display={hdr.display_x26x}"] if hdr.has_display else []
        params += [f"max-cll={hdr.light}"] if hdr.light else []
    params += ["scenecut=0"] if options.keyint is not None else []
    # In pictures of up to three blocks a row x265's macroblock tree writes behind its buffers: the process dies.
    params += ["cutree=0"] if size[0] <= 48 else []
    chosen = {"x265-params": ":".join(params), "forced-idr": "1"}
    return chosen | ({"tune": "zerolatency"} if options.latency == "low" else {})


def _vbv(options: EncoderOptions) -> list[str]:
    """A cap on the rate for x264 and x265, in kbit/s, over two seconds."""
    if options.maxrate is None:
        return []
    return [f"vbv-maxrate={options.maxrate // 1000}", f"vbv-bufsize={options.maxrate // 500}"]


def _svt_av1(options: EncoderOptions, color: Color, hdr: Hdr | None, size: Size) -> dict[str, str]:
    # With more threads SVT-AV1 never comes to an end of pictures such as 128x16.
    params = [f"lp={options.threads if min(size) >= 64 else 1}"]
    params += ["pred-struct=1"] if options.latency == "low" else []
    params += [f"mbr={options.maxrate // 1000}"] if options.maxrate is not None else []
    params += [f"chroma-sample-position={_AV1_POSITION[color.chroma_location]}"]
    if hdr is not None:
        params += [f"mastering-display={hdr.display_av1}"] if hdr.has_display else []
        params += [f"content-light={hdr.light}"] if hdr.light else []
    return {"svtav1-params": ":".join(params)}


def _vpx(options: EncoderOptions, color: Color, hdr: Hdr | None, size: Size) -> dict[str, str]:
    chosen = {"row-mt": "1", "b": "0", "deadline": "good"}
    chosen |= {"deadline": "realtime", "lag-in-frames": "0"} if options.latency == "low" else {}
    # libvpx's name for a cap on the rate of constant quality.
    return chosen | ({"b": str(options.maxrate)} if options.maxrate is not None else {})


def _nvenc(options: EncoderOptions, color: Color, hdr: Hdr | None, size: Size) -> dict[str, str]:
    # Light levels and where chroma lies are not options of NVENC's; the container carries what it can of them.
    chosen = {"rc": "vbr", "forced-idr": "1", "strict_gop": "1"}
    chosen |= {"tune": "ll", "zerolatency": "1", "delay": "0", "bf": "0"} if options.latency == "low" else {}
    chosen |= {"tune": "lossless"} if options.crf == 0 else {}
    chosen |= {"no-scenecut": "1"} if options.keyint is not None else {}
    if options.maxrate is not None:
        chosen |= {"maxrate": str(options.maxrate), "bufsize": str(2 * options.maxrate)}
    return chosen


def _ffv1(options: EncoderOptions, color: Color, hdr: Hdr | None, size: Size) -> dict[str, str]:
    return {"slicecrc": "1"}


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """One of libav's encoders and how our options are said to it.

    `pixel_formats` maps each layout of FRAMES to what libav's encoder takes; `even_sizes`: its 4:2:0 pictures have
    even sizes only. `device_format`: libav's name for pictures in a GPU's memory, of an encoder that takes those.
    """

    name: str
    private: Callable[[EncoderOptions, Color, Hdr | None, Size], dict[str, str]]
    pixel_formats: Mapping[PixelFormat, str]
    preset_option: str = "preset"
    preset: str | None = None
    crf: float | None = None
    crf_option: str = "crf"
    even_sizes: bool = False
    device_format: str = ""

    def options(self, options: EncoderOptions, *, color: Color, size: Size, hdr: Hdr | None = None) -> dict[str, str]:
        """libav's private options of this encoder, for pictures of width x height."""
        crf = self.crf if options.crf is None else options.crf
        preset = self.preset if options.preset is None else str(options.preset)
        chosen = self.private(options, color, hdr, size)
        if preset is not None:
            chosen[self.preset_option] = preset
        if crf is not None:
            chosen[self.crf_option] = f"{crf:g}"
        return chosen


#: H.264's and HEVC's chroma_sample_loc_type.
_CHROMA_LOCATION = {"left": 0, "center": 1, "topleft": 2}

#: SVT-AV1's words; AV1 has no centre.
_AV1_POSITION = {"left": "vertical", "center": "unknown", "topleft": "colocated"}

_PLANAR: Mapping[PixelFormat, str] = {"nv12": "yuv420p", "p010": "yuv420p10le"}

#: Our codec name -> the encoder. Presets and crf default to what is sane for a service, not to libav's defaults.
ENCODERS: dict[str, EncoderKind] = {
    "h264": EncoderKind(
        name="libx264", private=_x264, preset="veryfast", crf=20, even_sizes=True,
        pixel_formats={"nv12": "nv12", "p010": "yuv420p10le"},
    ),
    "hevc": EncoderKind(
        name="libx265", private=_x265, preset="veryfast", crf=22, even_sizes=True,
        pixel_formats=_PLANAR,
    ),
    "av1": EncoderKind(
        name="libsvtav1", private=_svt_av1, preset="8", crf=30, pixel_formats=_PLANAR,
    ),
    "vp9": EncoderKind(
        name="libvpx-vp9", private=_vpx, preset_option="cpu-used", preset="6", crf=31,
        pixel_formats={"nv12": "yuv420p"},
    ),
    "ffv1": EncoderKind(name="ffv1", private=_ffv1, pixel_formats=_PLANAR),
}  # fmt: skip

_NVENC: dict[str, Any] = {
    "private": _nvenc, "preset": "p4", "crf_option": "cq", "even_sizes": True, "device_format": "cuda",
}  # fmt: skip

#: The same for the encoders of a GPU.
NVENC: dict[str, EncoderKind] = {
    "h264": EncoderKind(name="h264_nvenc", crf=23, pixel_formats={"nv12": "yuv420p"}, **_NVENC),
    "hevc": EncoderKind(name="hevc_nvenc", crf=25, pixel_formats=_PLANAR, **_NVENC),
    "av1": EncoderKind(name="av1_nvenc", crf=30, pixel_formats=_PLANAR, **_NVENC),
}


def encoder_kind(options: EncoderOptions) -> EncoderKind:
    """The encoder that was chosen."""
    return (NVENC if options.nvenc == "on" else ENCODERS)[options.codec]
