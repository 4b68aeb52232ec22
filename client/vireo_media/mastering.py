# SPDX-License-Identifier: MIT
"""HDR10's static metadata (SMPTE ST 2086 mastering display, CTA-861.3 light level) for the container.

# Note [Mastering display through a template]
libav's muxers write it (mp4 and mov: `mdcv` and `clli`; Matroska: MasteringMetadata, MaxCLL) from the side data of the
stream they are given, and PyAV cannot set that. But a demuxer does: so a file of one packet is written in memory, the
two boxes are put into it, and the stream that libav then reads from it is the template of the output's.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import av.video.stream

from vireo_media.container import libav_packet

__all__ = ["hdr_boxes", "insert_boxes", "with_boxes"]

_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_STSD_FIELDS = 8
"""Version, flags and the number of entries, before the first sample entry."""


def hdr_boxes(hdr: Mapping[str, Any] | None) -> bytes:
    """The boxes `mdcv` and `clli` (ISO/IEC 14496-12, 12.1.5 and 12.1.6) for REPORT.output's `hdr`, which has the form
    of STREAM's (see `probing`); those of which something is unknown are left out.
    """
    boxes = b""
    hdr = hdr or {}
    display, light = hdr.get("mastering_display") or {}, hdr.get("content_light")
    points = [display.get(name) for name in ("green", "blue", "red", "white")]
    nits = [display.get("max_luminance"), display.get("min_luminance")]
    if all(points) and all(nits):
        chroma = [round(Fraction(*value) * 50_000) for point in points for value in point or ()]
        luminance = [round(Fraction(*value) * 10_000) for value in nits if value]
        boxes += struct.pack(">I4s8H2I", 32, b"mdcv", *chroma, *luminance)
    if light:
        boxes += struct.pack(">I4s2H", 12, b"clli", light["max_content"], light["max_average"])
    return boxes


def with_boxes(template: av.video.stream.VideoStream, key_packet: bytes, boxes: bytes) -> io.BytesIO:
    """A movie of one packet, whose video stream is `template` with `boxes` in its sample entry.

    Raises ValueError, av.error.FFmpegError where a movie cannot hold the codec.
    """
    movie = io.BytesIO()
    with av.open(movie, "w", format="mp4") as writer:
        packet = libav_packet(key_packet, pts=0, dts=0, duration=1, time_base=Fraction(1, 25))
        packet.is_keyframe = True
        packet.stream = writer.add_stream_from_template(template, opaque=True)
        writer.mux(packet)
    return io.BytesIO(insert_boxes(movie.getvalue(), boxes))


def insert_boxes(data: bytes, boxes: bytes, *, path: Sequence[bytes] = _PATH) -> bytes:
    """The movie `data`, or boxes of it, with `boxes` at the end of its first sample entry, which lies at `path`.

    Only sizes change: where the index stands behind the packets, no offset does.
    """
    position = 0
    while data[position + 4 : position + 8] != path[0]:
        position += _size(data, position)
    end = position + _size(data, position)
    body = data[position + 8 : end]
    if len(path) > 1:
        body = insert_boxes(body, boxes, path=path[1:])
    else:
        entry = body[_STSD_FIELDS:]
        size = _size(entry, 0)
        body = body[:_STSD_FIELDS] + struct.pack(">I", size + len(boxes)) + entry[4:size] + boxes + entry[size:]
    return data[:position] + struct.pack(">I4s", 8 + len(body), path[0]) + body + data[end:]


def _size(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "big")
