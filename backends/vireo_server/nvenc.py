# SPDX-License-Identifier: MIT
"""NVENC: pictures of a GPU's memory for libav's encoders there, and whether a GPU has these, by trying.

# Note [NVENC is asked for]
Its bytes are others than x264's, and another GPU's or driver's are others again. The same input shall give the same
bytes whichever server takes a segment, and a resumed job shall not join segments of two encoders. So the encoder
follows from what the caller chose, never from what a server has: NVENC is used where he says `nvenc=on`, and a server
that has none refuses. A100, H100, H200 and B200 have none.
"""

from __future__ import annotations

import ctypes
from fractions import Fraction
from functools import cache
from typing import Any

import av
from av.video.frame import CudaContext

from vireo_server.formats import PixelFormat, frame_shape
from vireo_server.side import Side
from vireo_server.wire import Pixels

_TRIED = 256  # pixels a side: more than the smallest picture of every NVENC
_PITCH = 256  # samples: rows begin where those of CUDA's own pitched memory would, which is what NVENC is used with


def device_frame(row: Pixels, *, width: int, height: int, pixel_format: PixelFormat, side: Side) -> av.VideoFrame:
    """A row of FRAMES, `(rows, bytes) uint8` on the GPU, as libav's picture there.

    Both sides are made even, the last column and row repeated. NVENC is told one address and one pitch: so chroma
    follows luma at once, with the same pitch. It is a copy, for the encoder reads it when it likes,
    and the row may be Triton's, which takes it back with the answer.
    """
    words = row.view("uint16") if pixel_format == "p010" else row
    even_width, even_height = width + width % 2, height + height % 2
    pitch = -(-even_width // _PITCH) * _PITCH
    planes = side.xp.empty((even_height * 3 // 2, pitch), words.dtype)[:, :even_width]
    planes[:height, :width] = words[:height, :width]
    if width < even_width:
        planes[:height, width:] = words[:height, width - 1 : width]
    if height < even_height:
        planes[height] = planes[height - 1]
    planes[even_height:] = words[height:]
    side.device.synchronize()
    layout = "nv12" if pixel_format == "nv12" else "p010le"
    assert side.device.cuda is not None
    return _imported((planes[:even_height], planes[even_height:]), layout, side.device.cuda)


@cache
def driver_fault() -> str:
    """Why no stage of this machine can encode with NVENC, which libav reaches through the driver; empty where one
    may."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return str(error)
    return ""


def fault(name: str, pixel_format: str, side: Side) -> str:
    """Why the encoder `name`, which takes `pixel_format`, does not work here, by encoding a picture; empty where it
    does."""
    return "its encode stage does not work on a GPU" if side.is_host else _fault(name, pixel_format, side)


@cache
def _fault(name: str, pixel_format: str, side: Side) -> str:
    row = side.xp.zeros(frame_shape(width=_TRIED, height=_TRIED, pixel_format="nv12"), "uint8")
    try:
        context: Any = av.CodecContext.create(name, "w")
        context.width = context.height = _TRIED
        context.pix_fmt, context.time_base = pixel_format, Fraction(1, 25)
        frame = device_frame(row, width=_TRIED, height=_TRIED, pixel_format="nv12", side=side)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        packets = [*context.encode(frame), *context.encode(None)]
    except (av.FFmpegError, OSError, RuntimeError, ValueError) as error:
        return str(error)
    return "" if packets else "it gives no packet"


def _imported(planes: tuple[Pixels, Pixels], layout: str, number: int) -> av.VideoFrame:
    return av.VideoFrame.from_dlpack(planes, format=layout, cuda_context=_context(number))


@cache
def _context(number: int) -> CudaContext:
    """libav's view of the context that CuPy made; one for all pictures, since each would load the driver anew."""
    return CudaContext(number, primary_ctx=False, current_ctx=True)
