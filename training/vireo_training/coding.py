# SPDX-License-Identifier: MIT
"""What happens to a picture before a restoration network sees it: noise, then one of the old and new codecs.

With the decoded pictures comes what the stream told of its quality, read by the same function as in the served chain.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, cast

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from vireo_kernels import ColorSpec, rgb_to_frames
from vireo_media.container import libav_packet
from vireo_media.quantization import DECODER_OPTIONS, QuantizerReader, has_loop_filter

from vireo_training.degradation import BT709, frame_from_rgb, rgb_from_frame, x264_repeatable

__all__ = ["CODECS", "Coded", "Coding", "code", "with_noise"]

Codec = Literal["h264", "mpeg2video", "mjpeg", "jpeg"]

CODECS: Mapping[Codec, str] = {
    "h264": "crf 0..51 of x264",
    "mpeg2video": "quantiser scale 1..31",
    "mjpeg": "quantiser scale 1..31, by FFmpeg's encoder and its tables",
    "jpeg": "quality 1..95, by libjpeg and its tables",
}
"""Codecs that pictures go through, and the unit of their quality."""

_JPEG = ColorSpec(matrix="bt601", color_range="full", chroma_location="center")


@dataclass(frozen=True)
class Coding:
    """One way to code a clip; `quality` is in the codec's own unit, see `CODECS`. `options` are the encoder's."""

    codec: Codec
    quality: int
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least, most = {"h264": (0, 51), "jpeg": (1, 95)}.get(self.codec, (1, 31))
        if self.codec not in CODECS or not least <= self.quality <= most:
            raise ValueError(f"coding: {self.codec!r} at quality {self.quality!r}; allowed: {dict(CODECS)!r}")


@dataclass(frozen=True)
class Coded:
    """Decoded pictures (T, H, W, 3) uint8 RGB, the quantiser step of each (T,), and whether they were deblocked."""

    pictures: NDArray[np.uint8]
    steps: tuple[float, ...]
    loop_filter: bool


def with_noise(clip: NDArray[np.uint8], *, deviation: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Add noise of a camera's kind to (T, H, W, 3) uint8 pictures: Gaussian, new in each frame, in levels."""
    if deviation == 0:
        return clip
    return np.clip(clip + random.normal(0, deviation, clip.shape), 0, 255).round().astype(np.uint8)


def code(clip: NDArray[np.uint8], coding: Coding) -> Coded:
    """Encode (T, H, W, 3) uint8 RGB, H and W even, and decode it again, in display order."""
    jpeg = coding.codec in ("mjpeg", "jpeg")
    name = "mjpeg" if jpeg else coding.codec
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
    decoder.thread_count, decoder.options = 1, DECODER_OPTIONS
    reader, frames, steps = QuantizerReader(name), [], []
    packets: Iterator[Any] = _stills(clip, coding) if coding.codec == "jpeg" else _video(clip, coding)
    for packet in [*packets, None]:
        if packet is not None:
            reader.read_packet(bytes(packet))
        for frame in decoder.decode(packet):
            step = reader.step(frame)
            assert step is not None
            frames.append(rgb_from_frame(frame, color=_JPEG if jpeg else BT709))
            steps.append(step)
    if len(frames) != len(clip):
        raise RuntimeError(f"code: {len(clip)} frames went into {coding!r} and {len(frames)} came back")
    return Coded(np.stack(frames), tuple(steps), has_loop_filter(coding.codec))


def _stills(clip: NDArray[np.uint8], coding: Coding) -> Iterator[Any]:
    for index, picture in enumerate(clip):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=coding.quality, subsampling="4:2:0")
        yield libav_packet(file.getvalue(), pts=index, dts=index, duration=1, time_base=Fraction(1, 25))


def _video(clip: NDArray[np.uint8], coding: Coding) -> Iterator["av.Packet[Any]"]:
    name = "libx264" if coding.codec == "h264" else coding.codec
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "w"))
    encoder.height, encoder.width = clip[0].shape[:2]
    encoder.pix_fmt = "yuvj420p" if coding.codec == "mjpeg" else "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    # One thread: x264 writes other bytes with another number of threads, and several clips are made side by side.
    encoder.thread_count = 1
    scale = str(coding.quality)
    quality = {"crf": scale, **x264_repeatable()} if coding.codec == "h264" else {"qmin": scale, "qmax": scale}
    encoder.options = {**quality, **coding.options}
    for index, picture in enumerate(clip):
        yield from encoder.encode(_planar(picture, pts=index, jpeg=coding.codec == "mjpeg"))
    yield from encoder.encode(None)


def _planar(picture: NDArray[np.uint8], *, pts: int, jpeg: bool) -> av.VideoFrame:
    if not jpeg:
        return frame_from_rgb(picture, pts=pts).reformat(format="yuv420p")
    height, width = picture.shape[:2]
    rows = rgb_to_frames(np.ascontiguousarray(picture[None]), pixel_format="nv12", color=_JPEG, layout="interleaved")
    luma, chroma = rows[0, :height], rows[0, height:].reshape(height // 2, width // 2, 2)
    planes = [luma.reshape(-1), chroma[..., 0].reshape(-1), chroma[..., 1].reshape(-1)]
    frame = av.VideoFrame.from_ndarray(np.concatenate(planes).reshape(height * 3 // 2, width), format="yuvj420p")
    frame.pts = pts
    return frame
