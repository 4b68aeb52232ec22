# SPDX-License-Identifier: MIT
"""Clips whose frames carry their number in their picture, so that loss, doubling and order are seen.

The picture is a grid of 5 x 4 blocks, dark or bright. The first 16 are the frame's number, most significant bit first;
the last 4 are a check, so that a black, a white or a blended frame reads as no number at all. Blocks survive any
compression and any resize that leaves them a few pixels.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from os import PathLike
from typing import Any, BinaryIO, cast

import av
import av.audio
import av.video
import numpy as np
import numpy.typing as npt

__all__ = ["numbered_clip", "numbered_frame", "numbered_luma", "read_frames", "read_number", "read_numbers"]

COLUMNS, ROWS = 5, 4
NUMBER_BITS, CHECK_BITS = 16, 4
DARK, BRIGHT = 50, 200
"""8-bit luma of a 0 and of a 1: well inside the limited range, so that grey RGB holds them too."""

ClipTarget = str | PathLike[str] | BinaryIO


def numbered_luma(number: int, *, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The luma plane (height, width) uint8 that carries `number` (0..65535)."""
    if not 0 <= number < 1 << NUMBER_BITS:
        raise ValueError(f"numbered_luma: number {number!r} is not in 0..{(1 << NUMBER_BITS) - 1}")
    word = number << CHECK_BITS | _check(number)
    count = COLUMNS * ROWS
    bits = np.array([word >> (count - 1 - i) & 1 for i in range(count)], dtype=np.uint8).reshape(ROWS, COLUMNS)
    row_of = np.arange(height) * ROWS // height
    column_of = np.arange(width) * COLUMNS // width
    luma: npt.NDArray[np.uint8] = np.where(bits[row_of][:, column_of] == 1, BRIGHT, DARK).astype(np.uint8)
    return luma


def read_number(frame: av.VideoFrame) -> int | None:
    """The number in a decoded picture of any size, depth and YUV or RGB format; None where there is none to read."""
    luma = _luma(frame)
    height, width = luma.shape
    word = 0
    for row in range(ROWS):
        for column in range(COLUMNS):
            # The middle half of a block: its border is blurred by resizing and deblocking.
            top, bottom = height * (4 * row + 1) // (4 * ROWS), -(-height * (4 * row + 3) // (4 * ROWS))
            left, right = width * (4 * column + 1) // (4 * COLUMNS), -(-width * (4 * column + 3) // (4 * COLUMNS))
            level = float(luma[top:bottom, left:right].mean())
            if 100 < level < 150:
                return None
            word = word << 1 | (level >= 150)
    number, check = word >> CHECK_BITS, word & (1 << CHECK_BITS) - 1
    return number if check == _check(number) else None


