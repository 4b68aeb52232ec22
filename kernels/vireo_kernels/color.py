# SPDX-License-Identifier: MIT
"""YUV frames to RGB and back, exactly: one rounding, at the end, the same in every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from vireo_kernels.arguments import Array, require_array, require_choice
from vireo_kernels.coefficients import ChromaLocation, ColorRange, Matrix
from vireo_kernels.devices import adopt, result_array
from vireo_kernels.layout import BITS, PixelFormat, frames_shape, require_frames

Layout = Literal["planar", "interleaved"]
RgbType = Literal["uint8", "uint16", "float16", "float32"]

FFMPEG_MATRICES: dict[str, Matrix] = {
    "smpte170m": "bt601",
    "bt470bg": "bt601",
    "bt709": "bt709",
    "bt2020nc": "bt2020nc",
    "smpte240m": "smpte240m",
    "fcc": "fcc",
}
"""FFmpeg's name of a matrix to ours; others (ycgco, bt2020c, ictcp, ...) are not supported."""
FFMPEG_RANGES: dict[str, ColorRange] = {"tv": "limited", "pc": "full"}
"""FFmpeg's name of a range to ours."""


@dataclass(frozen=True, kw_only=True)
class ColorSpec:
    """How the codes of a YUV picture are to be read.

    `matrix`: bt601, bt709, bt2020nc (non-constant luminance), smpte240m or fcc. `color_range`: limited (16..235 at 8
    bit) or full. `chroma_location`: where chroma lies; left (H.264, HEVC and MPEG-2 where not signalled), center (JPEG,
    MPEG-1) or topleft (UHD HDR; AV1's colocated).

    Raises:
        ValueError: an unknown value.
    """

    matrix: Matrix
    color_range: ColorRange
    chroma_location: ChromaLocation = "left"

    def __post_init__(self) -> None:
        require_choice("ColorSpec", "matrix", self.matrix, get_args(Matrix))
        require_choice("ColorSpec", "color_range", self.color_range, get_args(ColorRange))
        require_choice("ColorSpec", "chroma_location", self.chroma_location, get_args(ChromaLocation))

    @classmethod
    def from_ffmpeg(cls, *, matrix: str, color_range: str, chroma_location: str) -> ColorSpec:
        """From FFmpeg's names (`smpte170m`, `bt709`, ...; `tv`, `pc`; `left`, ...), as STREAM and FORMAT carry them.

        An untagged stream has no name: which one to take is decided once, in decode, not here.

        Raises:
            ValueError: a name these kernels do not convert; the message lists those they do.
        """
        require_choice("ColorSpec.from_ffmpeg", "matrix", matrix, FFMPEG_MATRICES)
        require_choice("ColorSpec.from_ffmpeg", "color_range", color_range, FFMPEG_RANGES)
        require_choice("ColorSpec.from_ffmpeg", "chroma_location", chroma_location, get_args(ChromaLocation))
        return cls(
            matrix=FFMPEG_MATRICES[matrix],
            color_range=FFMPEG_RANGES[color_range],
            chroma_location=chroma_location,  # type: ignore[arg-type]  # checked above
        )


def rgb_shape(count: int, *, width: int, height: int, layout: Layout) -> tuple[int, int, int, int]:
    """`(T, 3, H, W)` for planar, `(T, H, W, 3)` for interleaved."""
    return (count, 3, height, width) if layout == "planar" else (count, height, width, 3)


def require_color(function: str, color: object) -> None:
    """Raise TypeError unless `color` is a ColorSpec."""
    if not isinstance(color, ColorSpec):
        raise TypeError(f"{function}: color is {color!r}; it must be a ColorSpec(matrix=..., color_range=...)")


