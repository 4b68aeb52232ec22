# SPDX-License-Identifier: MIT
"""Packets to frames: one libav decoder a stream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from vireo_kernels.layout import planes_to_frames
from vireo_media.container import libav_packet
from vireo_media.description import StreamDescription

from vireo_server.errors import BadInput, clock, codec_errors
from vireo_server.formats import UNKNOWN, PixelFormat

_Frames = npt.NDArray[np.uint8]

#: libavcodec's packet flag for "decode, but do not give out": what an edit list cuts away.
_DISCARD = 4

#: FFmpeg's descriptor name -> the decoder, where the decoder of the same name needs a GPU.
_DECODERS = {"av1": "libdav1d"}

#: Codecs with packets that never become a picture (VP8's alternate references), so that a count proves nothing.
_HIDDEN_PICTURES = {"vp8", "vp9", "av1", "mpeg4", "msmpeg4v3"}


@dataclass(frozen=True)
class Picture:
    """A decoded frame and where it belongs. `pts` and `duration` are in the stream's time base."""

    frame: av.VideoFrame
    pts: int
    duration: int


class Decoder:
    """One stream's libav decoder: packets in, pictures in display order out.

    Args:
        description: what START said of the stream.
        threads: of libavcodec.

    Raises:
        BadInput: the codec or its extradata cannot be opened.
    """

    def __init__(self, description: StreamDescription, *, threads: int) -> None:
        self.description = description
        self._time_base = Fraction(*description.time_base)
        self._durations: dict[int, int] = {}
        self._discarded: set[int] = set()
        self._without_pts: deque[int] = deque()
        self._flushed = False
        name = _DECODERS.get(description.codec, description.codec)
        with codec_errors(
            f"opening the decoder of {description.codec}", stage="decode", advice="check codec and extradata of STREAM"
        ):
            context = av.CodecContext.create(name, "r")
            assert isinstance(context, av.VideoCodecContext)
            context.thread_count = threads
            context.width, context.height = description.width, description.height
            if description.extradata:
                context.extradata = description.extradata
            context.open()
        self._context = context

    def decode(self, data: bytes, timing: npt.NDArray[np.int64]) -> list[Picture]:
        """The pictures that one packet completes.

        Args:
            data: the packet as the demuxer gave it.
            timing: its row of PACKET_TIMING, (4,) int64: pts, dts, duration, flags.
        """
        pts, dts, duration, flags = (int(value) for value in timing)
        if self._flushed:
            raise BadInput(
                "a packet came after the flush (a request with no packets); begin a new stream",
                stage="decode",
                seconds=self.seconds(pts),
            )
        if pts == UNKNOWN:
            self._without_pts.append(dts)
        else:
            self._durations[pts] = max(duration, 0)
            if flags & _DISCARD:
                self._discarded.add(pts)
        packet = libav_packet(data, pts=pts, dts=dts, duration=max(duration, 0), time_base=self._time_base)
        with self._errors(f"decoding a packet of {self.description.codec}", pts):
            return self._pictures(self._context.decode(packet))

    def flush(self) -> list[Picture]:
        """What the decoder still held; afterwards it takes no packets. Again: nothing."""
        if self._flushed:
            return []
        self._flushed = True
        with self._errors(f"ending the decoder of {self.description.codec}", UNKNOWN):
            pictures = self._pictures(self._context.decode(None))
        self._check_complete()
        return pictures

    def seconds(self, pts: int) -> float | None:
        """A pts as a time in the video, None when it is unknown."""
        return None if pts == UNKNOWN else float(pts * self._time_base)

    @property
    def held(self) -> int:
        """Pictures that went in as packets and have not come out."""
        return len(self._durations) + len(self._without_pts)

    def _pictures(self, frames: list[av.VideoFrame]) -> list[Picture]:
        pictures = []
        for frame in frames:
            pts = UNKNOWN if frame.pts is None else frame.pts
            if self._without_pts and pts not in self._durations:
                # AVI has no pts, and what libav makes of its dts are guesses: pictures come out in display order, and
                # their times are the decoding times in order.
                pts = self._without_pts.popleft()
            duration = self._durations.pop(pts, 0) or frame.duration or 0
            if pts in self._discarded or not self._is_wanted(pts):
                self._discarded.discard(pts)
                continue
            self._check(frame, pts)
            pictures.append(Picture(frame, pts, duration))
        return pictures

    def _is_wanted(self, pts: int) -> bool:
        emit = self.description.emit
        return emit is None or pts == UNKNOWN or emit[0] <= pts < emit[1]

    def _check(self, frame: av.VideoFrame, pts: int) -> None:
        if frame.is_corrupt:
            raise BadInput(
                "libav marks this picture as corrupt: part of its data is missing or damaged; mend or re-encode "
                "the source",
                stage="decode",
                seconds=self.seconds(pts),
            )
        expected = (self.description.width, self.description.height)
        if (frame.width, frame.height) != expected:
            raise BadInput(
                f"the picture changes from {expected[0]}x{expected[1]} to {frame.width}x{frame.height} in the "
                "middle of the "
                "stream; a stream has one size: split or re-encode the source there",
                stage="decode",
                seconds=self.seconds(pts),
            )

    def _check_complete(self) -> None:
        missing = sorted(pts for pts in set(self._durations) - self._discarded if self._is_wanted(pts))
        if missing and self.description.codec not in _HIDDEN_PICTURES:
            raise BadInput(
                f"{len(missing)} of the packets gave no picture, the first at "
                f"{clock(self.seconds(missing[0]) or 0.0)}: their "
                f"data is damaged or they refer to pictures that are not there; mend or re-encode the source",
                stage="decode",
                seconds=self.seconds(missing[0]),
            )

    def _errors(self, doing: str, pts: int) -> Any:
        return codec_errors(
            doing,
            stage="decode",
            seconds=self.seconds(pts),
            advice="the data is damaged there; mend or re-encode the source",
        )


def layout_of(frame_format: str) -> tuple[PixelFormat, bool]:
    """The layout of FRAMES for a decoded pixel format, and whether libav's scaler must bring it there first."""
    format = av.VideoFormat(frame_format)
    deep = any(component.bits > 8 for component in format.components)
    layout: PixelFormat = "p010" if deep else "nv12"
    return layout, frame_format not in ("yuv420p", "yuvj420p", "yuv420p10le")


def write_row(frame: av.VideoFrame, row: _Frames) -> None:
    """Write one decoded picture into its row of FRAMES, `(rows, bytes) uint8`."""
    layout, convert = layout_of(frame.format.name)
    if convert:
        rgb = frame.format.is_rgb
        frame = frame.reformat(
            format="yuv420p10le" if layout == "p010" else "yuv420p",
            interpolation=Interpolation.BICUBIC | _ACCURATE,
            **({"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG} if rgb else {}),
        )
    dtype = np.dtype(np.uint16 if layout == "p010" else np.uint8)
    y, u, v = (_plane(plane, dtype) for plane in frame.planes)
    planes_to_frames(y, u, v, out=row)


#: SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT: without them the scaler truncates and replicates chroma.
_ACCURATE = 0x2000 | 0x40000 | 0x80000


def _plane(plane: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    samples = np.frombuffer(plane, dtype=dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return samples[:, : plane.width]
