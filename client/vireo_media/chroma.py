# SPDX-License-Identifier: MIT
"""Where a stream's chroma samples lie, from its own headers.

# Note [Chroma location from a trace]
PyAV 18.1 shows it neither on streams nor on frames. libavcodec's `trace_headers` filter reads every field of H.264,
HEVC and AV1 headers and writes them to the log, which is caught here, in this thread, for one packet.
"""

import contextlib
import re
import threading
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import av.logging
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

from vireo_media.container import libav_packet

__all__ = ["chroma_location", "libav_tells", "sample_location"]

# H.264 and HEVC: chroma_sample_loc_type (ITU-T H.273, table for ChromaLocType); the bottom field's follows the top's.
_SAMPLE_LOC = ("left", "center", "topleft", "top", "bottomleft", "bottom")
# AV1: chroma_sample_position; 0 says nothing.
_SAMPLE_POSITION = {1: "left", 2: "topleft"}
_FIELD = re.compile(r"chroma_sample_(loc_type_top_field|position)\s.*= (\d+)\s*$")

_LEVEL = threading.Lock()
"""The level of libav's log belongs to the process."""


@contextlib.contextmanager
def libav_tells(level: int) -> Iterator[None]:
    """libav's log has this level as long as the block lasts. What other threads say meanwhile goes nowhere."""
    with _LEVEL, av.logging.Capture(local=False):
        # Not back to None, PyAV's own default: it cannot be compared with the level of what another thread just says.
        before = av.logging.get_level() or av.logging.PANIC
        av.logging.set_level(level)
        try:
            yield
        finally:
            av.logging.set_level(before)


def chroma_location(stream: VideoStream, key_packet: bytes | None) -> str | None:
    """FFmpeg's name of the chroma location that the headers of `stream` say; None where they say none.

    `key_packet` is a key packet of it, for the headers that stand there.
    """
    if stream.codec_context.codec.canonical_name not in ("h264", "hevc", "av1") or key_packet is None:
        return None
    packet = libav_packet(key_packet, pts=0, dts=0, duration=0, time_base=stream.time_base or Fraction(1, 25))
    try:
        with libav_tells(av.logging.VERBOSE), av.logging.Capture(local=True) as lines:
            tracer = BitStreamFilterContext("trace_headers", stream)
            tracer.filter(packet)
    except av.error.FFmpegError:
        return None  # Headers that cannot be read are the decoder's to judge.
    for _, name, line in lines:
        found = _FIELD.search(line) if name == "trace_headers" else None
        if found is not None:
            number = int(found[2])
            if found[1] == "position":
                return _SAMPLE_POSITION.get(number)
            return sample_location(number)
    return None


def sample_location(number: int | None) -> str | None:
    """FFmpeg's name of a chroma_sample_loc_type."""
    return _SAMPLE_LOC[number] if number is not None and number < len(_SAMPLE_LOC) else None
