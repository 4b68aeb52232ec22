# SPDX-License-Identifier: MIT
"""Frames to packets: one libav encoder a stream."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from vireo_kernels.color import rgb_to_frames

from vireo_server.encoders import ENCODERS, EncoderOptions
from vireo_server.errors import BadInput, StageError, codec_errors
from vireo_server.formats import DURATION, GENERATED, KIND, NO_PICTURE, PTS, ROW, SOURCE, UNKNOWN, UNTOUCHED, Format
from vireo_server.sequences import Stage
from vireo_server.settings import EncodeSettings
from vireo_server.tags import FFMPEG_MATRIX, FFMPEG_PRIMARIES, FFMPEG_TRANSFER, color_spec
from vireo_server.wire import Request, Tensors

_Frames = npt.NDArray[np.uint8]


class Encoder:
    """One stream's libav encoder: pictures in display order in, packets in decoding order out.

    Args:
        format: what the pictures are (layout, colour, time base).
        options: what the caller chose.
        width, height: of the pictures, which the network may have made larger than `format` says.
        frame_rate: for the encoder's rate control and headers; None when unknown.
        sample_aspect_ratio: written into the stream's headers.
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
    ) -> None:
        self.format, self.options, self.width, self.height = format, options, width, height
        self._kind = ENCODERS[options.codec]
        #: What is coded: 4:2:0 of H.264 and HEVC has even sizes only, so their odd pictures get a repeated edge.
        self.coded_width = width + width % 2 if self._kind.even_sizes else width
        self.coded_height = height + height % 2 if self._kind.even_sizes else height
        self._durations: dict[int, int] = {}
        self._time_base = Fraction(*format.time_base)
        self._next_unknown = 0
        with codec_errors(
            f"opening the encoder {self._kind.name} for {width}x{height}",
            stage="encode",
            advice="choose other encoder options",
        ):
            context = av.CodecContext.create(self._kind.name, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height = self.coded_width, self.coded_height
            context.pix_fmt = self._kind.pixel_formats[format.pixel_format]
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
            context.options = self._kind.options(options, color=format.color)
            context.open()
        self._context = context

    @property
    def extradata(self) -> bytes:
        """The codec's headers, which the container carries."""
        return bytes(self._context.extradata or b"")

    def encode(self, picture: _Frames, *, pts: int, duration: int) -> list[tuple[bytes, list[int]]]:
        """The packets that one picture, a row of FRAMES `(rows, bytes) uint8`, completes."""
        if pts == UNKNOWN:
            pts = self._next_unknown
        self._next_unknown = pts + max(duration, 1)
        frame = self._wrap(picture)
        frame.pts, frame.time_base = pts, self._time_base
        self._durations[pts] = duration
        seconds = float(pts * self._time_base)
        with codec_errors("encoding a picture", stage="encode", seconds=seconds, advice="choose other encoder options"):
            return self._packets(self._context.encode(frame))

    def finish(self) -> list[tuple[bytes, list[int]]]:
        """What the encoder still held."""
        with codec_errors("ending the encoder", stage="encode", advice="choose other encoder options"):
            return self._packets(self._context.encode(None))

    def _wrap(self, picture: _Frames) -> av.VideoFrame:
        wanted = self._kind.pixel_formats[self.format.pixel_format]
        if self.format.pixel_format == "p010" or self.width % 2 or self.height % 2:
            return self._split(picture, format=wanted)
        frame = av.VideoFrame.from_numpy_buffer(picture, format="nv12")
        return frame if wanted == "nv12" else frame.reformat(format=wanted)

    def _split(self, picture: _Frames, *, format: str) -> av.VideoFrame:
        """A row of FRAMES as libav's picture of the coded size, the last column and row repeated where that is larger."""
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


_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER


class EncodeStage(Stage):
    """The encode stage of one stream, the last of a transformation: packets, their times, REPORT."""

    def __init__(self, settings: EncodeSettings) -> None:
        self._settings = settings
        self._options = EncoderOptions()
        self._start: dict[str, Any] = {}
        self._encoder: Encoder | None = None
        self._notes: list[str] = []

    def open(self, request: Request) -> None:
        """Read the encoder's options; the encoder itself opens with the first picture, which has the size."""
        # An error of an earlier stage comes first: what it says of STREAM is better than what we could say.
        Format.from_json(request.json("FORMAT")).raise_error()
        self._start = request.json("STREAM")
        try:
            self._options = EncoderOptions.from_json(self._start.get("encoder") or {})
        except (ValueError, TypeError) as error:
            raise BadInput(f"{error}; change the encoder options", stage="encode") from error

    def step(self, request: Request) -> Tensors:
        """Encode the rows that are pictures; END empties the encoder."""
        format = Format.from_json(request.json("FORMAT"))
        format.raise_error()
        frames, output, timing = request.array("FRAMES"), request.array("OUTPUT"), request.array("TIMING")
        done: list[tuple[bytes, list[int]]] = []
        count = 0
        for index, row in enumerate(timing):
            if row[KIND] not in (SOURCE, GENERATED) or row[ROW] == NO_PICTURE:
                continue
            untouched = row[ROW] == UNTOUCHED
            shape = (format.height, format.width) if untouched else output.shape[-2:]
            encoder = self._ready(format, width=int(shape[1]), height=int(shape[0]))
            picture = frames[index] if untouched else self._convert(output[int(row[ROW])], format)
            done += encoder.encode(picture, pts=int(row[PTS]), duration=int(row[DURATION]))
            count += 1
        if request.end and self._encoder is not None:
            done += self._encoder.finish()
        report = {
            "pending": format.report.get("pending", 0),
            "frames_in": format.report.get("frames_in", 0),
            "frames_out": count,
            "notes": [*format.report.get("notes", []), *self._notes],
            "output": self._describe(),
        }
        self._notes = []
        return {
            "OUTPUT_PACKETS": [data for data, _ in done],
            "OUTPUT_TIMING": np.array([times for _, times in done], np.int64).reshape(-1, 4),
            "REPORT": json.dumps(report, separators=(",", ":"), sort_keys=True),
        }

    def failure(self, error: StageError) -> Tensors:
        """The last stage tells the caller."""
        raise error

    def close(self) -> None:
        """Free the codec context."""
        self._encoder = None

    def _ready(self, format: Format, *, width: int, height: int) -> Encoder:
        if self._encoder is None:
            if width * height > self._settings.max_pixels:
                raise BadInput(
                    f"the output picture is {width}x{height}; allowed: {self._settings.max_pixels} pixels "
                    "(max_pixels of model "
                    "'encode'); scale the source down or raise the limit",
                    stage="encode",
                )
            if format.color.matrix not in FFMPEG_MATRIX:
                raise BadInput(
                    f"the stream's colour matrix is {format.color.matrix!r}; allowed: {', '.join(FFMPEG_MATRIX)}; "
                    "convert the "
                    "source",
                    stage="encode",
                )
            self._encoder = Encoder(
                format,
                self._options,
                width=width,
                height=height,
                frame_rate=_pair(self._start.get("frame_rate")),
                sample_aspect_ratio=_pair(self._start.get("sample_aspect_ratio")),
            )
            self._notes = _size_notes(self._encoder)
        if (self._encoder.width, self._encoder.height) != (width, height):
            raise BadInput(
                f"the output picture changes from {self._encoder.width}x{self._encoder.height} to "
                f"{width}x{height}; a stream has "
                "one size",
                stage="encode",
            )
        return self._encoder

    @staticmethod
    def _convert(rgb: _Frames, format: Format) -> _Frames:
        frames: npt.NDArray[Any] = rgb_to_frames(
            rgb[np.newaxis],
            pixel_format=format.pixel_format,
            color=color_spec(format.color, stage="encode"),
        )
        return frames[0]

    def _describe(self) -> dict[str, Any] | None:
        encoder = self._encoder
        if encoder is None:
            return None
        return {
            "codec": encoder.options.codec,
            "extradata": base64.b64encode(encoder.extradata).decode(),
            "width": encoder.coded_width,
            "height": encoder.coded_height,
            "pixel_format": ENCODERS[encoder.options.codec].pixel_formats[encoder.format.pixel_format],
            "time_base": list(encoder.format.time_base),
            "sample_aspect_ratio": self._start.get("sample_aspect_ratio"),
            "rotation": encoder.format.rotation,
            "color": asdict(encoder.format.color),
            "hdr": self._start.get("hdr"),
            "frame_rate": self._start.get("frame_rate"),
        }


def _size_notes(encoder: Encoder) -> list[str]:
    if (encoder.coded_width, encoder.coded_height) == (encoder.width, encoder.height):
        return []
    return [
        f"{encoder.options.codec} codes even sizes only: the output is {encoder.coded_width}x{encoder.coded_height}, the last "
        f"column or row of {encoder.width}x{encoder.height} repeated; av1, vp9 and ffv1 keep odd sizes"
    ]


def _pair(value: Any) -> tuple[int, int] | None:
    return None if value is None else (int(value[0]), int(value[1]))
