# SPDX-License-Identifier: MIT
"""Does the index of an MP4 or MOV agree with itself? libav takes it as it stands, and leaves pictures out in silence.

# Note [What a damaged index shows]
Its tables count the same samples: their sizes, durations and offsets of showing, and how many lie in each chunk. All
samples lie in the file, and their durations make up what the media header says. Those are laws of the format (ISO/IEC
14496-12, 8.6.1 and 8.7). Where samples have no place, pictures would be lost: that is an error. Where the times do not
add up, writers are known to be careless: that is said. What damage leaves lawful (another size or place inside the
file) is for the decoder to find.
"""

import struct
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from vireo_media.boxes import Box, find, movie, read
from vireo_media.fragments import is_fragmented

__all__ = ["check_samples"]

Table = npt.NDArray[np.int64]

_STBL = b"mdia", b"minf", b"stbl"
_MOST_BYTES = 1 << 28
"""Of a table: some 60 million samples. The rest of a longer one is not looked at."""
_MOST_WAITING = 17
"""Pictures: no codec reorders over more than 16."""
_UNKNOWN = 2**32 - 1, 2**64 - 1


def check_samples(file: BinaryIO, size: int) -> tuple[str | None, str | None]:
    """What the index of the first video in `file` of `size` bytes says that cannot be, in words for a message: of where
    its samples are, and of their times. None where it fits, and where there is no such index (fragmented files).
    """
    index = movie(file)
    for track in find(file, index, b"trak") if index is not None and not is_fragmented(file) else ():
        if any(read(file, handler)[8:12] == b"vide" for handler in find(file, track, b"mdia", b"hdlr")):
            sizes = _sizes(file, track)
            if sizes is not None and len(sizes):
                return _misplaced(file, track, sizes, size), _untimely(file, track, len(sizes))
    return None, None


def _misplaced(file: BinaryIO, track: Box, sizes: Table, size: int) -> str | None:
    """What is wrong with where the samples are."""
    runs, places = _rows(file, track, b"stsc", 3), _rows(file, track, b"stco", 1)
    if places is None:
        places = _rows(file, track, b"co64", 1, kind=">u8")
    if runs is None or places is None or not len(runs) or not len(places):
        return f"of its {len(sizes)} pictures it does not say where they are"
    # A run of chunks: the number of its first one, from 1, and how many samples each of them holds.
    lengths = np.diff(np.append(runs[:, 0], len(places) + 1))
    if runs[0, 0] != 1 or (lengths < 1).any():
        return f"its {len(places)} chunks of pictures are not in order"
    held = np.repeat(runs[:, 1], lengths)
    last = np.cumsum(held)
    # The last chunk may hold fewer than its run says: some writers leave it at that.
    if not last[-1] - held[-1] < len(sizes) <= last[-1]:
        return f"it has {len(sizes)} pictures and says where {last[-1]} of them are"
    last[-1], held[-1] = len(sizes), held[-1] - (last[-1] - len(sizes))
    sums = np.concatenate([[0], np.cumsum(sizes)])
    ends = places[:, 0] + sums[last] - sums[last - held]
    return f"it has pictures at byte {ends.max()} of {size}" if ends.max() > size else None


def _untimely(file: BinaryIO, track: Box, count: int) -> str | None:
    """What is wrong with the samples' times."""
    durations, offsets = _rows(file, track, b"stts", 2), _rows(file, track, b"ctts", 2)
    if durations is None or not len(durations):
        return f"of its {count} pictures it does not say how long they last"
    for what, rows in (("durations", durations), ("times of showing", offsets)):
        if rows is not None and rows[:, 0].sum() != count:
            return f"it has {count} pictures and the {what} of {rows[:, 0].sum()}"
    header = next((read(file, box) for box in find(file, track, b"mdia", b"mdhd")), b"")
    place, kind = (24, ">Q") if header[:1] == b"\1" else (16, ">I")
    if len(header) < place + struct.calcsize(kind):
        return None
    (said,) = struct.unpack_from(kind, header, place)
    total = int((durations[:, 0] * durations[:, 1]).sum())
    # Writers differ in whether what waits for being shown counts, and the last picture's duration some do not know.
    if not said or said in _UNKNOWN or abs(total - said) <= _MOST_WAITING * durations[:, 1].max():
        return None
    return f"its pictures last {total} ticks, and the whole {said}"


def _sizes(file: BinaryIO, track: Box) -> Table | None:
    """The size of every sample."""
    for box in find(file, track, *_STBL, b"stsz"):
        data = read(file, box, most=_MOST_BYTES)
        if len(data) >= 12:
            one, count = struct.unpack(">2I", data[4:12])
            if one:
                return np.full(min(count, _MOST_BYTES // 8), one, np.int64)
            return _numbers(data[12:], ">u4")[:count]
    return None


def _rows(file: BinaryIO, track: Box, name: bytes, width: int, *, kind: str = ">u4") -> Table | None:
    """A table: after a version and a count, rows of `width` numbers."""
    for box in find(file, track, *_STBL, name):
        data = read(file, box, most=_MOST_BYTES)
        numbers = _numbers(data[8:], kind)
        return numbers[: len(numbers) // width * width].reshape(-1, width)[: int.from_bytes(data[4:8], "big")]
    return None


def _numbers(data: bytes, kind: str) -> Table:
    return np.frombuffer(data, kind, count=len(data) // np.dtype(kind).itemsize).astype(np.int64)
