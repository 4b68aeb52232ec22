# SPDX-License-Identifier: MIT
"""The boxes of MP4 and MOV (ISO/IEC 14496-12, 4.2), as they lie in a file."""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

__all__ = ["Box", "boxes", "find", "movie", "read"]

_MOST = 256
"""More bytes than any header has of which something is wanted."""


class Box(NamedTuple):
    """Its kind, where its payload begins and ends, and how many bytes it claims beyond what it lies in."""

    kind: bytes
    begin: int
    end: int
    missing: int


def boxes(file: BinaryIO, begin: int, end: int) -> Iterator[Box]:
    """The boxes that begin between two places, one after another, up to what is none."""
    while begin + 8 <= end:
        file.seek(begin)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        payload = begin + 8
        if length == 1 and len(header) == 16:
            length, payload = struct.unpack(">Q", header[8:])[0], begin + 16
        after = begin + length if length else end  # 0: to the end
        if after < payload:
            return
        yield Box(kind, payload, min(after, end), max(0, after - end))
        begin = after


def movie(file: BinaryIO) -> Box | None:
    """The box `moov`, which says what is in the file."""
    size = file.seek(0, os.SEEK_END)
    return next((box for box in boxes(file, 0, size) if box.kind == b"moov"), None)


def find(file: BinaryIO, box: Box, *path: bytes) -> Iterator[Box]:
    """The boxes that lie at `path` in `box`."""
    for inner in boxes(file, box.begin, box.end):
        if inner.kind == path[0]:
            if len(path) == 1:
                yield inner
            else:
                yield from find(file, inner, *path[1:])


def read(file: BinaryIO, box: Box, *, most: int = _MOST) -> bytes:
    """The payload, of one that is longer the first bytes."""
    file.seek(box.begin)
    return file.read(min(box.end - box.begin, most))
