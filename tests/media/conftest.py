# SPDX-License-Identifier: MIT
"""Real files, made once a session, and a decoder to look at what is in a segment."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from vireo_media.container import MediaSource, libav_packet
from vireo_media.description import StreamDescription
from vireo_media.probing import VideoInput, probe
from vireo_media.segments import Segment
from vireo_media.testing import numbered_clip, read_number
from vireo_media.times import FLAG_DISCARD

X265_QUIET = "log-level=none:pools=1"

# name -> (file, frames, arguments of numbered_clip). Each line says what is special about the clip.
CLIPS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "h264": ("h264.mp4", 250, {"gop": 25, "bframes": 3, "audio": "aac"}),
    "h264_ts": ("h264.ts", 250, {"gop": 25, "bframes": 3, "audio": "aac"}),  # Annex B, starts at another time than 0
    "h264_open": ("h264_open.mp4", 250, {"options": {"x264-params": "open-gop=1:keyint=25:bframes=3:scenecut=0"}}),
    "h264_open_ts": ("h264_open.ts", 250, {"options": {"x264-params": "open-gop=1:keyint=25:bframes=3:scenecut=0"}}),
    "h264_refresh": (
        "h264_refresh.mp4",
        250,
        {"options": {"x264-params": "intra-refresh=1:keyint=25"}},
    ),  # one IDR only
    "hevc": ("hevc.mp4", 250, {"codec": "libx265", "gop": 25}),
    "hevc_open": (
        "hevc_open.mkv",
        250,
        {"codec": "libx265", "options": {"x265-params": f"keyint=27:b-adapt=0:bframes=3:{X265_QUIET}"}},
    ),
    "vp9": ("vp9.webm", 250, {"codec": "libvpx-vp9", "gop": 25}),
    "vp8_hidden": (  # alternate references: packets that are never shown
        "vp8_hidden.webm",
        250,
        {"codec": "libvpx", "gop": 25, "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "1M"}},
    ),
    "mpeg2": ("mpeg2.ts", 250, {"codec": "mpeg2video", "gop": 12}),
    "mpeg4": ("mpeg4.mp4", 250, {"codec": "mpeg4", "gop": 25}),
    "ffv1": ("ffv1.mkv", 250, {"codec": "ffv1", "gop": 1}),  # every packet is a key packet
    "one_gop": ("one_gop.mp4", 250, {"gop": 250}),
    "one_frame": ("one_frame.mp4", 1, {}),
    "vfr": ("vfr.mkv", 60, {"pts": [40 * i + (i * i) % 37 for i in range(60)], "time_base": Fraction(1, 1000)}),
    "avi": ("avi.avi", 150, {"gop": 25}),  # H.264 with B-frames, and no presentation times
    "deep": ("deep.mp4", 50, {"codec": "libx265", "pixel_format": "yuv420p10le"}),
    "rotated": ("rotated.mp4", 30, {"rotation": 90}),
}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A clip of `CLIPS` by name, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        file, frames, arguments = CLIPS[name]
        path = folder / file
        if not path.exists():
            numbered_clip(path, frames=frames, size=(160, 96), **arguments)
        return path

    return make


@pytest.fixture
def video(clip: Callable[[str], Path]) -> Callable[[str], VideoInput]:
    return lambda name: probe(MediaSource(clip(name)))


Shown = tuple[int | None, int | None, bytes]


@pytest.fixture
def decode() -> Callable[[StreamDescription, Segment], list[Shown]]:
    """What a stage that obeys the contract gives out of a segment: (pts, number, luma) of each picture."""

    def run(stream: StreamDescription, segment: Segment) -> list[Shown]:
        decoder: Any = av.CodecContext.create(stream.codec, "r")
        decoder.width, decoder.height, decoder.thread_count = stream.width, stream.height, 1
        decoder.extradata = stream.extradata or None
        discarded: set[int] = set()
        shown: list[Shown] = []

        def take(frames: list[av.VideoFrame]) -> None:
            for frame in frames:
                if frame.pts in discarded:
                    continue
                if segment.emit is not None and not segment.emit[0] <= (frame.pts or 0) < segment.emit[1]:
                    continue
                assert not frame.is_corrupt
                shown.append((frame.pts, read_number(frame), np.ascontiguousarray(frame.to_ndarray()).tobytes()))

        for packet in segment.packets():
            if packet.flags & FLAG_DISCARD:
                discarded.add(packet.pts)
            data = libav_packet(
                packet.data,
                pts=packet.pts,
                dts=packet.dts,
                duration=packet.duration,
                time_base=Fraction(*stream.time_base),
            )
            take(decoder.decode(data))
        take(decoder.decode(None))
        return shown

    return run
