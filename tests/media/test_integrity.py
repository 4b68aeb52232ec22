# SPDX-License-Identifier: MIT
"""Files whose boxes and elements say what cannot be: what reads them neither fails nor takes what they ask for."""

import io
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from vireo_media.boxes import find, movie
from vireo_media.container import MediaSource, read_packets
from vireo_media.errors import InputError
from vireo_media.integrity import find_cut, is_upright
from vireo_media.matroska import read_crops
from vireo_media.parameter_sets import Bits
from vireo_media.testing import numbered_clip


def box(kind: bytes, payload: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(payload) if length is None else length, kind) + payload


def long_box(kind: bytes, payload: bytes, *, length: int) -> bytes:
    return struct.pack(">I4sQ", 1, kind, length) + payload


@pytest.mark.parametrize(
    "movie",
    [
        b"".join(box(b"moov", length=8 * (5000 - depth)) for depth in range(5000)),  # each in the one before
        box(b"free") + box(b"mvhd") + box(b"tkhd"),  # shorter than their matrix
        box(b"moov", box(b"mvhd") + box(b"trak", box(b"tkhd"))),
        long_box(b"moov", long_box(b"trak", b"", length=1 << 62), length=1 << 63),
        box(b"moov", box(b"cmov", bytes(100))),  # an index that is compressed: its tracks are not read
        box(b"moov", length=3),
    ],
)
def test_boxes_that_cannot_be_are_not_upright_and_nothing_else(tmp_path: Path, movie: bytes) -> None:
    path = tmp_path / "rubbish.mp4"
    path.write_bytes(movie)
    with path.open("rb") as file:
        assert not is_upright(file)
        find_cut(file, len(movie))
    with suppress(InputError), MediaSource(path).open():
        pass


def test_a_track_of_either_version_is_upright(tmp_path: Path) -> None:
    file = io.BytesIO()
    numbered_clip(file, frames=1, container="mp4")
    assert is_upright(file)
    index = movie(file)
    assert index is not None
    (header,) = find(file, index, b"trak", b"tkhd")
    data = file.getvalue()
    old = data[header.begin : header.end]
    # Version 1 has times of 8 bytes: two before the track's id, and its duration behind a reserved word.
    new = b"\1" + old[1:4] + bytes(8) + bytes(8) + old[12:20] + bytes(8) + old[24:]
    for version, upright in ((old, True), (new, True), (new[:52] + b"\0\0" + new[54:], False)):
        assert is_upright(io.BytesIO(box(b"moov", box(b"trak", box(b"tkhd", version))))) == upright


@pytest.mark.parametrize(
    "elements",
    [
        b"\x16\x54\xae\x6b\x01\xff\xff\xff\xff\xff\xff\xff",  # Tracks of unknown length
        b"\x16\x54\xae\x6b\x01\xff\xff\xff\xff\xff\xff\xfe",  # of 64 PiB
        b"\xec\x01\xff\xff\xff\xff\xff\xff\xfe",  # Tracks behind something as long
        b"\xec\x80" * 5000 + b"\x16\x54\xae\x6b\x85\xae\x83\x83\x81\x01",  # a video behind thousands of nothing
    ],
)
def test_elements_that_cannot_be_crop_nothing(tmp_path: Path, elements: bytes) -> None:
    path = tmp_path / "rubbish.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + elements)
    with path.open("rb") as file:
        assert read_crops(file) == []
        assert find_cut(file, path.stat().st_size) is None


def test_a_header_of_ebml_that_is_too_long_is_left_to_libav(tmp_path: Path) -> None:
    path = tmp_path / "rubbish.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(100))
    with path.open("rb") as file:
        assert find_cut(file, 112) is None
    with pytest.raises(InputError), MediaSource(path).open():
        pass


def test_of_rubbish_that_calls_itself_a_header_little_is_taken() -> None:
    bits = Bits(bytes(1 << 20))
    bits.take(1 << 17)
    with pytest.raises(IndexError):
        bits.take(1)


@pytest.fixture(scope="module")
def fragments() -> bytes:
    file = io.BytesIO()
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    numbered_clip(file, frames=40, size=(64, 48), gop=10, container="mp4", audio="aac", container_options=flags)
    return file.getvalue()


def part(data: bytes, kind: bytes, *, number: int) -> int:
    """Where the `number`-th box of a kind begins, counted from 0, by its payload."""
    places = [place for place in range(len(data)) if data.startswith(kind, place)]
    return places[number] + 4


@pytest.mark.parametrize(
    ("kind", "place", "change"),
    [
        (b"moof", -4, b"\1oof"),  # Its kind, of which only the first letter is another.
        (b"mdat", -8, b"\0\0\1\0"),  # Its length.
        (b"mdat", -8, b"\0\0\0\4"),
        (b"mfhd", -8, b"\0\0\1\0"),
        (b"traf", -4, b"trag"),
        (b"tfhd", 3, b"\x18"),
        (b"trun", -4, b"trum"),
        (b"trun", 7, b"\1"),  # How many samples.
        (b"trun", 16, b"\0\1\0\0"),  # The size of its first one.
    ],
)
def test_a_damaged_fragment_loses_no_picture_in_silence(
    fragments: bytes, kind: bytes, place: int, change: bytes
) -> None:
    """libav would go on with the next one."""
    assert len(list(read_packets(MediaSource(fragments)))) == 40
    at = part(fragments, kind, number=2) + place
    damaged = fragments[:at] + change + fragments[at + len(change) :]
    with pytest.raises(InputError, match=r"byte [0-9]+ of [0-9]+ begins nothing that its container knows|is cut short"):
        list(read_packets(MediaSource(damaged)))


def test_a_missing_fragment_is_said(fragments: bytes) -> None:
    begin, end = (part(fragments, b"moof", number=number) - 8 for number in (1, 2))
    source = MediaSource(fragments[:begin] + fragments[end:])
    assert len(list(read_packets(source))) < 40
    assert "fragments are missing: number 3 follows 1" in source.remarks["gaps"]
    source = MediaSource(fragments)
    list(read_packets(source))
    assert not source.remarks