def read_frames(source: str | PathLike[str] | bytes | BinaryIO) -> Iterator[tuple[Fraction, int | None]]:
    """(time in seconds, number) of each frame of the first video stream, in the order a player shows them."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            assert frame.time_base is not None
            yield frame.pts * frame.time_base, read_number(frame)


def read_numbers(source: str | PathLike[str] | bytes | BinaryIO) -> list[int | None]:
    """The number of each frame of the first video stream, in the order a player shows them."""
    return [number for _, number in read_frames(source)]


def numbered_clip(
    target: ClipTarget,
    *,
    frames: int,
    size: tuple[int, int] = (320, 180),
    fps: int | Fraction = 25,
    codec: str = "libx264",
    gop: int = 12,
    bframes: int = 2,
    audio: str | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pixel_format: str = "yuv420p",
    first_number: int = 0,
    container: str | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    rotation: int = 0,
    color: Mapping[str, int] | None = None,
) -> None:
    """Write a clip of `frames` numbered frames.

    `size` is (width, height). `gop` is the distance of key frames: exact and closed, unless `options` says otherwise.
    `audio` names an encoder ("aac", "pcm_s16le", ...) for a 440 Hz tone as long as the pictures. `pts` gives each
    frame's time in `time_base` (default 1 / fps) for a variable frame rate. `container` is FFmpeg's name of the format,
    needed where `target` is a file object. `color` sets attributes of the codec context (color_range, colorspace,
    color_trc, color_primaries: FFmpeg's numbers). `rotation` is in degrees counter-clockwise.
    """
    width, height = size
    rate = Fraction(fps)
    base = time_base or 1 / rate
    times = list(pts) if pts is not None else list(range(frames))
    if len(times) != frames:
        raise ValueError(f"numbered_clip: pts has {len(times)!r} values for {frames!r} frames; give one for each")
    file: Any = target
    with av.open(file, "w", format=container, container_options=dict(container_options or {})) as output:
        output.metadata.update(metadata or {})
        video = cast(av.video.stream.VideoStream, output.add_stream(codec, rate=rate))
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        context = video.codec_context
        context.time_base, context.gop_size = base, gop
        if codec in ("libx264", "libx265", "mpeg4", "mpeg2video"):
            context.max_b_frames = bframes
        context.thread_count = 1
        context.options = _encoder_options(codec, gop=gop, bframes=bframes) | dict(options or {})
        full_range = {"color_range": 2} if pixel_format.startswith("yuvj") else {}
        for name, value in (full_range | dict(color or {})).items():
            setattr(context, name, value)
        if rotation:
            video.set_display_rotation(rotation)
        sound = None
        if audio is not None:
            sound = cast(av.audio.stream.AudioStream, output.add_stream(audio, rate=48000))
        for i in range(frames):
            picture = numbered_frame(first_number + i, size=size, pixel_format=pixel_format)
            picture.pts, picture.time_base = times[i], base
            output.mux(video.encode(picture))
        output.mux(video.encode())
        if sound is not None:
            length = (times[-1] + 1) * base if pts is not None else frames / rate
            for piece in _tone(float(length)):
                output.mux(sound.encode(piece))
            output.mux(sound.encode())


def numbered_frame(number: int, *, size: tuple[int, int], pixel_format: str = "yuv420p") -> av.VideoFrame:
    """A frame of `size` (width, height) that carries `number`, with neutral chroma, in any software pixel format."""
    width, height = size
    luma = numbered_luma(number, width=width, height=height)
    frame = av.VideoFrame(width, height, "yuv444p")
    for plane, values in zip(frame.planes, (luma, np.full_like(luma, 128), np.full_like(luma, 128)), strict=True):
        padded = np.zeros((height, plane.line_size), np.uint8)
        padded[:, :width] = values
        plane.update(padded.tobytes())
    return frame if pixel_format == "yuv444p" else frame.reformat(format=pixel_format)


def _check(number: int) -> int:
    """Four bits that make a black (all 0), a white (all 1) and most half-wrong words unreadable."""
    folded = number ^ number >> 4 ^ number >> 8 ^ number >> 12
    return (folded & 15) ^ 0b1010


def _luma(frame: av.VideoFrame) -> npt.NDArray[np.float64]:
    """The luma plane as 8-bit levels, (H, W) float64."""
    if frame.format.is_rgb or frame.format.has_palette or frame.format.components[0].bits not in (8, 10, 12, 16):
        frame = frame.reformat(format="yuv420p")
    bits = frame.format.components[0].bits
    plane = frame.planes[0]
    sample = np.uint8 if bits == 8 else np.dtype("<u2")
    if frame.format.name.startswith(("yuyv", "uyvy")):
        return _luma(frame.reformat(format="yuv422p"))
    rows: npt.NDArray[Any] = np.frombuffer(memoryview(plane), dtype=np.uint8)[: plane.line_size * frame.height]
    samples = rows.reshape(frame.height, plane.line_size).view(sample)[:, : frame.width].astype(np.float64)
    # P010 keeps its 10 bits at the upper end of 16.
    scale = 256.0 if frame.format.name.startswith(("p010", "p210", "p410")) else float(1 << (bits - 8))
    return samples / scale


def _encoder_options(codec: str, *, gop: int, bframes: int) -> dict[str, str]:
    """Options that put key frames exactly `gop` apart and close every GOP."""
    if codec == "libx264":
        params = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes={bframes}"
        return {"preset": "veryfast", "crf": "18", "x264-params": params}
    if codec == "libx265":
        params = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes={bframes}:log-level=none:pools=1"
        return {"preset": "ultrafast", "crf": "18", "x265-params": params}
    if codec == "libsvtav1":
        return {"preset": "8", "crf": "20", "svtav1-params": "lp=1"}
    if codec in ("libvpx", "libvpx-vp9"):
        return {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "2M"}
    if codec in ("mpeg4", "mpeg2video"):
        return {"qmin": "2", "qmax": "5", "flags": "+cgop", "sc_threshold": "1000000000"}
    return {}


def _tone(seconds: float) -> Iterator[av.AudioFrame]:
    """A stereo tone of 440 Hz and its octave at 48 kHz, planar float."""
    total = math.ceil(seconds * 48000)
    for start in range(0, total, 1024):
        t = np.arange(start, min(start + 1024, total)) / 48000
        samples = np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 880 * t)]).astype(np.float32) * 0.2
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield frame