def frames_to_rgb(
    frames: Array,
    *,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout = "planar",
    dtype: RgbType = "uint8",
    out: Array | None = None,
) -> Array:
    """Convert FRAMES to R'G'B' (not linear: the picture's own transfer function stays).

    Chroma is interpolated bilinearly from where it was sampled, edges repeated; nothing is rounded in between; values
    outside 0..1 are clipped.

    Args:
        frames: `(T, H + ceil(H/2), 2 ceil(W/2) B) uint8`, C-contiguous (see `layout`).
        width: of the picture, in luma samples, at least 1; may be odd.
        height: of the picture, in rows, at least 1; may be odd.
        pixel_format: `nv12` or `p010`.
        color: matrix, range and chroma location of the frames.
        layout: `planar` (T, 3, H, W) or `interleaved` (T, H, W, 3).
        dtype: `uint8` is round(255 R'), `uint16` is round(65535 R'), half up; `float32` is the uint16 value / 65535 and
            `float16` that, rounded once.
        out: the result's array, C-contiguous; made if not given.

    Returns:
        `(T, 3, H, W)` or `(T, H, W, 3)` of `dtype`, red first; `out` if that was given.

    Raises:
        TypeError: an array of another dtype or kind.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    function = "frames_to_rgb"
    device, (frames, given) = adopt(function, frames=frames, out=out)
    require_frames(function, "frames", frames, width=width, height=height, pixel_format=pixel_format)
    require_color(function, color)
    require_choice(function, "layout", layout, get_args(Layout))
    require_choice(function, "dtype", dtype, get_args(RgbType))
    shape = rgb_shape(frames.shape[0], width=width, height=height, layout=layout)
    result = result_array(function, device, given, dtype, shape)
    device.run(
        "frames_to_rgb",
        "frames_to_rgb",
        frames,
        width=width,
        height=height,
        pixel_format=pixel_format,
        color=color,
        layout=layout,
        out=result,
    )
    return result if out is None else out


def rgb_to_frames(
    rgb: Array,
    *,
    pixel_format: PixelFormat,
    color: ColorSpec,
    layout: Layout = "planar",
    dither: bool = False,
    out: Array | None = None,
) -> Array:
    """Convert R'G'B' to FRAMES; the matching opposite of `frames_to_rgb`.

    Chroma is averaged around where it is sampled ([1 2 1] on an axis where it lies on a luma sample, [1 1] where it
    lies between two; edges repeated) and rounded once, half up.

    Args:
        rgb: `(T, 3, H, W)` or `(T, H, W, 3)`, red first, C-contiguous; uint8 (0..255), uint16 (0..65535), or float16
            and float32 (0..1; values outside are clipped, NaN is 0; taken as 16-bit codes, round(65535 x)).
        pixel_format: `nv12` or `p010`.
        color: matrix, range and chroma location to write.
        layout: of `rgb`.
        dither: round by an ordered 8 x 8 pattern (the same in each picture) instead of half up, so that smooth
        gradients
            show no bands; uint8 then counts as uint16 of 257 times its code.
        out: the result's array, C-contiguous; made if not given.

    Returns:
        FRAMES, `(T, H + ceil(H/2), 2 ceil(W/2) B) uint8`; `out` if that was given.

    Raises:
        TypeError: an array of another dtype or kind.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    function = "rgb_to_frames"
    device, (rgb, given) = adopt(function, rgb=rgb, out=out)
    require_choice(function, "pixel_format", pixel_format, BITS)
    require_color(function, color)
    require_choice(function, "layout", layout, get_args(Layout))
    wanted: tuple[int | str, ...] = ("T", 3, "H", "W") if layout == "planar" else ("T", "H", "W", 3)
    require_array(function, "rgb", rgb, dtypes=get_args(RgbType), shape=wanted)
    height, width = rgb.shape[2:] if layout == "planar" else rgb.shape[1:3]
    shape = frames_shape(rgb.shape[0], width=width, height=height, pixel_format=pixel_format)
    result = result_array(function, device, given, "uint8", shape)
    device.run(
        "rgb_to_frames",
        "rgb_to_frames",
        rgb,
        width=width,
        height=height,
        pixel_format=pixel_format,
        color=color,
        layout=layout,
        dither=dither,
        out=result,
    )
    return result if out is None else out
