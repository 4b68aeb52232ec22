# SPDX-License-Identifier: MIT
"""How alike two pictures are: whether a scene ends between them, whether the second only repeats the first.

# Note [A pan is no cut]
Interpolators commonly call it a cut where thumbnails of 32 x 32 have a structural similarity below 0.2. On photographs
under a window of 640 x 360 that takes a pan of 60 pixels a picture for a cut in every second case, and misses one cut
of twenty. So pictures that look different are compared once more, the second one moved to where it fits the first best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vireo_server.formats import PixelFormat
from vireo_server.side import Border
from vireo_server.wire import Pixels

_Luma = npt.NDArray[np.float32]

_THUMBNAIL = 32
#: Below it, moved or not, two pictures show different scenes.
_CUT_SSIM = 0.4
#: The side of a block, in pixels, and by how much (of 0..255) no block's mean may change from a picture to its repeat:
#: coding noise changes a block by less, a motion that is seen by more.
_LEAST_BLOCKS = 8
_BLOCK, _SAME_LEVELS = 8, 1.0


@dataclass(frozen=True, eq=False)
class Look:
    """What a picture is compared by: its luma as a 32 x 32 thumbnail and as means of 8 x 8 blocks, float32 0..255."""

    thumbnail: _Luma
    blocks: _Luma

    @classmethod
    def of(cls, frame: Pixels, *, width: int, height: int, pixel_format: PixelFormat, border: Border) -> Look:
        """The look of one row of FRAMES, `(rows, bytes) uint8`. Of a device's only the means cross the border."""
        import cv2

        deep = pixel_format == "p010"
        luma = (frame.view(np.uint16) if deep else frame)[:height, :width]
        size = (max(1, width // _BLOCK), max(1, height // _BLOCK))
        if isinstance(luma, np.ndarray):
            blocks = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        else:
            blocks = border.to_host(_means(luma, size)).astype(np.float32)
        if deep:
            blocks /= 256
        return cls(cv2.resize(blocks, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA), blocks)

    def is_cut(self, other: Look) -> bool:
        """Whether another scene begins with `other`."""
        if _ssim(self.thumbnail, other.thumbnail) >= _CUT_SSIM:
            return False
        return _ssim(*_aligned(self.blocks, other.blocks)) < _CUT_SSIM

    def repeats(self, other: Look) -> bool:
        """Whether this picture shows what `other` shows, but for noise."""
        return bool(np.abs(self.blocks - other.blocks).max() <= _SAME_LEVELS)


def _aligned(a: _Luma, b: _Luma) -> tuple[_Luma, _Luma]:
    """What two pictures share when the second is moved as phase correlation says; at most half of a side."""
    import cv2

    height, width = a.shape
    if min(a.shape) < _LEAST_BLOCKS:
        return a, b
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(a - a.mean(), b - b.mean(), window)
    x = min(max(round(right), -(width // 2)), width // 2)
    y = min(max(round(down), -(height // 2)), height // 2)
    ours = a[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    theirs = b[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
    return np.ascontiguousarray(ours), np.ascontiguousarray(theirs)


def _means(luma: Pixels, size: tuple[int, int]) -> Pixels:
    """The means of `size` equal blocks, (rows, columns) of `luma`'s dtype, rounded half to even as OpenCV's are; what
    is left over on the right and below is left out. Blocks of a picture smaller than one are the picture."""
    columns, rows = size
    height, width = max(1, luma.shape[0] // rows), max(1, luma.shape[1] // columns)
    height, width = min(height, _BLOCK) if rows > 1 else height, min(width, _BLOCK) if columns > 1 else width
    blocks = luma[: rows * height, : columns * width].reshape(rows, height, columns, width)
    sums, count = blocks.sum(axis=(1, 3), dtype=np.uint32), height * width
    means, left = sums // count, sums % count
    up = (2 * left > count) | ((2 * left == count) & (means % 2 == 1))
    return (means + up).astype(luma.dtype)


def _ssim(a: _Luma, b: _Luma) -> float:
    """The structural similarity of two pictures in 0..255: Wang and others 2004, Gaussian window of 11, sigma 1.5."""
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(similarity.mean())


def _window(values: _Luma) -> _Luma:
    import cv2

    blurred: _Luma = cv2.GaussianBlur(values, (11, 11), 1.5)
    return blurred
