# SPDX-License-Identifier: MIT
"""A decoded picture: where it belongs in its stream, and how it becomes a row of FRAMES."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from vireo_kernels.layout import planes_to_frames
from vireo_media.probing import is_rgb

from vireo_server.formats import PixelFormat
from vireo_server.nvdec import DevicePicture

_Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A decoded frame and where it belongs. `pts` and `duration` are in the stream's time base.

    `quantizer_step` is how coarsely it was quantised (`vireo_media.quantization`), None where the decoder does not
    tell.
    """

    frame: av.VideoFrame | DevicePicture
    pts: int
    duration: int
    quantizer_step: float | None = None

    @property
    def layout(self) -> PixelFormat:
        """The layout of FRAMES that it takes."""
        frame = self.frame
        return frame.pixel_format if isinstance(frame, DevicePicture) else layout_of(frame.format.name)[0]

    @property
    def note(self) -> str | None:
        """What bringing it to FRAMES loses, for people."""
        return None if isinstance(self.frame, DevicePicture) else conversion_note(self.frame.format.name)


def conversion_note(frame_format: str) -> str | None:
    """What bringing a decoded pixel format to FRAMES loses, for people; None where it loses nothing."""
    layout, convert = layout_of(frame_format)
    if not convert:
        return None
    format = av.VideoFormat(frame_format)
    bits = max(component.bits for component in format.components)
    lost = []
    if is_rgb(format):
        lost.append("RGB becomes BT.709")
    if any(component.is_alpha for component in format.components):
        lost.append("alpha is dropped")
    if bits > 10:
        lost.append(f"{bits} bit becomes 10 bit")
    lost.append("chroma is 4:2:0")
    return f"the source is {frame_format}; frames are brought to {layout}: {', '.join(lost)}"


@cache
def layout_of(frame_format: str) -> tuple[PixelFormat, bool]:
    """The layout of FRAMES for a decoded pixel format, and whether libav's scaler must bring it there first."""
    format = av.VideoFormat(frame_format)
    deep = any(component.bits > 8 for component in format.components)
    layout: PixelFormat = "p010" if deep else "nv12"
    return layout, frame_format not in ("yuv420p", "yuvj420p", "yuv420p10le")


def write_row(frame: av.VideoFrame, row: _Frames) -> None:
    """Write one decoded picture into its row of FRAMES, `(rows, bytes) uint8`."""
    layout, convert = layout_of(frame.format.name)
    if convert:
        # Only RGB changes its levels. The scaler takes grey and "yuvj" for full range whatever the stream says, and
        # would give limited range.
        is_full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith(("yuvj", "gray", "ya"))
        same = ColorRange.JPEG if is_full else ColorRange.MPEG
        frame = frame.reformat(
            format="yuv420p10le" if layout == "p010" else "yuv420p",
            interpolation=Interpolation.BICUBIC | _ACCURATE,
            **(
                {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
                if is_rgb(frame.format)
                else {"src_color_range": same, "dst_color_range": same}
            ),
        )
    dtype = np.dtype(np.uint16 if layout == "p010" else np.uint8)
    y, u, v = (_plane(plane, dtype) for plane in frame.planes)
    planes_to_frames(y, u, v, out=row)


#: SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT: without them the scaler truncates and replicates chroma.
_ACCURATE = 0x2000 | 0x40000 | 0x80000


def _plane(plane: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    samples = np.frombuffer(plane, dtype=dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return samples[:, : plane.width]
