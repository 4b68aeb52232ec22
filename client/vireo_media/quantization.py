# SPDX-License-Identifier: MIT
"""How coarsely a picture was quantised, in one unit for all codecs: what restoration must know to repair no more than
was broken.

The unit is the *quantiser step* in levels of an 8-bit picture, as the step of an orthonormal transform: 4 is very fine,
16 the middle, 40 coarse.

- H.264: the mean QP of the picture's macroblocks, as a step 0.625 x 2^(QP / 6) (ITU-T H.264, 8.5.9: the step doubles
  every 6, and QP 4 is a step of 1).
- MPEG-1, MPEG-2, MPEG-4 part 2, H.263 and their kin: the mean quantiser scale, the step of a flat matrix of 16.
- JPEG: the mean of the luma table's first ten AC entries (zigzag order), where a picture's energy is.

Other decoders of libavcodec do not tell.
"""

from typing import cast

import av
import numpy as np
from av.sidedata.encparams import VideoEncParams

from vireo_media.side_data import entries

__all__ = ["DECODER_OPTIONS", "QuantizerReader", "has_loop_filter", "jpeg_step"]

DECODER_OPTIONS = {"export_side_data": "venc_params"}
"""What a libavcodec decoder must be opened with, so that a `QuantizerReader` finds something."""

_H264, _MPEG2 = 1, 2  # AVVideoEncParamsType
_DELTA_QP = slice(16, 20)  # in AVVideoBlockParams, behind the block's place and size
_TABLES, _FIRST_AC = b"\xff\xdb", slice(1, 11)


class QuantizerReader:
    """Reads the quantiser step of each picture of one stream; `codec` is FFmpeg's descriptor name."""

    def __init__(self, codec: str) -> None:
        self._in_packets = codec == "mjpeg"
        self._step: float | None = None

    def read_packet(self, packet: bytes) -> None:
        """Look at a packet before it is decoded."""
        if self._in_packets:
            self._step = jpeg_step(packet) or self._step

    def step(self, frame: av.VideoFrame) -> float | None:
        """The step of a decoded frame, frames given in display order; None where its decoder does not tell.

        libavcodec says nothing of the last picture of an MPEG stream: it takes the step of the one before.
        """
        for data in entries(frame):
            if isinstance(data, VideoEncParams) and data.nb_blocks:
                self._step = _encoded_step(data)
        return self._step


def has_loop_filter(codec: str) -> bool:
    """Whether pictures of `codec` (FFmpeg's descriptor name) were already deblocked by its decoder."""
    return codec in ("h264", "hevc", "vp8", "vp9", "av1", "vc1", "wmv3")


def jpeg_step(packet: bytes) -> float | None:
    """The quantiser step of a JPEG picture, None where it carries no luma table of its own."""
    position = packet.find(_TABLES)
    while 0 <= position < len(packet) - 4:
        length = int.from_bytes(packet[position + 2 : position + 4], "big")
        segment, start = packet[position + 4 : position + 2 + length], 0
        while start < len(segment):
            size, number = 64 * (1 + (segment[start] >> 4)), segment[start] & 15
            entries = segment[start + 1 : start + 1 + size]
            if number == 0 and len(entries) == size:
                values = np.frombuffer(entries, np.uint8 if size == 64 else ">u2")
                return float(np.mean(values[_FIRST_AC]))
            start += 1 + size
        position = packet.find(_TABLES, position + 2 + length)
    return None


def _encoded_step(parameters: VideoEncParams) -> float | None:
    # As one array: PyAV's qp_map makes an object a macroblock, and refuses the sizes of interlaced pictures.
    first, size, count = parameters.blocks_offset, parameters.block_size, parameters.nb_blocks
    data = np.frombuffer(cast(bytes, parameters), np.uint8)  # side data is a buffer, though its type does not say so
    blocks = data[first : first + count * size].reshape(count, size)
    quantiser = parameters.qp + float(np.mean(blocks[:, _DELTA_QP].copy().view(np.int32)))
    if parameters.codec_type == _H264:
        return float(0.625 * 2 ** (quantiser / 6))
    return quantiser if parameters.codec_type == _MPEG2 else None
