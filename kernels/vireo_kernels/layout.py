# SPDX-License-Identifier: MIT
"""The FRAMES layout, and decoded planes into it and out of it.

FRAMES is `(T, H + ceil(H/2), 2 ceil(W/2) B) uint8`, C-contiguous, B bytes a sample: H rows of luma, then ceil(H/2) rows
of interleaved U and V. `nv12` has one byte a sample; `p010` two, little-endian, the 10-bit code in the upper bits
(code << 6). Where W is odd a luma row ends in one padding sample, which is written as a copy of the last one and never
read.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vireo_kernels.arguments import Array, describe, require_array, require_choice, require_positive, require_writable
from vireo_kernels.devices import adopt

PixelFormat = Literal["nv12", "p010"]
BITS: dict[str, int] = {"nv12": 8, "p010": 10}


def frames_shape(count: int, *, width: int, height: int, pixel_format: PixelFormat) -> tuple[int, int, int]:
    """The shape of FRAMES for `count` pictures: `(T, H + ceil(H/2), 2 ceil(W/2) B)` in bytes."""
    require_choice("frames_shape", "pixel_format", pixel_format, BITS)
    require_positive("frames_shape", "width", width)
    require_positive("frames_shape", "height", height)
    return count, height + (height + 1) // 2, 2 * ((width + 1) // 2) * (1 if pixel_format == "nv12" else 2)


def words_of(frames: Array, pixel_format: PixelFormat) -> Array:
    """FRAMES as samples: `(T, rows, 2 ceil(W/2))` uint8 or uint16, a view."""
    return frames if pixel_format == "nv12" else frames.view(np.uint16)


def require_frames(
    function: str, name: str, frames: Array, *, width: int, height: int, pixel_format: PixelFormat
) -> None:
    """Raise unless `frames` is FRAMES of this size and format."""
    require_choice(function, "pixel_format", pixel_format, BITS)
    require_positive(function, "width", width)
    require_positive(function, "height", height)
    _, rows, row_bytes = frames_shape(1, width=width, height=height, pixel_format=pixel_format)
    require_array(function, name, frames, dtypes=("uint8",), shape=("T", rows, row_bytes))
    address = frames.ctypes.data if isinstance(frames, np.ndarray) else frames.data.ptr
    if pixel_format == "p010" and address % 2:
        raise ValueError(
            f"{function}: {name} {describe(frames)} begins at an odd address; samples of p010 have two bytes: "
            "pass an array that begins at an even one, such as a copy"
        )


def surface_to_frames(luma: Array, chroma: Array, *, out: Array) -> None:
    """Copy a decoder's surface, NV12 or P010 in two planes with pitches, into one picture of FRAMES.

    Args:
        luma: `(H, W)` uint8 (NV12) or uint16 (P010); rows may have a pitch, samples of a row must be adjacent.
        chroma: `(ceil(H/2), 2 ceil(W/2))`, U and V interleaved, dtype of `luma`; likewise.
        out: `(H + ceil(H/2), 2 ceil(W/2) B) uint8`, C-contiguous: `frames[t]`.

    Raises:
        TypeError: another dtype.
        ValueError: shapes that do not belong together, or samples of a row that are not adjacent.
    """
    function = "surface_to_frames"
    device, (luma, chroma, out) = adopt(function, luma=luma, chroma=chroma, out=out)
    require_array(function, "luma", luma, dtypes=("uint8", "uint16"), shape=("H", "W"), contiguous=False)
    height, width = luma.shape
    rows, columns, size = (height + 1) // 2, 2 * ((width + 1) // 2), luma.dtype.itemsize
    require_array(function, "chroma", chroma, dtypes=(str(luma.dtype),), shape=(rows, columns), contiguous=False)
    _require_rows(function, luma=luma, chroma=chroma)
    require_array(function, "out", out, dtypes=("uint8",), shape=(height + rows, columns * size))
    require_writable(function, "out", out)
    device.run("layout", "surface_to_frames", luma, chroma, out=out)


def _require_rows(function: str, **planes: Array) -> None:
    """Raise unless the samples of each row are adjacent and rows begin whole samples apart."""
    for name, plane in planes.items():
        row_pitch, step = plane.strides
        size = plane.dtype.itemsize
        if step != size or row_pitch % size or row_pitch < plane.shape[1] * size:
            raise ValueError(
                f"{function}: {name} {describe(plane)} has strides {tuple(plane.strides)}; the samples of a row must "
                "be adjacent and each row must begin a whole number of samples after the one before"
            )


def _require_planes(function: str, y: Array, u: Array, v: Array, name_of_frame: str, frame: Array) -> None:
    """Raise unless three planes of YUV 4:2:0 and one picture of FRAMES belong together, all of them on the host."""
    for name, array in (("y", y), ("u", u), ("v", v), (name_of_frame, frame)):
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"{function}: {name} is a {type(array).__name__}; it must be a numpy array (a decoder's surface on a "
                "GPU has two planes: surface_to_frames)"
            )
    require_array(function, "y", y, dtypes=("uint8", "uint16"), shape=("H", "W"), contiguous=False)
    height, width = y.shape
    chroma = ((height + 1) // 2, (width + 1) // 2)
    for name, plane in (("u", u), ("v", v)):
        require_array(function, name, plane, dtypes=(str(y.dtype),), shape=chroma, contiguous=False)
    _require_rows(function, y=y, u=u, v=v)
    require_array(
        function, name_of_frame, frame, dtypes=("uint8",), shape=(height + chroma[0], 2 * chroma[1] * y.itemsize)
    )


def planes_to_frames(
    y: npt.NDArray[Any], u: npt.NDArray[Any], v: npt.NDArray[Any], *, out: npt.NDArray[np.uint8]
) -> None:
    """Interleave one decoded picture of planar YUV 4:2:0 into one picture of FRAMES; for a software decoder.

    Args:
        y: `(H, W)`; uint8 (yuv420p: NV12 comes out) or uint16 (yuv420p10le, low-aligned 10-bit codes: P010 comes out).
        u: `(ceil(H/2), ceil(W/2))`, dtype of `y`. Rows may have a pitch; samples of a row must be adjacent.
        v: like `u`.
        out: `(H + ceil(H/2), 2 ceil(W/2) B) uint8`, C-contiguous: `frames[t]`.

    Raises:
        TypeError: another dtype.
        ValueError: shapes that do not belong together, or samples of a row that are not adjacent.
    """
    _require_planes("planes_to_frames", y, u, v, "out", out)
    require_writable("planes_to_frames", "out", out)
    from vireo_kernels.cpu import layout as cpu

    cpu.merge(y, u, v, words=out.view(y.dtype))


def frames_to_planes(
    frame: npt.NDArray[np.uint8], *, y: npt.NDArray[Any], u: npt.NDArray[Any], v: npt.NDArray[Any]
) -> None:
    """The opposite of `planes_to_frames`, into the planes of a picture for a software encoder; these are written."""
    _require_planes("frames_to_planes", y, u, v, "frame", frame)
    for name, plane in (("y", y), ("u", u), ("v", v)):
        require_writable("frames_to_planes", name, plane)
    from vireo_kernels.cpu import layout as cpu

    cpu.split(frame.view(y.dtype), y, u, v)
