# SPDX-License-Identifier: MIT
"""NVDEC: which streams the decoder of a GPU takes, how libav opens it, and its pictures as rows of FRAMES on the GPU.

# Note [Who says what NVDEC takes]
What it decodes depends on the codec, its profile and the GPU, and nobody has a complete table. So it is tried: libav
opens it and falls back by itself, and what the first pictures are says who decoded them. Then, and where NVDEC fails
before its first picture, the packets so far go through the software decoder instead; what NVDEC has begun well stays
with it. `unfit` spares that where the answer is known, and where NVDEC would give other pictures than the software.

# Note [Whose CUDA context]
FFmpeg would take the device's primary context with flags of its own, which fails where CuPy has made that context
already. So it is told to use the one that is current on the thread, which is the same.

# Note [Pictures are copied at once]
What libav gives are its own buffers, with a pitch, of a pool that NVDEC needs back. A row of FRAMES is ours: pictures
may wait here for a whole chunk, or for ever where they fill gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from vireo_kernels.layout import surface_to_frames
from vireo_media.description import StreamDescription

from vireo_server.formats import PixelFormat, frame_shape
from vireo_server.side import Border
from vireo_server.wire import Pixels

#: FFmpeg's names of the codecs for which NVDEC is used. It knows older ones too, whose streams are small, often
#: interlaced, and full of habits that libavcodec's decoders know.
CODECS = ("h264", "hevc", "vp9", "av1")
#: Compute capabilities before 10.0 that decode AV1: GA10x, Orin and Ada. Turing, GA100 and Hopper do not.
_AV1 = ("8.6", "8.7", "8.9")
_OPTIONS: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
#: NVDEC's pictures that PyAV hands on through DLPack and FRAMES can hold -> the layout.
_LAYOUTS: dict[str, PixelFormat] = {"nv12": "nv12", "p010le": "p010"}


@dataclass(frozen=True, eq=False, kw_only=True)
class DevicePicture:
    """A decoded picture as a row of FRAMES, `(rows, bytes) uint8`, on the GPU."""

    row: Pixels
    pixel_format: PixelFormat


class Nvdec:
    """The decoders of the GPU on whose side of `border` a stage works; `capability` is its own, such as '8.9'."""

    def __init__(self, border: Border) -> None:
        self._border, self._side = border, border.side
        number = str(self._side.xp.cuda.Device(self._side.device.cuda).compute_capability)
        self.capability = f"{number[:-1]}.{number[-1]}"

    def unfit(self, stream: StreamDescription) -> str:
        """Why a stream is decoded in software without trying; empty where NVDEC may take it."""
        chosen = stream.decoder
        if chosen.get("nvdec") == "off":
            return "nvdec=off"
        if stream.codec not in CODECS:
            return f"NVDEC is used for {', '.join(CODECS)}, not for {stream.codec}"
        if stream.codec == "av1" and self.capability not in _AV1 and float(self.capability) < 10:
            return f"GPUs of compute capability {self.capability} do not decode av1"
        if chosen.get("on_corrupt") == "conceal":
            return "on_corrupt=conceal: NVDEC does not say which pictures are damaged"
        if stream.field_order not in (None, "progressive") and chosen.get("deinterlace") != "off":
            return "the source is interlaced, and is deinterlaced in software"
        if stream.crop is not None:
            return "the container crops its pictures, which is done in software"
        if stream.width % 2 or stream.height % 2:
            return f"{stream.width}x{stream.height}: pictures with an odd side cannot be handed on from NVDEC"
        return ""

    def create(self, codec: str) -> Any:
        """A codec context, not opened yet, that decodes on the GPU if it can. Raises av.FFmpegError."""
        assert self._side.device.cuda is not None
        return av.CodecContext.create(codec, "r", hwaccel(self._side.device.cuda, may_fall_back=True))

    @staticmethod
    def refusal(frame: av.VideoFrame, *, size: tuple[int, int]) -> str:
        """Why the first picture of a stream of `size` shows that NVDEC is not to decode it; empty where it is."""
        if frame.format.name != "cuda":
            return f"NVDEC of this GPU does not take it ({frame.format.name})"
        if (frame.width, frame.height) != size:
            return "the stream crops its pictures at the left or at the top, which is done in software"
        layout = None if frame.sw_format is None else frame.sw_format.name
        return "" if layout in _LAYOUTS else f"NVDEC gives it as {layout}; FRAMES are 4:2:0 of 8 or 10 bit"

    def download(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A picture of NVDEC's as libav's planar one on the host, with all that it is marked with; it is counted."""
        assert frame.sw_format is not None
        deep = _LAYOUTS[frame.sw_format.name] == "p010"
        self._border.count("to_host", frame.width * frame.height * 3 // 2 * (1 + deep))
        # With several threads libav's conversion of P010 overwrites the first samples of rows where a thread begins.
        return frame.reformat(format="yuv420p10le" if deep else "yuv420p", threads=1)

    def copy(self, frame: av.VideoFrame) -> DevicePicture:
        """A picture of NVDEC's, which is free when this returns."""
        assert frame.sw_format is not None
        layout = _LAYOUTS[frame.sw_format.name]
        xp = self._side.xp
        luma, chroma = (xp.from_dlpack(_Plane(plane)) for plane in frame.planes)
        row = xp.empty(frame_shape(width=frame.width, height=frame.height, pixel_format=layout), "uint8")
        surface_to_frames(luma, chroma.reshape(chroma.shape[0], -1), out=row)
        self._side.device.synchronize()
        return DevicePicture(row=row, pixel_format=layout)


def hwaccel(number: int, *, may_fall_back: bool) -> HWAccel:
    """libav's way to NVDEC of a CUDA device, whose context the thread must have made current (`Side.enter`)."""
    return HWAccel(
        "cuda",
        device=str(number),
        allow_software_fallback=may_fall_back,
        is_hw_owned=True,
        options=dict(_OPTIONS),
    )


class _Plane:
    """A plane of PyAV's as others want it: PyAV refuses to be told of a stream. FFmpeg's work is on the default one."""

    def __init__(self, plane: Any) -> None:
        self._plane = plane

    def __dlpack_device__(self) -> tuple[int, int]:
        return tuple(self._plane.__dlpack_device__())

    def __dlpack__(self, **asked: object) -> Any:
        return self._plane.__dlpack__()
