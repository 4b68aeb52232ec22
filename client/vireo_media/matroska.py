# SPDX-License-Identifier: MIT
"""What libav's Matroska demuxer and muxer do not pass on: the cropping of a track, and the shape of its pixels.

Elements are [id][length][payload] (RFC 8794); their ids are those of RFC 9559.
"""

import os
import zlib
from collections.abc import Iterator
from fractions import Fraction
from math import gcd
from typing import BinaryIO, NamedTuple

__all__ = ["EBML_HEADER", "SEGMENT", "find_damage", "read_crops", "read_length", "reserved_name", "write_aspect"]

EBML_HEADER, SEGMENT = 0x1A45DFA3, 0x18538067
_TRACKS, _CLUSTER, _TRACK_ENTRY = 0x1654AE6B, 0x1F43B675, 0xAE
_SEEK_HEAD, _SEEK, _SEEK_ID, _SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
_TRACK_TYPE, _IS_VIDEO = 0x83, 1
_NAME, _VIDEO, _VOID, _CRC = 0x536E, 0xE0, 0xEC, 0xBF
_PIXEL_WIDTH, _PIXEL_HEIGHT, _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2
_DISPLAY = _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT
_IN_SEGMENT = {
    _SEEK_HEAD, 0x1549A966, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469, _VOID, _CRC,
}  # fmt: skip
_IN_CLUSTER = {0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0x5854, 0x1B538667, _VOID, _CRC}
"""The elements that may stand there (RFC 9559, 5.1)."""
_CROPS = 0x54CC, 0x54BB, 0x54DD, 0x54AA
"""PixelCropLeft, PixelCropTop, PixelCropRight, PixelCropBottom."""

_MOST_ELEMENTS, _MOST_BYTES = 1000, 1 << 22
"""How far to look for Tracks, and how much of it is read: many times what files have. Rubbish may say anything."""

_RESERVED = "." * 60
"""The room of DisplayWidth and DisplayHeight, of longer lengths, and of the element that fills up the rest."""


class _Element(NamedTuple):
    """An element of a payload, which it lies in from `start` to `end`, its own payload from `begin`."""

    kind: int
    start: int
    begin: int
    end: int
    payload: bytes


def read_length(data: bytes) -> tuple[int, int, bool] | None:
    """A length at the beginning of `data`: its value, how many bytes it takes, and whether it means "unknown". None
    where there is none."""
    if not data or not data[0]:
        return None
    width = 9 - data[0].bit_length()
    if len(data) < width:
        return None
    value = int.from_bytes(data[:width], "big") & (1 << 7 * width) - 1
    return value, width, value == (1 << 7 * width) - 1


def read_crops(file: BinaryIO) -> list[tuple[int, int, int, int]]:
    """Of every video track, in the file's order: how many columns and rows its pictures lose, (left, top, right,
    bottom)."""
    found = _find_tracks(file)
    crops = []
    for entry in _elements(found[1]) if found else ():
        track = {element.kind: element.payload for element in _elements(entry.payload)}
        if entry.kind == _TRACK_ENTRY and _number(track.get(_TRACK_TYPE, b"")) == _IS_VIDEO:
            video = {element.kind: _number(element.payload) for element in _elements(track.get(_VIDEO, b""))}
            left, top, right, bottom = (video.get(side, 0) for side in _CROPS)
            crops.append((left, top, right, bottom))
    return crops


def find_damage(file: BinaryIO, size: int) -> int | None:
    """Where an element stands that cannot be there, in a file of `size` bytes; None where all of them fit.

    libav goes on at the next cluster that it finds, and says nothing of the pictures between. A recording that is still
    being written (clusters of unknown length) is not looked at.
    """
    position, end = 0, size
    while position < end:
        found = _header(file, position)
        if found is None or (found[0] not in _IN_SEGMENT and found[0] not in (EBML_HEADER, SEGMENT)):
            return position
        kind, begin, stop = found
        if kind == SEGMENT:
            position, end = begin, min(size, size if stop is None else stop)
            continue
        if stop is None:
            return None
        while kind == _CLUSTER and begin < stop:
            inner = _header(file, begin)
            if inner is None or inner[0] not in _IN_CLUSTER or inner[2] is None or inner[2] > stop:
                return begin
            begin = inner[2]
        position = stop
    return None


def _header(file: BinaryIO, position: int) -> tuple[int, int, int | None] | None:
    """An element's id, where its payload begins, and where it ends, None where that is not said; None where there is no
    element."""
    file.seek(position)
    head = file.read(12)
    kind, width = _id(head)
    length = read_length(head[width:])
    if not kind or length is None:
        return None
    begin = position + width + length[1]
    return kind, begin, None if length[2] else begin + length[0]


# Note [The shape of pixels in Matroska]
# libav's muxer writes DisplayWidth and DisplayHeight from a field that PyAV does not set. VP9, AV1 as SVT writes it,
# and FFV1 say it nowhere else. So the track is given a longer name than it has, and when all is written the two
# elements take the place of what the name has too much: the header keeps its length, and nothing after it moves.


