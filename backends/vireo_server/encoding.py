# SPDX-License-Identifier: MIT
"""The encode stage: rows that are pictures to packets, and REPORT."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from vireo_kernels.color import rgb_shape, rgb_to_frames
from vireo_kernels.devices import device_of
from vireo_media.encoder_options import EncoderOptions

from vireo_server.encoder import Encoder
from vireo_server.encoders import encoder_kind
from vireo_server.errors import BadInput, StageError
from vireo_server.formats import (
    DURATION,
    GENERATED,
    KIND,
    NO_PICTURE,
    PASSED_ON,
    PTS,
    REFERENCE,
    ROW,
    SOURCE,
    UNTOUCHED,
    Format,
    Layout,
    PixelFormat,
    check_frames,
)
from vireo_server.hdr import DITHER, Hdr
from vireo_server.sequences import Stage
from vireo_server.settings import EncodeSettings
from vireo_server.side import HOST, Border, Side
from vireo_server.tags import FFMPEG_MATRIX, NOTHING, color_spec
from vireo_server.wire import Pixels, Request, Tensors

#: The inputs that may hold the pictures of a network or script, 8 bit or 16; neither where FRAMES hold them all.
_OUTPUTS = ("OUTPUT", "OUTPUT_16")


LARGE_BLOCK = 12 << 20
"""Bytes: the copies that Triton's stub makes of a chunk's tensors, which come and go, are below; an encoder's frames at
1080p, which stay, are above. With 4 MB a frame of super_resolution cost 1 ms more."""


def warm_up(side: Side = HOST) -> None:
    """Compile what the first stream would otherwise wait for: the pixel kernels of both layouts."""
    color = color_spec(NOTHING.color, stage="encode")
    for layout in get_args(PixelFormat):
        for rgb in get_args(Layout):
            shape = rgb_shape(1, width=16, height=16, layout=rgb)
            rgb_to_frames(side.xp.zeros(shape, np.uint8), pixel_format=layout, color=color, layout=rgb)


class EncodeStage(Stage):
    """The encode stage of one stream, the last of a transformation: packets, their times, REPORT.

    # Note [Sources of which TIMING speaks later]
    Between two sources there are slots, which can be filled only when the second one is known, and a script works on a
    batch of them. So where slots are (FORMAT's `queued`), TIMING speaks of a source requests after its row of FRAMES
    came. It waits here, the only stage that wants its pixels: passed on by every stage it would be copied by each.

    `progress` is called with every picture that is done.
    """

    def __init__(
        self, settings: EncodeSettings, side: Side = HOST, *, progress: Callable[[], None] = lambda: None
    ) -> None:
        self._settings, self._progress = settings, progress
        self._border = Border(side, stage="encode")
        self._options = EncoderOptions()
        self._format = NOTHING
        self._start: dict[str, Any] = {}
        self._encoder: Encoder | None = None
        self._notes: list[str] = []
        self._queue: deque[Pixels] = deque()
        self._last: Pixels | None = None

    def listen(self, request: Request) -> None:
        """Pass on what an earlier stage could not do."""
        self._format = Format.from_json(request.json("FORMAT"), stage="encode")
        self._format.raise_error()

    def open(self, request: Request) -> None:
        """Read the encoder's options; the encoder itself opens with the first picture, which has the size."""
        self._start = request.json("STREAM")
        try:
            self._options = EncoderOptions.from_json(self._start.get("encoder") or {})
        except (ValueError, TypeError) as error:
            raise BadInput(f"{error}; change the encoder options", stage="encode") from error

    def step(self, request: Request) -> Tensors:
        """Encode the rows that are pictures; END empties the encoder."""
        format = self._format
        timing = request.array("TIMING")
        output = next((_cropped(request.pixels(name), format) for name in _OUTPUTS if request.has(name)), None)
        rows = 0 if output is None else len(output)
        if ((timing[:, ROW] >= rows) | (timing[:, ROW] < NO_PICTURE)).any():
            raise BadInput(
                f"TIMING names rows that OUTPUT, {'not sent' if output is None else output.shape}, does not have; send "
                "packets to a service, not frames to a stage",
                stage="encode",
            )
        done: list[tuple[bytes, list[int]]] = []
        if format.queued:
            self._queue.extend(self._frames(request)[: format.queued])
        for index, row in enumerate(timing):
            if format.queued is not None:
                self._follow(row)
            if row[KIND] not in (SOURCE, GENERATED) or row[ROW] == NO_PICTURE:
                continue
            if output is None or row[ROW] == UNTOUCHED:
                encoder = self._ready(format, width=format.width, height=format.height)
                picture = self._last if format.queued is not None else self._frames(request)[index]
            else:
                height, width = _size(output, layout=format.layout)
                encoder = self._ready(format, width=width, height=height)
                picture = self._convert(output[int(row[ROW])], format)
            picture = self._border.bring(picture) if encoder.on_device else self._border.to_host(picture)
            done += encoder.encode(picture, pts=int(row[PTS]), duration=int(row[DURATION]))
            self._progress()
        self._keep(format.queued or 0)
        if request.end and self._encoder is not None:
            done += self._encoder.finish(progress=self._progress)
        report = {
            "pending": format.report.get("pending", 0),
            "frames_in": format.report.get("frames_in", 0),
            "frames_out": len(done),
            "notes": [*format.report.get("notes", []), *self._notes],
            "output": self._describe(),
        }
        report |= {name: said for name, said in self._border.told(format.report).items() if name in PASSED_ON}
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
        """Free the codec context and the pictures that wait."""
        self._encoder = self._last = None
        self._queue.clear()

    def _frames(self, request: Request) -> Pixels:
        """The pictures as they were decoded; a service whose network makes all of them does not send them here."""
        frames = request.pixels("FRAMES")
        check_frames(frames, self._format, stage="encode")
        return frames

    def _follow(self, row: npt.NDArray[np.int64]) -> None:
        """Go to the source that a row of TIMING stands for; one that repeats a picture stands for the one before."""
        if row[KIND] in (SOURCE, REFERENCE) and self._queue:
            self._last = self._queue.popleft()
        elif row[KIND] in (SOURCE, REFERENCE) or (row[ROW] == UNTOUCHED and self._last is None):
            raise BadInput(
                "TIMING speaks of more sources than came in FRAMES; send packets to a service, not frames to a stage",
                stage="encode",
            )

    # Note [Where the copy of the frames goes]
    # Without NVENC each picture goes to the host once, as NV12 into pinned memory, just before it is encoded. That is
    # beside the work on the chunks that follow, which is other processes': the GPU copies while it computes, and what a
    # picture's copy takes (0.2 ms for 1080p over 16 lanes of PCIe 4) is little beside its encoding.

    def _keep(self, count: int) -> None:
        """Copy what waits of the `count` newest pictures out of Triton's memory, which this request's answer frees."""
        for place in range(max(0, len(self._queue) - count), len(self._queue)):
            self._queue[place] = self._queue[place].copy()
        if self._last is not None and not self._last.flags.owndata:
            self._last = self._last.copy()

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
                frame_rate=format.frame_rate,
                sample_aspect_ratio=_pair(self._start.get("sample_aspect_ratio")),
                hdr=Hdr.from_json(format.hdr),
                side=self._border.side,
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

    def _convert(self, rgb: Pixels, format: Format) -> Pixels:
        """A row of OUTPUT as a row of FRAMES, where it lies: what a script made on the host need not go to a GPU."""
        xp = device_of("encode", "OUTPUT", rgb).xp
        color = color_spec(format.color, stage="encode")
        picture: Pixels = rgb_to_frames(
            xp.ascontiguousarray(rgb[None]),
            pixel_format=format.pixel_format,
            color=color,
            layout=format.layout,
            # 16 bits are finer than what is coded; 8 bits are exact in it.
            dither=rgb.dtype == np.uint16 and format.options.get(DITHER, True),
        )[0]
        return picture

    def _describe(self) -> dict[str, Any] | None:
        encoder = self._encoder
        if encoder is None:
            return None
        return {
            "codec": encoder.options.codec,
            "encoder": encoder_kind(encoder.options).name,
            "extradata": base64.b64encode(encoder.extradata).decode(),
            "width": encoder.coded_width,
            "height": encoder.coded_height,
            "pixel_format": encoder_kind(encoder.options).pixel_formats[encoder.format.pixel_format],
            "time_base": list(encoder.format.time_base),
            "sample_aspect_ratio": self._start.get("sample_aspect_ratio"),
            "rotation": encoder.format.rotation,
            "color": asdict(encoder.format.color),
            "hdr": encoder.format.hdr,
            "frame_rate": encoder.format.frame_rate,
        }


def _cropped(rgb: Pixels, format: Format) -> Pixels:
    """OUTPUT without the border that preprocess added to INPUT, enlarged as the pictures are."""
    left, top, right, bottom = format.pad
    if not any(format.pad):
        return rgb
    height, width = _size(rgb, layout=format.layout)
    scale = width // (left + format.width + right)
    inside = slice(top * scale, height - bottom * scale), slice(left * scale, width - right * scale)
    return rgb[(..., *inside)] if format.layout == "planar" else rgb[(..., *inside, slice(None))]


def _size(rgb: Pixels, *, layout: Layout) -> tuple[int, int]:
    """Height and width of the pictures of OUTPUT."""
    height, width = rgb.shape[-2:] if layout == "planar" else rgb.shape[-3:-1]
    return int(height), int(width)


def _size_notes(encoder: Encoder) -> list[str]:
    if (encoder.coded_width, encoder.coded_height) == (encoder.width, encoder.height):
        return []
    return [
        f"{encoder.options.codec} codes even sizes only: the output is "
        f"{encoder.coded_width}x{encoder.coded_height}, the last "
        f"column or row of {encoder.width}x{encoder.height} repeated; av1, vp9 and ffv1 keep odd sizes"
    ]


def _pair(value: Any) -> tuple[int, int] | None:
    return None if value is None else (int(value[0]), int(value[1]))
