# SPDX-License-Identifier: MIT
"""What a container says to cut off the pictures: `clap` of mp4 and mov, PixelCrop of Matroska.

# Note [Cropping is applied]
Players show the cropped picture, and the field's converters (FFmpeg since 7.1) code it. So decode cuts it off, and the
result is what people saw: hidden columns are no picture for a network to work on, and no output container is needed
that can say it. libav gives this as side data of the stream, which PyAV does not show; hence the two small readers.
"""

import struct
from fractions import Fraction
from typing import BinaryIO

import av

from vireo_media.boxes import boxes, find, movie, read
from vireo_media.matroska import read_crops

__all__ = ["Crop", "container_crop"]

Crop = tuple[int, int, int, int]
"""Columns and rows that are cut off: left, top, right, bottom."""

_SAMPLE_ENTRY = 78
"""Bytes of a visual sample entry before the boxes in it (ISO/IEC 14496-12, 12.1.3)."""
_STSD = 8
"""Version, flags and the number of entries."""


def container_crop(
    file: BinaryIO, *, container: str, place: int, track: int, size: tuple[int, int], format: av.VideoFormat | None
) -> Crop | None:
    """What the container says to cut off the pictures of a stream; None where that is nothing, or cannot be.

    `container` is the demuxer's name, `place` the stream's among the video streams, `track` its id; `size` is that of
    a decoded picture. The part that is shown is moved left and up to where `format` has a chroma sample, or colours
    would shift.
    """
    crop: Crop | None = None
    if container == "matroska,webm":
        crops = read_crops(file)
        crop = crops[place] if place < len(crops) else None
    elif container.startswith("mov,"):
        crop = _clean_aperture(file, track, size)
    if crop is None or min(crop) < 0 or crop[0] + crop[2] >= size[0] or crop[1] + crop[3] >= size[1]:
        return None
    left, top, right, bottom = crop
    wide, high = (format.chroma_width(4), format.chroma_height(4)) if format is not None else (2, 2)
    across, down = left % (4 // wide), top % (4 // high)
    left, top, right, bottom = left - across, top - down, right + across, bottom + down
    return (left, top, right, bottom) if any((left, top, right, bottom)) else None


def _clean_aperture(file: BinaryIO, track: int, size: tuple[int, int]) -> Crop | None:
    """`clap` (ISO/IEC 14496-12, 12.1.4): width, height, and the distance of its centre from the picture's, each a
    fraction."""
    index = movie(file)
    for trak in find(file, index, b"trak") if index is not None else ():
        header = next(find(file, trak, b"tkhd"), None)
        if header is None or _track_id(read(file, header)) != track:
            continue
        for entries in find(file, trak, b"mdia", b"minf", b"stbl", b"stsd"):
            for entry in boxes(file, entries.begin + _STSD, entries.end):
                for clap in boxes(file, entry.begin + _SAMPLE_ENTRY, entry.end):
                    if clap.kind == b"clap":
                        return _cut_off(read(file, clap), size)
    return None


def _cut_off(clap: bytes, size: tuple[int, int]) -> Crop | None:
    if len(clap) < 32:
        return None
    numbers = struct.unpack(">8i", clap[:32])
    if not all(numbers[1::2]):
        return None
    wide, high, right_of, below = (Fraction(*numbers[i : i + 2]) for i in range(0, 8, 2))
    left, top = (size[0] - wide) / 2 + right_of, (size[1] - high) / 2 + below
    return int(left // 1), int(top // 1), int((size[0] - left - wide) // 1), int((size[1] - top - high) // 1)


def _track_id(header: bytes) -> int:
    """tkhd: version 1 has longer times before it."""
    at = 20 if header[:1] == b"\1" else 12
    return int.from_bytes(header[at : at + 4], "big")