def reserved_name(name: str) -> str:
    """What to give a track as its name, so that `write_aspect` finds room."""
    return name + _RESERVED


def write_aspect(file: BinaryIO, aspect: Fraction) -> None:
    """Say in a written file that the pixels of its first track are `aspect` times as wide as high.

    The track has a `reserved_name`, which becomes the name again.
    """
    found = _find_tracks(file)
    assert found is not None  # We wrote it.
    place, tracks = found
    entry = next(element for element in _elements(tracks) if element.kind == _TRACK_ENTRY)
    tracks = tracks[: entry.begin] + _shaped(entry.payload, aspect) + tracks[entry.end :]
    if tracks[0] == _CRC:  # The first element, of four bytes, over all that follows it.
        tracks = tracks[:2] + zlib.crc32(tracks[6:]).to_bytes(4, "little") + tracks[6:]
    file.seek(place)
    file.write(tracks)


def _shaped(entry: bytes, aspect: Fraction) -> bytes:
    """A TrackEntry's payload with the display size in it, and as long as before."""
    shaped = b""
    for element in _elements(entry):
        if element.kind == _NAME:
            name = element.payload.removesuffix(_RESERVED.encode())
            shaped += _coded(_NAME, name) if name else b""
        elif element.kind == _VIDEO:
            parts = list(_elements(element.payload))
            kept = b"".join(element.payload[part.start : part.end] for part in parts if part.kind not in _DISPLAY)
            video = {part.kind: _number(part.payload) for part in parts}
            width, height = _display_size(video[_PIXEL_WIDTH], video[_PIXEL_HEIGHT], aspect)
            sizes = _coded(_DISPLAY_WIDTH, width.to_bytes(4, "big")) + _coded(
                _DISPLAY_HEIGHT, height.to_bytes(4, "big")
            )
            shaped += _coded(_VIDEO, kept + sizes)
        else:
            shaped += entry[element.start : element.end]
    rest = len(entry) - len(shaped)
    return shaped + _coded(_VOID, bytes(rest - len(_coded(_VOID, b""))))


def _display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The smallest display size that has exactly the shape that is wanted, and is no smaller than the picture."""
    wide, high = width * aspect.numerator, height * aspect.denominator
    divisor = gcd(wide, high)
    wide, high = wide // divisor, high // divisor
    times = max(-(-width // wide), -(-height // high))
    return wide * times, high * times


def _find_tracks(file: BinaryIO) -> tuple[int, bytes] | None:
    """Where the payload of the element Tracks begins, and the payload. It stands before the first cluster, or where a
    SeekHead before that says; None where it does not."""
    size = file.seek(0, os.SEEK_END)
    position, segment = 0, 0
    behind: int | None = None
    for _ in range(_MOST_ELEMENTS):
        found = _header(file, position)
        if found is None:
            return None
        kind, begin, stop = found
        if kind == _CLUSTER and behind is not None and behind > position:
            position, behind = behind, None
            continue
        if kind == _CLUSTER:
            return None
        end = size if stop is None else stop
        if kind in (_TRACKS, _SEEK_HEAD):
            file.seek(begin)
            payload = file.read(min(end - begin, _MOST_BYTES))
            if kind == _TRACKS:
                return begin, payload
            behind = _sought_tracks(payload, segment) or behind
        if kind == SEGMENT:
            segment = begin
        position = begin if kind == SEGMENT else end
        if position >= size:
            break
    return None


def _sought_tracks(seek_head: bytes, segment: int) -> int | None:
    """Where the payload of a SeekHead says that Tracks is; `segment` is where the segment's payload begins."""
    for entry in _elements(seek_head):
        found = {element.kind: _number(element.payload) for element in _elements(entry.payload)}
        if entry.kind == _SEEK and found.get(_SEEK_ID) == _TRACKS and _SEEK_POSITION in found:
            return segment + found[_SEEK_POSITION]
    return None


def _elements(data: bytes) -> Iterator[_Element]:
    position = 0
    while position < len(data):
        kind, width = _id(data[position : position + 4])
        length = read_length(data[position + width : position + width + 8])
        if not kind or length is None:
            return
        begin = position + width + length[1]
        end = begin + length[0]
        yield _Element(kind, position, begin, end, data[begin:end])
        position = end


def _id(data: bytes) -> tuple[int, int]:
    """An element's id and how many bytes it takes; 0 where there is none."""
    width = 9 - data[0].bit_length() if data and data[0] >= 16 else 0
    return int.from_bytes(data[:width], "big"), width


def _coded(kind: int, payload: bytes) -> bytes:
    """An element; its length takes 8 bytes, whatever it is."""
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + (1 << 56 | len(payload)).to_bytes(8, "big") + payload


def _number(payload: bytes) -> int:
    return int.from_bytes(payload, "big")
