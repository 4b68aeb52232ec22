# SPDX-License-Identifier: MIT
"""Clips whose pictures are cropped: by mp4, by Matroska, by H.264 itself."""

import io
import struct
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext
from vireo_media.mastering import insert_boxes
from vireo_media.testing import numbered_clip

from .case import SIZE

_SEGMENT, _INFO, _TRACKS = b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"
_TAGS, _CLUSTER, _CUES = b"\x12\x54\xc3\x67", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b"
_CROPS = b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa"


def cropped_mp4(path: Path, frames: int) -> None:
    """`clap` (ISO/IEC 14496-12, 12.1.4): 128x80 pixels in the middle."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mp4")
    path.write_bytes(insert_boxes(raw.getvalue(), struct.pack(">I4s8i", 40, b"clap", 128, 1, 80, 1, 0, 1, 0, 1)))


def cropped_mkv(path: Path, frames: int) -> None:
    """PixelCropLeft, -Top, -Right and -Bottom (RFC 9559) take the place of a track's name of the same length."""
    crops = b"".join(side + bytes([0x81, cut]) for side, cut in zip(_CROPS, (16, 8, 16, 8), strict=True))
    name = "n" * (len(crops) - 3)
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        copy.metadata["title"] = name
        for packet in reader.demux(0):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    data = path.read_bytes()
    video = data.index(b"\xe0", data.index(name.encode()))  # Then its length, one byte with a 1 in front.
    start, end = video + 2, video + 2 + (data[video + 1] & 0x7F)
    named = b"\x53\x6e" + bytes([0x80 | len(name)]) + name.encode()
    header = data[:video].replace(named, b"") + b"\xe0" + bytes([data[video + 1] + len(crops)])
    assert len(header) == start - len(crops)
    path.write_bytes(header + data[start:end] + crops + data[end:])


def cropped_mkv_behind(path: Path, frames: int) -> None:
    """The same, with Tracks behind the pictures, as a SeekHead says: live recorders that mend their file have it."""
    cropped_mkv(path, frames)
    data = path.read_bytes()
    tracks, end = data.rindex(_TRACKS), data.rindex(_TAGS)
    cluster, cues = data.index(_CLUSTER), data.rindex(_CUES)
    segment = data.index(_SEGMENT) + 12
    info = data.rindex(_INFO)  # The first of each is in the SeekHead.
    parts = data[info:tracks] + data[cluster:cues]

    def sought(place: int) -> bytes:
        seek = b"\x53\xab\x84" + _TRACKS + b"\x53\xac\x84" + place.to_bytes(4, "big")
        return b"\x11\x4d\x9b\x74" + bytes([0x80 + 3 + len(seek)]) + b"\x4d\xbb" + bytes([0x80 + len(seek)]) + seek

    head = sought(len(sought(0)) + len(parts))
    whole = head + parts + data[tracks:end]
    path.write_bytes(data[: segment - 8] + (1 << 56 | len(whole)).to_bytes(8, "big") + whole)


def cropped_sps(path: Path, frames: int) -> None:
    """H.264's own cropping, 8 columns on the left among them: no round address begins there."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        crop = BitStreamFilterContext("h264_metadata=crop_left=8:crop_right=6:crop_top=4:crop_bottom=2", stream, copy)
        for packet in reader.demux(stream):
            for cropped in crop.filter(packet) if packet.size else ():
                cropped.stream = copy
                writer.mux(cropped)
