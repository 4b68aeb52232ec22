# SPDX-License-Identifier: MIT
"""What happens to a picture before a super-resolution network sees it: halved, then compressed with H.264 and decoded.

Colour goes through BT.709 limited 4:2:0 with left-sited chroma both ways, by the same functions as in the served chain,
so the network learns the very pixels it will get.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image
from vireo_kernels import ColorSpec, frames_to_rgb, planes_to_frames, rgb_to_frames

__all__ = [
    "BT709",
    "Compression",
    "Shrink",
    "compress",
    "crop_path",
    "halve",
    "rgb_from_frame",
    "x264_repeatable",
]

Shrink = Literal["bicubic", "bilinear", "area"]

_FILTERS: dict[Shrink, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
}

BT709 = ColorSpec(matrix="bt709", color_range="limited", chroma_location="left")


@dataclass(frozen=True)
class Compression:
    """How a clip is compressed: x264's constant rate factor (0..51, 18 is mild) and preset."""

    crf: int
    preset: str = "medium"

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ValueError(f"compression: crf {self.crf!r} is outside 0..51; x264's default is 23, and 18 is mild")


def halve(picture: NDArray[np.uint8], *, shrink: Shrink = "bicubic") -> NDArray[np.uint8]:
    """Halve an (H, W, 3) uint8 picture, H and W even, with an antialiased kernel of Pillow's."""
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width // 2, height // 2), _FILTERS[shrink]))


def crop_path(
    picture: NDArray[np.uint8], *, size: tuple[int, int], start: tuple[int, int], step: tuple[int, int], frames: int
) -> NDArray[np.uint8]:
    """Cut (T, h, w, 3) out of an (H, W, 3) picture: a window that moves by `step` (rows, columns) each frame.

    Raises ValueError if the window leaves the picture.
    """
    windows = []
    for index in range(frames):
        top, left = start[0] + index * step[0], start[1] + index * step[1]
        if top < 0 or left < 0 or top + size[0] > picture.shape[0] or left + size[1] > picture.shape[1]:
            raise ValueError(
                f"crop path: frame {index} at {(top, left)!r} with size {size!r} leaves the picture of "
                f"{picture.shape[:2]!r}; use a smaller step, fewer frames or another start"
            )
        windows.append(picture[top : top + size[0], left : left + size[1]])
    return np.stack(windows)


def compress(clip: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], compression: Compression) -> NDArray[np.uint8]:
    """Encode (T, H, W, 3) uint8 RGB with x264 (B-frames and all, as the preset says), and give the decoded frames.

    H and W must be even. Returns (T, H, W, 3) uint8 RGB in display order.
    """
    height, width = clip[0].shape[:2]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "nv12"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
    encoder.color_primaries, encoder.color_trc = 1, 1
    # One thread: x264 writes other bytes with another number of threads, and several clips are made side by side.
    encoder.thread_count = 1
    encoder.options = {"crf": str(compression.crf), "preset": compression.preset, **x264_repeatable()}
    packets = []
    for index, picture in enumerate(clip):
        packets += encoder.encode(frame_from_rgb(picture, pts=index))
    packets += encoder.encode(None)

    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    if len(frames) != len(clip):
        raise RuntimeError(f"compress: {len(clip)} frames went into x264 and {len(frames)} came back")
    return np.stack([rgb_from_frame(frame) for frame in frames])


def frame_from_rgb(picture: NDArray[np.uint8], *, pts: int) -> av.VideoFrame:
    """Make an NV12 frame, tagged BT.709 limited, of an (H, W, 3) uint8 RGB picture with even H and W."""
    rows = rgb_to_frames(np.ascontiguousarray(picture[None]), pixel_format="nv12", color=BT709, layout="interleaved")
    frame = av.VideoFrame.from_ndarray(rows[0], format="nv12")
    frame.colorspace, frame.color_range, frame.pts = Colorspace.ITU709, ColorRange.MPEG, pts
    return frame


def rgb_from_frame(frame: av.VideoFrame, *, color: ColorSpec = BT709) -> NDArray[np.uint8]:
    """Convert a decoded 8-bit 4:2:0 planar frame to (H, W, 3) uint8 RGB; BT.709 limited with left-sited chroma if
    `color` does not say otherwise."""
    width, height = frame.width, frame.height
    y, u, v = np.split(frame.to_ndarray().reshape(-1), [width * height, width * height * 5 // 4])
    rows = np.empty((1, height * 3 // 2, width), np.uint8)
    chroma = (height // 2, width // 2)
    planes_to_frames(y.reshape(height, width), u.reshape(chroma), v.reshape(chroma), out=rows[0])
    picture: NDArray[np.uint8] = frames_to_rgb(
        rows, width=width, height=height, pixel_format="nv12", color=color, layout="interleaved"
    )[0]
    return picture


def x264_repeatable(*parameters: str) -> dict[str, str]:
    """Give the encoder options that pass `parameters` to x264 and make it write the same bytes each time.

    With AVX-512, x264 (the build inside PyAV 18.1) depends on memory that nobody wrote; see the note in
    `vireo_server.encoders`, which asks for the same.
    """
    return {"x264-params": ":".join((*parameters, "cpu-independent=1"))}
