# SPDX-License-Identifier: MIT
"""Resizing, the same in training and serving: the family is part of the call, the bits are the same everywhere."""

from __future__ import annotations

from typing import get_args

import numpy as np

from vireo_kernels.arguments import Array, require_array, require_choice
from vireo_kernels.color import Layout
from vireo_kernels.devices import adopt, result_array
from vireo_kernels.filters import FILTERS, Filter
from vireo_kernels.fit import Fit


def require_filter(function: str, filter_name: object, antialias: object) -> None:
    """Raise unless this filter exists in this family."""
    require_choice(function, "filter_name", filter_name, FILTERS)
    if not isinstance(antialias, bool):
        raise TypeError(f"{function}: antialias is {antialias!r}; it must be True (as Pillow) or False (as OpenCV)")
    if filter_name == "area" and not antialias:
        raise ValueError(
            f"{function}: antialias is False; the area filter is antialiased by nature, pass antialias=True"
        )


def require_fit(function: str, fit: object) -> None:
    """Raise TypeError unless `fit` is a Fit."""
    if not isinstance(fit, Fit):
        raise TypeError(
            f"{function}: fit is {fit!r}; it must be a Fit, made by fit_exact, fit_short_side or fit_letterbox"
        )


def require_fill(function: str, fill: object, dtype: str) -> None:
    """Raise ValueError unless `fill` is a code of `dtype`."""
    top = 255 if dtype == "uint8" else 65535
    if not isinstance(fill, (int, np.integer)) or isinstance(fill, bool) or not 0 <= fill <= top:
        raise ValueError(f"{function}: fill is {fill!r}; it must be an integer of 0 to {top} for {dtype}")


def resize_image(
    image: Array,
    *,
    fit: Fit,
    filter_name: Filter,
    antialias: bool,
    layout: Layout = "planar",
    fill: int = 0,
    out: Array | None = None,
) -> Array:
    """Resize pictures and lay them on their canvas.

    Args:
        image: `(T, C, H, W)` or `(T, H, W, C)`, uint8 or uint16, C-contiguous, any number of channels.
        fit: the size, and what is cropped or added; see `vireo_kernels.fit`.
        filter_name: `bilinear`, `bicubic`, `lanczos` or `area`.
        antialias: True for the family of Pillow and of torch with `antialias=True` (equal to Pillow, bit for bit,
            where the result is not cropped), False for that of OpenCV and of torch by default; see
            `vireo_kernels.filters`.
        layout: of `image` and of the result.
        fill: the samples around the picture where `fit` leaves a border.
        out: the result's array, C-contiguous; made if not given.

    Returns:
        `(T, C, fit.height, fit.width)` or `(T, fit.height, fit.width, C)`, dtype of `image`; `out` if that was given.

    Raises:
        TypeError: an array of another dtype or kind, or `antialias` not given as a bool.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    function = "resize_image"
    device, (image, given) = adopt(function, image=image, out=out)
    require_choice(function, "layout", layout, get_args(Layout))
    names = ("T", "C", "H", "W") if layout == "planar" else ("T", "H", "W", "C")
    require_array(function, "image", image, dtypes=("uint8", "uint16"), shape=names)
    require_filter(function, filter_name, antialias)
    require_fit(function, fit)
    require_fill(function, fill, str(image.dtype))
    if layout == "planar":
        shape = (image.shape[0], image.shape[1], fit.height, fit.width)
    else:
        shape = (image.shape[0], fit.height, fit.width, image.shape[3])
    result = result_array(function, device, given, str(image.dtype), shape)
    device.run(
        "resize",
        "resize_image",
        image,
        fit=fit,
        filter_name=filter_name,
        antialias=antialias,
        layout=layout,
        fill=int(fill),
        out=result,
    )
    return result if out is None else out
