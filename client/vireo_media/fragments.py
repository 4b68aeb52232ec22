# SPDX-License-Identifier: MIT
"""Are the fragments of an MP4 whole? libav passes over what it cannot read of one, and says nothing of its pictures.

Source: ISO/IEC 14496-12, 8.8 (movie fragments).
"""

import struct
from itertools import pairwise
from typing import BinaryIO

import numpy as np

from vireo_media.boxes import Box, boxes, find, movie, read

__all__ = ["check_fragments", "is_fragmented"]

_IN_FRAGMENT = set(b"mfhd traf pssh meta udta uuid free skip".split())
# trik and avcn: of DECE's Common File Format.
_IN_TRACK = set(b"tfhd tfdt trun sbgp sgpd subs saiz saio senc sdtp trik avcn meta udta uuid free skip".split())
_MOST_BYTES = 1 << 26
"""Of a run of samples: four million of them."""

_DATA_OFFSET, _FIRST_FLAGS, _SIZES, _EACH = 0x1, 0x4, 0x200, (0x100, 0x200, 0x400, 0x800)
_BASE, _HEADER_FIELDS = 0x1, ((0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4), (0x20, 4))
"""Flags of trun and of tfhd; a field each."""


def is_fragmented(file: BinaryIO) -> bool:
    """Whether an MP4 says that fragments follow its index."""
    index = movie(file)
    return index is not None and any(find(file, index, b"mvex"))


def check_fragments(file: BinaryIO, size: int) -> tuple[int | None, str | None]:
    """Where in `file` of `size` bytes a fragment is damaged, and what is to be said of fragments that are missing; None
    where all of them are there and whole, and for files without any.
    """
    parts = list(boxes(file, 0, size))
    fragments = [place for place, box in enumerate(parts) if box.kind == b"moof"]
    if not fragments:
        return None, None
    end = 0
    for box in parts:
        if not box.kind.isalnum():  # Makers have kinds of their own there; all are letters and digits.
            return end, None
        end = box.end
    if end < size:
        return end, None
    numbers = []
    for place, following in pairwise([*fragments, len(parts)]):
        box = parts[place]
        data = [other.end for other in parts[place:following] if other.kind == b"mdat"]
        if not _is_whole(file, box, data_end=max(data, default=size)):
            return box.begin, None
        numbers += [int.from_bytes(read(file, header)[4:8], "big") for header in find(file, box, b"mfhd")]
    gaps = [f"{number} follows {before}" for before, number in pairwise(numbers) if number > before + 1]
    return None, f"fragments are missing: number {', '.join(gaps[:5])}" if gaps else None


def _is_whole(file: BinaryIO, fragment: Box, *, data_end: int) -> bool:
    """Whether the parts of a fragment fill it, are of known kinds, and have their samples before `data_end`."""
    parts = _parts(file, fragment, _IN_FRAGMENT)
    for track in (part for part in parts or () if part.kind == b"traf"):
        inner = _parts(file, track, _IN_TRACK)
        headers = [read(file, part) for part in inner or () if part.kind == b"tfhd"]
        if inner is None or len(headers) != 1 or len(headers[0]) != 8 + _width(headers[0], _HEADER_FIELDS):
            return False
        base = struct.unpack(">Q", headers[0][8:16])[0] if _flags(headers[0]) & _BASE else fragment.begin - 8
        for run in (part for part in inner if part.kind == b"trun"):
            samples = read(file, run, most=_MOST_BYTES)
            count, each = int.from_bytes(samples[4:8], "big"), 4 * sum(bool(_flags(samples) & bit) for bit in _EACH)
            first = 8 + _width(samples, ((_DATA_OFFSET, 4), (_FIRST_FLAGS, 4)))
            if len(samples) < 8 or run.end - run.begin != first + count * each:
                return False
            if _flags(samples) & _DATA_OFFSET and _flags(samples) & _SIZES and len(samples) == run.end - run.begin:
                rows = np.frombuffer(samples, ">u4", offset=first).reshape(count, each // 4)
                sizes = rows[:, 1 if _flags(samples) & _EACH[0] else 0]  # Behind the durations.
                if base + struct.unpack(">i", samples[8:12])[0] + int(sizes.sum(dtype=np.int64)) > data_end:
                    return False
    return parts is not None


def _parts(file: BinaryIO, box: Box, kinds: set[bytes]) -> list[Box] | None:
    """The boxes in a box; None where they do not fill it, or are others than may be there."""
    parts = list(boxes(file, box.begin, box.end))
    fills = bool(parts) and parts[-1].end == box.end and not parts[-1].missing
    return parts if fills and all(part.kind in kinds for part in parts) else None


def _flags(payload: bytes) -> int:
    return int.from_bytes(payload[1:4], "big")


def _width(payload: bytes, fields: tuple[tuple[int, int], ...]) -> int:
    """How many bytes the fields take that the flags say are there."""
    return sum(width for bit, width in fields if _flags(payload) & bit)
