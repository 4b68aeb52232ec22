# SPDX-License-Identifier: MIT
"""Padding a picture to a multiple that a network needs, and cropping its result back."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args

from vireo_kernels.arguments import Array, describe, require_array, require_choice, require_positive
from vireo_kernels.color import Layout
from vireo_kernels.devices import adopt, result_array

DTYPES = ("uint8", "uint16", "float16", "float32")


@dataclass(frozen=True, kw_only=True)
class Pad:
    """Samples added on each side; FORMAT's `pad` in its order: left, top, right, bottom.

    Raises:
        ValueError: a number that is no integer of at least 0.
    """

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"Pad: {field.name} is {value!r}; it must be an integer of at least 0")

    def scaled(self, factor: int) -> Pad:
        """The same border after a network that enlarges by `factor`."""
        require_positive("Pad.scaled", "factor", factor)
        return Pad(
            left=self.left * factor, top=self.top * factor, right=self.right * factor, bottom=self.bottom * factor
        )


def pad_to_multiple(width: int, height: int, *, multiple: int) -> Pad:
    """The border that makes both sides multiples of `multiple`; to the right and below, so that positions stay."""
    for name, value in (("width", width), ("height", height), ("multiple", multiple)):
        require_positive("pad_to_multiple", name, value)
    return Pad(right=-width % multiple, bottom=-height % multiple)


def _require_image(function: str, image: Array, layout: str) -> tuple[int, int]:
    require_choice(function, "layout", layout, get_args(Layout))
    names = ("T", "C", "H", "W") if layout == "planar" else ("T", "H", "W", "C")
    require_array(function, "image", image, dtypes=DTYPES, shape=names)
    rows, columns = (2, 3) if layout == "planar" else (1, 2)
    return rows, columns


def pad_image(image: Array, *, pad: Pad, layout: Layout = "planar", out: Array | None = None) -> Array:
    """Add a border that repeats the edge samples.

    Args:
        image: `(T, C, H, W)` or `(T, H, W, C)`, uint8, uint16, float16 or float32, C-contiguous.
        pad: samples added on each side.
        layout: of `image`.
        out: the result's array, C-contiguous; made if not given.

    Returns:
        The larger picture, of the same dtype; `out` if that was given.

    Raises:
        TypeError: an array of another dtype or kind.
        ValueError: a shape or choice that is not allowed, or an array that is not contiguous.
    """
    device, (image, given) = adopt("pad_image", image=image, out=out)
    rows, columns = _require_image("pad_image", image, layout)
    height, width = image.shape[rows], image.shape[columns]
    shape = list(image.shape)
    shape[rows] += pad.top + pad.bottom
    shape[columns] += pad.left + pad.right
    result = result_array("pad_image", device, given, str(image.dtype), tuple(shape))
    # Rows and columns as the first axes of views, for either layout.
    order = (rows, columns, *(axis for axis in range(4) if axis not in (rows, columns)))
    source, target = image.transpose(order), result.transpose(order)
    inner = target[pad.top : pad.top + height]
    inner[:, pad.left : pad.left + width] = source
    inner[:, : pad.left] = inner[:, pad.left : pad.left + 1]
    inner[:, pad.left + width :] = inner[:, pad.left + width - 1 : pad.left + width]
    target[: pad.top] = inner[:1]
    target[pad.top + height :] = inner[height - 1 :]
    return result if out is None else out


def crop_image(image: Array, *, pad: Pad, layout: Layout = "planar") -> Array:
    """What lies inside the border: a view of `image`, not contiguous.

    Raises:
        TypeError: an array of another dtype or kind.
        ValueError: the border leaves nothing, or as for `pad_image`.
    """
    _, (image,) = adopt("crop_image", image=image)
    rows, columns = _require_image("crop_image", image, layout)
    height, width = image.shape[rows], image.shape[columns]
    if pad.top + pad.bottom >= height or pad.left + pad.right >= width:
        raise ValueError(f"crop_image: pad is {pad!r}, which leaves nothing of {describe(image)}; it must be smaller")
    inside = (slice(pad.top, height - pad.bottom), slice(pad.left, width - pad.right))
    return image[:, :, inside[0], inside[1]] if layout == "planar" else image[:, inside[0], inside[1]]
