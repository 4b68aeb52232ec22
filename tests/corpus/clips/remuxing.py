# SPDX-License-Identifier: MIT
"""Clips that are copied packet by packet, or whose packets are written by hand."""

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.stream import VideoStream
from vireo_media.testing import numbered_clip

from .case import SIZE


def copy_streams(reader: Any, writer: Any, change: Callable[[Any, int], Any]) -> None:
    """Copy every stream, each packet through `change(packet, its place in the stream)`, which may give None."""
    copies = {stream.index: writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
    places = dict.fromkeys(copies, 0)
    for packet in reader.demux():
        if not packet.size:
            continue
        place, places[packet.stream_index] = places[packet.stream_index], places[packet.stream_index] + 1
        is_picture = isinstance(copies[packet.stream_index], VideoStream)
        packet = change(packet, place) if is_picture else packet
        if packet is not None:
            packet.stream = copies[packet.stream_index]
            writer.mux(packet)


def remuxed(
    path: Path, frames: int, change: Callable[[Any, int], Any], *, via: str, options: Any = None, **clip: Any
) -> None:
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, container=via, **{"size": SIZE, "gop": 12, **clip})
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w", container_options=dict(options or {})) as writer:
        copy_streams(reader, writer, change)


def write_pictures(path: Path, pictures: Sequence[bytes], *, format: str) -> None:
    """Coded pictures at 25 a second; `format` is the bare one that tells libav what they are."""
    with (
        av.open(io.BytesIO(b"".join(pictures)), format=format) as reader,
        av.open(str(path), "w") as writer,
    ):
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for place, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.pts = packet.dts = 3600 * place
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 90000), copy, True
            packet.duration = 3600
            writer.mux(packet)
