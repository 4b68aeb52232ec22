# SPDX-License-Identifier: MIT
"""How a picture comes to a wanted size: stretched, by its short side, with bars, cut to the centre."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vireo_kernels.arguments import require_positive


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A picture resized to `resized_width` x `resized_height` and laid on a canvas of `width` x `height`.

    Its upper left corner comes to `left`, `top` of the canvas: negative numbers crop, positive ones leave a border.

    Raises:
        TypeError, ValueError: a size that is no integer of at least 1, or a picture that lies beside its canvas.
    """

    resized_width: int
    resized_height: int
    left: int
    top: int
    width: int
    height: int

    def __post_init__(self) -> None:
        for name in ("resized_width", "resized_height", "width", "height"):
            require_positive("Fit", name, getattr(self, name))
        inside = -self.resized_width < self.left < self.width and -self.resized_height < self.top < self.height
        if not inside:
            raise ValueError(
                f"Fit: left {self.left!r}, top {self.top!r} put the resized picture "
                f"({self.resized_width} x {self.resized_height}) beside its canvas ({self.width} x {self.height}); "
                "they must leave at least one sample on it"
            )

    def center_crop(self, *, width: int, height: int) -> Fit:
        """The middle `width` x `height` of the canvas (odd rests: half to even, as torchvision rounds).

        Raises:
            ValueError: the canvas is smaller than that.
        """
        require_positive("Fit.center_crop", "width", width)
        require_positive("Fit.center_crop", "height", height)
        if width > self.width or height > self.height:
            raise ValueError(
                f"Fit.center_crop: width {width!r} x height {height!r} is more than the canvas ({self.width} x "
                f"{self.height}); resize to at least that size first"
            )
        left, top = round((self.width - width) / 2), round((self.height - height) / 2)
        return replace(self, left=self.left - left, top=self.top - top, width=width, height=height)


def fit_exact(*, width: int, height: int) -> Fit:
    """Stretched to exactly `width` x `height`, whatever the aspect ratio."""
    return Fit(resized_width=width, resized_height=height, left=0, top=0, width=width, height=height)


def fit_short_side(source_width: int, source_height: int, *, short_side: int) -> Fit:
    """The shorter side becomes `short_side`; the longer one keeps the aspect ratio, rounded down as in torchvision."""
    for name, value in (("source_width", source_width), ("source_height", source_height), ("short_side", short_side)):
        require_positive("fit_short_side", name, value)
    if source_width <= source_height:
        return fit_exact(width=short_side, height=short_side * source_height // source_width)
    return fit_exact(width=short_side * source_width // source_height, height=short_side)


def fit_letterbox(source_width: int, source_height: int, *, width: int, height: int) -> Fit:
    """As large as goes into `width` x `height` with its aspect ratio, in the middle, bars around it.

    Sides are rounded half up and are at least 1; of an odd rest the smaller half lies left and above.
    """
    for name, value in (("source_width", source_width), ("source_height", source_height)):
        require_positive("fit_letterbox", name, value)
    require_positive("fit_letterbox", "width", width)
    require_positive("fit_letterbox", "height", height)
    if source_width * height >= source_height * width:
        inner_width, inner_height = width, (2 * source_height * width + source_width) // (2 * source_width)
    else:
        inner_width, inner_height = (2 * source_width * height + source_height) // (2 * source_height), height
    inner_width, inner_height = max(inner_width, 1), max(inner_height, 1)
    return Fit(
        resized_width=inner_width,
        resized_height=inner_height,
        left=(width - inner_width) // 2,
        top=(height - inner_height) // 2,
        width=width,
        height=height,
    )
