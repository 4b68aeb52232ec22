# SPDX-License-Identifier: MIT
"""Frames to the pictures that a network or a script is given: size, channels, and which way is up."""

from __future__ import annotations

from typing import Any

from vireo_kernels.color import RgbType, frames_to_rgb
from vireo_kernels.devices import device_of
from vireo_kernels.fit import Fit, fit_exact, fit_letterbox
from vireo_kernels.network_input import frames_to_input
from vireo_kernels.resize import resize_image

from vireo_server.formats import Format
from vireo_server.settings import PreprocessSettings
from vireo_server.tags import color_spec
from vireo_server.wire import Pixels


def make_pictures(frames: Pixels, format: Format, settings: PreprocessSettings) -> Pixels:
    """FRAMES `(T, rows, bytes) uint8` to `(T, C, H, W)`, or `(T, H, W, C)` with the layout `interleaved`; uint8, or
    uint16 by the setting `bits`. On the side where the frames lie.
    """
    xp = device_of("make_pictures", "frames", frames).xp
    fit = _fit(format, settings)
    if settings.channels == "luma":
        pictures = xp.ascontiguousarray(_luma(frames, format))
        if fit is not None:
            pictures = resize_image(
                pictures, fit=fit, filter_name=settings.filter, antialias=settings.antialias == "on"
            )
    else:
        source: dict[str, Any] = {"width": format.width, "height": format.height, "pixel_format": format.pixel_format}
        color = color_spec(format.color, stage="preprocess")
        if fit is None:
            dtype: RgbType = "uint16" if settings.bits == 16 else "uint8"
            pictures = frames_to_rgb(
                frames,
                **source,
                color=color,
                layout=settings.layout,
                dtype=dtype,
            )
        else:
            pictures = frames_to_input(
                frames,
                **source,
                color=color,
                fit=fit,
                filter_name=settings.filter,
                antialias=settings.antialias == "on",
                layout=settings.layout,
            )
    if turns := quarter_turns(format, settings):
        axes = (-2, -1) if settings.layout == "planar" else (1, 2)
        pictures = xp.ascontiguousarray(xp.rot90(pictures, turns, axes=axes))
    return pictures


def quarter_turns(format: Format, settings: PreprocessSettings) -> int:
    """How often pictures are turned counter-clockwise by 90 degrees."""
    return round(format.rotation / 90) % 4 if settings.rotation == "upright" else 0


def picture_size(format: Format, settings: PreprocessSettings) -> tuple[int, int]:
    """Width and height of the pictures that `make_pictures` makes."""
    if settings.size:
        return _wanted(settings)
    if quarter_turns(format, settings) % 2:
        return format.height, format.width
    return format.width, format.height


def _wanted(settings: PreprocessSettings) -> tuple[int, int]:
    width, height = settings.size.split("x")
    return int(width), int(height)


def _fit(format: Format, settings: PreprocessSettings) -> Fit | None:
    """How the picture as it is coded comes to its size; it is turned afterwards, when it is small."""
    if not settings.size:
        return None
    width, height = _wanted(settings)
    if quarter_turns(format, settings) % 2:
        width, height = height, width
    if settings.fit == "stretch":
        return fit_exact(width=width, height=height)
    if settings.fit == "letterbox":
        return fit_letterbox(format.width, format.height, width=width, height=height)
    # The side that has less to spare fits; of the other one the middle is kept.
    if format.width * height >= format.height * width:
        covering = fit_exact(width=max(width, format.width * height // format.height), height=height)
    else:
        covering = fit_exact(width=width, height=max(height, format.height * width // format.width))
    return covering.center_crop(width=width, height=height)


def _luma(frames: Pixels, format: Format) -> Pixels:
    """The codes of Y', (T, 1, H, W); the upper 8 bits of 10."""
    rows = frames[:, : format.height]
    if format.pixel_format == "p010":
        rows = rows[:, :, 1 : 2 * format.width : 2]  # little endian, 10 bits in the upper ones
    return rows[:, None, :, : format.width]
