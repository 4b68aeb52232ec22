# SPDX-License-Identifier: MIT
"""Is a file whole? Three containers say how long they are, so that a cut file is refused before work is spent on it."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from vireo_media.matroska import EBML_HEADER, SEGMENT, read_length

__all__ = ["find_cut", "is_mp4", "is_upright"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""What such a file may begin with."""
_EBML, _SEGMENT = (element.to_bytes(4, "big") for element in (EBML_HEADER, SEGMENT))


def is_mp4(file: BinaryIO) -> bool:
    """Whether `file`, from its beginning, is MP4, MOV or one of their kin."""
    head = file.read(8)
    file.seek(0)
    return head[4:8] in _BOXES


def is_upright(file: BinaryIO, size: int) -> bool:
    """Whether the movie and all tracks of an MP4 of `size` bytes say that pictures are shown as they are coded.

    ISO/IEC 14496-12, 8.2.2 and 8.3.2: mvhd and tkhd end in a matrix {a, b, u, c, d, v, x, y, w}, two sizes or seven
    numbers behind it. x and y move, which no picture here does.
    """
    for kind, end in _boxes_within(file, 0, size):
        behind = {b"mvhd": 28, b"tkhd": 8}.get(kind)
        if behind is None:
            continue
        file.seek(end - behind - len(_UPRIGHT))
        matrix = file.read(len(_UPRIGHT))
        if matrix[:24] != _UPRIGHT[:24] or matrix[32:] != _UPRIGHT[32:]:
            return False
    return True


_UPRIGHT = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_HOLD_BOXES = (b"moov", b"trak")


def _boxes_within(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int]]:
    """(type, end) of the boxes there, and of those in the boxes that hold tracks."""
    while position + 8 <= end:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header[:8])
        head = 8
        if length == 1 and len(header) == 16:
            length, head = struct.unpack(">Q", header[8:])[0], 16
        following = end if length == 0 else position + length
        if following <= position + 7 or following > end:
            return
        yield kind, following
        if kind in _HOLD_BOXES:
            yield from _boxes_within(file, position + head, following)
        position = following


def find_cut(file: BinaryIO, size: int) -> str | None:
    """What shows that `file` of `size` bytes is cut short, in words for a message; None where nothing does.

    Reads box headers of MP4 and MOV, the segment's length of Matroska and WebM, the RIFF length of AVI. Other
    containers (MPEG-TS, FLV) say nothing of their length.
    """
    if is_mp4(file):
        return _cut_boxes(file, size)
    head = file.read(12)
    file.seek(0)
    if head[:4] == _EBML:
        return _cut_matroska(file, size)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _missing(8 + struct.unpack("<I", head[4:8])[0], size)
    return None


def _cut_boxes(file: BinaryIO, size: int) -> str | None:
    """ISO/IEC 14496-12: boxes of [length u32][type]; 1: a 64-bit length follows; 0: to the end of the file."""
    position, seen = 0, set()
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        seen.add(kind)
        if length == 0:
            position = size
            break
        if length < 8:  # Not a box: rubbish after the last one, which readers ignore.
            break
        position += length
    if b"moov" not in seen and b"moof" not in seen:
        return "its index (the moov box) is missing"
    return _missing(position, size) if position > size else None


def _cut_matroska(file: BinaryIO, size: int) -> str | None:
    """RFC 8794: EBML header, then one segment whose length may be unknown."""
    file.seek(4)
    header = read_length(file.read(8))
    if header is None:
        return None
    file.seek(4 + header[1] + header[0])
    if file.read(4) != _SEGMENT:
        return None
    begin = file.tell()
    length = read_length(file.read(8))
    if length is None or length[2]:
        return None
    return _missing(begin + length[1] + length[0], size)


def _missing(expected: int, size: int) -> str | None:
    if expected <= size:
        return None
    return f"{size} bytes are there of the {expected} that it says it has"
