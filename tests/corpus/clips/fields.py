# SPDX-License-Identifier: MIT
"""Clips that are coded as fields, which no encoder here does."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from vireo_media.testing import numbered_luma

from .case import SIZE
from .remuxing import write_pictures


def fields_h264(path: Path, frames: int) -> None:
    """No encoder here codes H.264 as fields. So this one does: every macroblock is I_PCM, its samples as they are
    (ITU-T H.264 7.3.2 to 7.3.5)."""

    def coded(value: int) -> str:  # ue(v)
        return f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)

    def unit(kind: int, bits: str, rest: bytes = b"") -> bytes:
        data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big") + rest
        return b"\0\0\0\1" + bytes([kind]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)

    width, height = SIZE
    numbers = [0, 0, 0, 4, 1]  # log2_max_frame_num is 4, log2_max_pic_order_cnt_lsb 8, one reference
    size = f"0{coded(width // 16 - 1)}{coded(height // 32 - 1)}"
    sps = f"{77:08b}{0:08b}{30:08b}{''.join(map(coded, numbers))}{size}0010" + "01"  # Main profile, no frames only
    pps = (
        "".join(map(coded, [0, 0]))
        + "00"
        + "".join(map(coded, [0, 0, 0]))
        + "000"
        + "".join(map(coded, [0] * 3))
        + "1001"
    )
    parameters = unit(0x67, sps) + unit(0x68, pps)

    def field(number: int, bottom: int) -> bytes:
        first = number == 0 and not bottom
        luma = numbered_luma(number, width=width, height=height)[bottom::2]
        head = f"{coded(0)}{coded(7)}{coded(0)}{number % 16:04b}1{bottom}{coded(0) if first else ''}"
        head += f"{(2 * number + bottom) % 256:08b}{'00' if first else '0'}{coded(0)}{coded(1)}{coded(25)}"
        blocks = [
            luma[y : y + 16, x : x + 16].tobytes() for y in range(0, height // 2, 16) for x in range(0, width, 16)
        ]
        later = int(coded(25).ljust(16, "0"), 2).to_bytes(2, "big")
        body = later.join(block + bytes([128]) * 128 for block in blocks)
        return unit(0x65 if first else 0x61, head, body + b"\x80")

    pictures = [field(number, 0) + field(number, 1) for number in range(frames)]
    write_pictures(path, [parameters + pictures[0], *pictures[1:]], format="h264")


def fields_mpeg2(path: Path, frames: int) -> None:
    """A field of an intra picture is coded as a picture of half the height is. So that is what the encoder codes, and
    the headers say what it is (ISO/IEC 13818-2, 6.2.2.1, 6.2.2.3 and 6.2.3.1)."""
    width, height = SIZE
    context: Any = av.CodecContext.create("mpeg2video", "w")
    context.width, context.height, context.pix_fmt, context.gop_size = width, height // 2, "yuv420p", 0
    context.time_base, context.framerate, context.options = Fraction(1, 50), Fraction(50), {"qmin": "2", "qmax": "4"}
    packets: list[Any] = []
    for place in range(2 * frames):
        luma = numbered_luma(place // 2, width=width, height=height)[place % 2 :: 2]
        planes = np.concatenate([luma.ravel(), np.full(width * height // 4, 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes.reshape(-1, width), format="yuv420p")
        frame.pts = place
        packets += context.encode(frame)
    packets += context.encode(None)
    fields = []
    for place, packet in enumerate(packets):
        data = bytearray(bytes(packet))
        sequence, extension = data.index(b"\0\0\1\xb3"), data.index(b"\0\0\1\xb5")
        picture = data.index(b"\0\0\1\0")
        coding = data.index(b"\0\0\1\xb5", picture)
        data[sequence + 6], data[sequence + 7] = height, data[sequence + 7] & 0xF0 | 3  # 25 frames a second
        data[extension + 5] &= ~0x08  # progressive_sequence
        data[coding + 6] = data[coding + 6] & ~3 | 1 + place % 2  # picture_structure: 1 is the top field
        data[coding + 7] &= ~0xC1  # top_field_first, frame_pred_frame_dct, chroma_420_type
        data[coding + 8] &= ~0x80  # progressive_frame
        fields.append(bytes(data[picture:] if place % 2 else data))
    write_pictures(path, [a + b for a, b in zip(fields[::2], fields[1::2], strict=True)], format="mpegvideo")
