# SPDX-License-Identifier: MIT
"""Is a file whole? What is cut, or damaged where libav would say nothing, is refused before work is spent on it."""

import struct
from typing import BinaryIO

from vireo_media import matroska
from vireo_media.boxes import boxes, find, movie, read
from vireo_media.errors import InputError
from vireo_media.fragments import check_fragments, is_fragmented
from vireo_media.matroska import EBML_HEADER, SEGMENT, read_length
from vireo_media.sample_table import check_samples
from vireo_media.transport_stream import find_lost_head

__all__ = ["check_whole", "find_cut", "is_mp4", "is_short_ts", "is_upright"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""What such a file may begin with."""
_UPRIGHT = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_TRACK_MATRIX, _MOVIE_MATRIX, _LONG_TIMES = 40, 36, 12
"""Where the matrix is, and how much later in version 1, whose times are longer."""
_TS_PACKET, _TS_SYNC, _FEW_TS_PACKETS = 188, 0x47, 16
_FLV_TAGS = (8, 9, 18)
"""Sound, video, script data."""
_SEARCHED_FAR = 64 << 20
"""Bytes of a file at an address up to which it is read once more, to look at the head of every packet."""
_EBML, _SEGMENT = (element.to_bytes(4, "big") for element in (EBML_HEADER, SEGMENT))


def check_whole(file: BinaryIO, size: int, *, name: str, is_far: bool) -> dict[str, str]:
    """Refuse a file of `size` bytes that is cut, or of which libav would leave pictures out in silence; what else is
    wrong with it, as remarks by their kind. `name` is what messages call it. Raises InputError.

    A file that `is_far`, at an address, is only read once more where it is small.
    """
    remarks: dict[str, str] = {}
    remedy = "allowed is a file that is whole; fetch or export it again, or remux it to go on with what is left"
    cut = find_cut(file, size)
    if cut is not None:
        raise InputError(f"input {name!r} is cut short: {cut}; fetch or export it again")
    file.seek(0)
    # libav looks at that of AVI itself, see `container`.
    has_index = file.read(4) == b"RIFF"
    file.seek(0)
    if is_mp4(file):
        has_index = not is_fragmented(file)
        places, times = check_samples(file, size)
        if places is not None:
            raise InputError(f"input {name!r}: its index is damaged: {places}; {remedy}")
        if times is not None:
            remarks["index"] = f"its index contradicts itself: {times}: pictures may be at another time than meant"
    if is_far and size > _SEARCHED_FAR and not has_index:
        remarks["not searched"] = (
            f"it has more than {_SEARCHED_FAR >> 20} MB and lies at an address, so it was not searched for damaged "
            "heads, whose pictures would be missing in the result: fetch it to a file for that"
        )
        return remarks
    damage, gaps = check_fragments(file, size)
    if gaps is not None:
        remarks["gaps"] = f"{gaps}: what was in them is missing in the result"
    lost = find_lost_head(file)
    if lost is not None:
        remarks["lost head"] = (
            f"the head of a packet is damaged at byte {lost} of {size}, and may be elsewhere: its picture or sound is "
            "not found, and missing in the result"
        )
    damage = _find_damage(file, size) if damage is None else damage
    if damage is not None and not _is_padding(file, damage):
        raise InputError(
            f"input {name!r}: byte {damage} of {size} begins nothing that its container knows, and pictures may be "
            f"gone there; {remedy}"
        )
    if damage is not None:
        remarks["padding"] = (
            f"its last {size - damage} bytes are zeros: padding, or what a fetch that was broken off left empty"
        )
    return remarks


def is_mp4(file: BinaryIO) -> bool:
    """Whether `file`, from its beginning, is MP4, MOV or one of their kin."""
    head = file.read(8)
    file.seek(0)
    return head[4:8] in _BOXES


def _find_damage(file: BinaryIO, size: int) -> int | None:
    """Where in `file` of `size` bytes something stands that its container does not know; None where nothing does, and
    for containers that cannot be told so. Looks at the head of every packet of Matroska, WebM and FLV: there libav goes
    on somewhere later, and says nothing of the pictures between.
    """
    file.seek(0)
    head = file.read(9)
    if head[:4] == _EBML:
        return matroska.find_damage(file, size)
    return _damaged_tag(file, size, begin=int.from_bytes(head[5:9], "big")) if head[:3] == b"FLV" else None


def _damaged_tag(file: BinaryIO, size: int, *, begin: int) -> int | None:
    """FLV (Adobe Flash Video File Format Specification 10.1, E.3 and E.4): before each tag the size of the last one; a
    tag is its type, its size, its time, and a stream's number, which is 0."""
    position = begin + 4
    while position + 11 <= size:
        file.seek(position)
        tag = file.read(11)
        if tag[0] & 0x1F not in _FLV_TAGS or any(tag[8:]):
            return position
        position += 11 + int.from_bytes(tag[1:4], "big") + 4
    return None


def _is_padding(file: BinaryIO, begin: int) -> bool:
    """Whether nothing but zeros stands in `file` from `begin` on."""
    file.seek(begin)
    while data := file.read(1 << 20):
        if data.count(0) != len(data):
            return False
    return True


def is_short_ts(file: BinaryIO, size: int) -> bool:
    """Whether `file`, from its beginning, is MPEG-TS of so few packets that libav takes it for something else."""
    if size > _FEW_TS_PACKETS * _TS_PACKET or size % _TS_PACKET:
        return False
    data = file.read(size)
    file.seek(0)
    return set(data[::_TS_PACKET]) == {_TS_SYNC}


def is_upright(file: BinaryIO) -> bool:
    """Whether the movie and all tracks of an MP4 say that pictures are shown as they are coded; False too where no
    track can be read.

    ISO/IEC 14496-12, 8.2.2 and 8.3.2: mvhd and tkhd hold a matrix {a, b, u, c, d, v, x, y, w}. x and y move, which no
    picture here does.
    """
    index = movie(file)
    if index is None:
        return False
    tracks = [(header, _TRACK_MATRIX) for header in find(file, index, b"trak", b"tkhd")]
    movies = [(header, _MOVIE_MATRIX) for header in find(file, index, b"mvhd")]
    for header, place in tracks + movies:
        data = read(file, header)
        place += _LONG_TIMES * (data[:1] == b"\1")
        matrix = data[place : place + len(_UPRIGHT)]
        if matrix[:24] != _UPRIGHT[:24] or matrix[32:] != _UPRIGHT[32:]:
            return False
    return bool(tracks)


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
    """Behind the last box readers ignore what is none."""
    has_index, missing = False, 0
    for box in boxes(file, 0, size):
        has_index, missing = has_index or box.kind in (b"moov", b"moof"), box.missing
    return _missing(size + missing, size) if has_index else "its index (the moov box) is missing"


def _cut_matroska(file: BinaryIO, size: int) -> str | None:
    """RFC 8794: EBML header, then one segment whose length may be unknown."""
    file.seek(4)
    header = read_length(file.read(8))
    if header is None or header[0] > size:
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
