# SPDX-License-Identifier: MIT
"""What every rung does with codecs: the server's own decoder and encoder, so their settings cannot differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from vireo_kernels.color import ColorSpec
from vireo_media.encoder_options import EncoderOptions
from vireo_media.times import CodedPacket
from vireo_server import tags
from vireo_server.decoded_picture import Picture, write_row
from vireo_server.decoder import Decoder
from vireo_server.encoder import Encoder
from vireo_server.formats import Color, Format, frame_shape

from perf.clips import Clip

Rows = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Coded:
    """What a rung made of a clip.

    Attributes:
        frames: how many pictures were coded.
        digests: of each stream's packets, so that one sees whether two rungs did the same work.
    """

    frames: int
    digests: set[str] = field(default_factory=set)


class Collector:
    """Takes a stream's packets and remembers what matters of them."""

    def __init__(self) -> None:
        self._frames, self._digest = 0, hashlib.sha256()

    def add(self, packets: list[tuple[bytes, list[int]]]) -> None:
        """Packets as the encoder gives them."""
        for data, _ in packets:
            self._frames += 1
            self._digest.update(data)

    def coded(self) -> Coded:
        """What came."""
        return Coded(frames=self._frames, digests={self._digest.hexdigest()})


def pictures(clip: Clip, *, threads: int = 1) -> Iterator[Picture]:
    """Decode a clip, picture by picture, in display order."""
    decoder = Decoder(clip.stream, threads=threads, quantizers=False)
    for packet in clip.packets:
        yield from decoder.decode(packet.data, numbers(packet))
    yield from decoder.flush()


def numbers(packet: CodedPacket) -> npt.NDArray[np.int64]:
    """A packet's row of PACKET_TIMING."""
    return np.array(packet[1:], np.int64)


def frames_of(batch: list[Picture]) -> Rows:
    """Decoded pictures as FRAMES, `(T, H + H/2, W) uint8`: NV12."""
    first = batch[0].frame
    shape = frame_shape(width=first.width, height=first.height, pixel_format="nv12")
    rows = np.empty((len(batch), *shape), np.uint8)
    for row, picture in zip(rows, batch, strict=True):
        write_row(picture.frame, row)
    return rows


def color_of(clip: Clip) -> ColorSpec:
    """How the clip's samples are to be read."""
    return tags.color_spec(color_tags(clip), stage="decode")


def color_tags(clip: Clip) -> Color:
    """The clip's colour description, nothing unknown."""
    stream = clip.stream
    return tags.resolve(stream.color, width=stream.width, height=stream.height, codec=stream.codec)


def open_encoder(clip: Clip, *, scale: int) -> Encoder:
    """The encoder of the result, whose pictures are `scale` times as wide and high."""
    return Encoder(
        _format(clip),
        EncoderOptions.from_json(clip.stream.encoder),
        width=scale * clip.stream.width,
        height=scale * clip.stream.height,
        frame_rate=clip.stream.frame_rate,
        sample_aspect_ratio=clip.stream.sample_aspect_ratio,
    )


def _format(clip: Clip) -> Format:
    return Format(
        width=clip.stream.width,
        height=clip.stream.height,
        pixel_format="nv12",
        time_base=clip.stream.time_base,
        color=color_tags(clip),
    )
