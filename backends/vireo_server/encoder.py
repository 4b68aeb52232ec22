# SPDX-License-Identifier: MIT
"""Frames to packets: one libav encoder a stream."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from vireo_media.encoder_options import EncoderOptions

from vireo_server.encoders import ENCODERS, encoder_kind
from vireo_server.errors import BadInput, codec_errors
from vireo_server.formats import UNKNOWN, Format
from vireo_server.hdr import Hdr
from vireo_server.nvenc import device_frame, fault
from vireo_server.side import HOST, Side
from vireo_server.tags import FFMPEG_MATRIX, FFMPEG_PRIMARIES, FFMPEG_TRANSFER
from vireo_server.wire import Pixels

_Frames = npt.NDArray[np.uint8]

# SVT-AV1 reports its settings on standard error for every stream; errors only.
os.environ.setdefault("SVT_LOG", "1")


class Encoder:
    """One stream's libav encoder: pictures in display order in, packets in decoding order out.

    Args:
        format: what the pictures are (layout, colour, time base).
        options: what the caller chose.
        width, height: of the pictures, which the network may have made larger than `format` says.
        frame_rate: for the encoder's rate control and headers; None when unknown.
        sample_aspect_ratio: written into the stream's headers.
        hdr: mastering display and light level, written where the codec can hold them.
        side: where the stage works; NVENC takes pictures from there.

    Raises:
        BadInput: what was chosen is not possible, here or at all.
    """

    def __init__(
        self,
        format: Format,
        options: EncoderOptions,
        *,
        width: int,
        height: int,
        frame_rate: tuple[int, int] | None,
        sample_aspect_ratio: tuple[int, int] | None,
        hdr: Hdr | None = None,
        side: Side = HOST,
    ) -> None:
        self.format, self.options, self.width, self.height = format, options, width, height
        self._kind, self._side = encoder_kind(options), side
        #: What is coded: 4:2:0 of H.264 and HEVC has even sizes only, so their odd pictures get a repeated edge.
        self.coded_width = width + width % 2 if self._kind.even_sizes else width
        self.coded_height = height + height % 2 if self._kind.even_sizes else height
        self._durations: dict[int, int] = {}
        self._time_base = Fraction(*format.time_base)
        self._next_unknown = 0
        self._key_slot: int | None = None
        self._keyint = None if options.keyint is None else Fraction(str(options.keyint))
        if format.pixel_format not in self._kind.pixel_formats:
            others = ", ".join(name for name, kind in ENCODERS.items() if format.pixel_format in kind.pixel_formats)
            raise BadInput(f"{options.codec} cannot keep 10 bit here; choose codec {others}", stage="encode")
        if self.on_device and (why := fault(self._kind.name, self._kind.device_format, side)):
            raise BadInput(
                f"nvenc is 'on', and this server cannot encode {options.codec} so: {why}; leave it out, or send the "
                "video to a server whose GPU can",
                stage="encode",
            )
        with codec_errors(
            f"opening the encoder {self._kind.name} for {width}x{height}",
            stage="encode",
            advice="choose other encoder options",
        ):
            context = av.CodecContext.create(self._kind.name, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height = self.coded_width, self.coded_height
            context.pix_fmt = self._kind.device_format or self._kind.pixel_formats[format.pixel_format]
            context.time_base = self._time_base
            if frame_rate is not None:
                context.framerate = Fraction(*frame_rate)
            if sample_aspect_ratio is not None and all(sample_aspect_ratio):
                context.sample_aspect_ratio = Fraction(*sample_aspect_ratio)
            context.color_range = 2 if format.color.range == "pc" else 1
            context.colorspace = FFMPEG_MATRIX[format.color.matrix]
            context.color_primaries = FFMPEG_PRIMARIES.get(format.color.primaries, 2)
            context.color_trc = FFMPEG_TRANSFER.get(format.color.transfer, 2)
            context.thread_count = options.threads
            context.flags |= _GLOBAL_HEADER
            if self._keyint is not None:
                context.gop_size = _NEVER
            size = (self.coded_width, self.coded_height)
            context.options = self._kind.options(options, color=format.color, size=size, hdr=hdr)
            if not self.on_device:  # Those open with the first picture, which says in whose memory it is.
                context.open()
        self._context = context

    @property
    def on_device(self) -> bool:
        """Whether pictures are taken from the GPU's memory; else from the host's."""
        return bool(self._kind.device_format)

    @property
    def extradata(self) -> bytes:
        """The codec's headers, which the container carries."""
        return bytes(self._context.extradata or b"")

    def encode(self, picture: Pixels, *, pts: int, duration: int) -> list[tuple[bytes, list[int]]]:
        """The packets that one picture completes: a row of FRAMES `(rows, bytes) uint8`, where `on_device` says."""
        if pts == UNKNOWN:
            pts = self._next_unknown
        self._next_unknown = pts + max(duration, 1)
        frame = self._wrap(picture) if not self.on_device else self._on_device(picture)
        frame.pts, frame.time_base = pts, self._time_base
        self._durations[pts] = duration
        seconds = float(pts * self._time_base)
        if self._keyint is not None:
            slot = math.floor(pts * self._time_base / self._keyint)
            if slot != self._key_slot:
                frame.pict_type = PictureType.I
            self._key_slot = slot
        with codec_errors("encoding a picture", stage="encode", seconds=seconds, advice="choose other encoder options"):
            return self._packets(self._context.encode(frame))

    def finish(self, *, progress: Callable[[], None] = lambda: None) -> list[tuple[bytes, list[int]]]:
        """What the encoder still held, perhaps fifty pictures; `progress` is called with every one that is done."""
        packets = []
        with codec_errors("ending the encoder", stage="encode", advice="choose other encoder options"):
            for packet in self._context.encode_lazy(None):
                packets.append(packet)
                progress()
        return self._packets(packets)

    def _on_device(self, picture: Pixels) -> av.VideoFrame:
        return device_frame(
            picture,
            width=self.width,
            height=self.height,
            pixel_format=self.format.pixel_format,
            side=self._side,
        )

    def _wrap(self, picture: _Frames) -> av.VideoFrame:
        wanted = self._kind.pixel_formats[self.format.pixel_format]
        # PyAV takes the height of an NV12 array to be a multiple of 4: of 70 rows it would make 68, and scale them.
        if self.format.pixel_format == "p010" or self.width % 2 or self.height % 4:
            return self._split(picture, format=wanted)
        frame = av.VideoFrame.from_numpy_buffer(picture, format="nv12")
        return frame if wanted == "nv12" else frame.reformat(format=wanted)

    def _split(self, picture: _Frames, *, format: str) -> av.VideoFrame:
        """A row of FRAMES as libav's picture of the coded size, the last column and row repeated where that is "
        "larger."""
        deep = self.format.pixel_format == "p010"
        samples: npt.NDArray[Any] = picture.view(np.uint16) >> 6 if deep else picture
        luma, chroma = samples[: self.height, : self.width], samples[self.height :]
        parts = [luma, chroma] if format == "nv12" else [luma, chroma[:, 0::2], chroma[:, 1::2]]
        frame = av.VideoFrame(self.coded_width, self.coded_height, format)
        for plane, part in zip(frame.planes, parts, strict=True):
            row_samples = plane.line_size // samples.itemsize
            target = np.frombuffer(memoryview(plane), dtype=samples.dtype).reshape(plane.height, row_samples)
            height, width = part.shape
            target[:height, :width] = part
            target[:height, width:] = part[:, -1:]
            target[height:] = target[height - 1]
        return frame

    def _packets(self, packets: list[av.Packet[Any]]) -> list[tuple[bytes, list[int]]]:
        done = []
        for packet in packets:
            pts = UNKNOWN if packet.pts is None else packet.pts
            dts = UNKNOWN if packet.dts is None else packet.dts
            duration = self._durations.pop(pts, packet.duration or 0)
            done.append((bytes(packet), [pts, dts, duration, int(packet.is_keyframe)]))
        return done


#: Frames from key frame to key frame, where only we decide.
_NEVER = 1 << 16
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER
