# SPDX-License-Identifier: MIT
"""What stages say to each other about the frames: FORMAT (JSON), TIMING (rows) and the shape of FRAMES."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from vireo_server.errors import BadInput, StageError
from vireo_server.side import HOST, Side
from vireo_server.wire import Pixels

PixelFormat = Literal["nv12", "p010"]
Layout = Literal["planar", "interleaved"]
#: Bits of a sample of a network's pictures: UINT8 or UINT16 tensors.
Bits = Literal[8, 16]

#: Columns of TIMING, int64 (T, 4).
PTS, DURATION, KIND, ROW = range(4)
#: Values of TIMING's kind.
SOURCE, SPARE, GENERATED, REFERENCE = range(4)
#: Values of TIMING's row that are not a row of OUTPUT: the picture is the row of FRAMES, untouched; there is none.
UNTOUCHED, NO_PICTURE = -1, -2
#: What REPORT says as the stages before said it: a script's times, what decoded, and the bytes that crossed between
#: host and device, by stage and direction.
PASSED_ON = ("profile", "decoder", "crossed")
#: An unknown time, as libavcodec writes it.
UNKNOWN = -(2**63)


@dataclass(frozen=True, kw_only=True)
class Color:
    """A resolved colour description: FFmpeg's names, none unknown."""

    matrix: str
    range: str
    transfer: str
    primaries: str
    chroma_location: str

    def __post_init__(self) -> None:
        """Refuse what is no name."""
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise ValueError(f"color.{name} is {value!r}; it must be a name")


@dataclass(frozen=True, kw_only=True)
class Format:
    """FORMAT: what the rows of FRAMES are. `time_base` is the output's."""

    width: int
    height: int
    pixel_format: PixelFormat
    time_base: tuple[int, int]
    color: Color
    rotation: int = 0
    #: Frames a second of the output, and the time of the video's first picture (in the source's ticks, None: the
    #: stream's first).
    frame_rate: tuple[int, int] | None = None
    origin: int | None = None
    #: Rows of FRAMES that were key packets.
    keys: tuple[int, ...] = ()
    #: Where TIMING has other rows than FRAMES: how many rows of FRAMES, from the first, are pictures that TIMING's
    #: source and reference rows stand for, one each in order, here or in a later request. None: row belongs to row.
    queued: int | None = None
    #: What the pictures were compressed with, FFmpeg's name, and how coarsely each row of FRAMES was quantised, in
    #: levels (`vireo_media.quantization`); None where the decoder does not tell.
    codec: str = ""
    quantizer_steps: tuple[float | None, ...] = ()
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    options: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    #: Mastering display and light level of the frames, as STREAM has them; None for none.
    hdr: dict[str, Any] | None = None
    #: How INPUT and OUTPUT are laid out: (R, 3, H, W) or (R, H, W, 3).
    layout: Layout = "planar"
    #: What the stages before want REPORT to say: `pending`, `frames_in`, `notes`, and `PASSED_ON`.
    report: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no stage writes: the stages' ports are as open as the service's."""
        for name, allowed in (("pixel_format", get_args(PixelFormat)), ("layout", get_args(Layout))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        for name, values in (("width", (self.width,)), ("height", (self.height,)), ("time_base", self.time_base)):
            if not all(isinstance(value, int) and 0 < value < 1 << 31 for value in values):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: 1 to {(1 << 31) - 1}")
        for name in ("options", "report"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be an object")
        if self.hdr is not None and not isinstance(self.hdr, dict):
            raise ValueError(f"hdr is {self.hdr!r}; it must be an object or null")
        if self.error is not None:
            StageError.from_json(self.error)

    def to_json(self) -> str:
        """As the tensor FORMAT carries it."""
        # dataclasses.asdict would copy every value first, which takes five times as long.
        return json.dumps({**vars(self), "color": vars(self.color)}, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, value: dict[str, Any], *, stage: str) -> Format:
        """The value that another stage wrote. Raises BadInput, in the name of `stage`, where it is none."""
        try:
            color = Color(**value["color"])
            lists = ("time_base", "frame_rate", "keys", "quantizer_steps", "pad")
            tuples = {key: tuple(value[key]) for key in lists if value.get(key)}
            return cls(**{**value, "color": color, "keys": (), "quantizer_steps": (), **tuples})
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"FORMAT cannot be read ({type(error).__name__}: {error}); send packets to a service, not "
                "frames to a stage",
                stage=stage,
            ) from error

    def failed(self, error: StageError) -> Format:
        """The same format, carrying an error to the last stage."""
        return replace(self, error=error.to_json())

    def raise_error(self) -> None:
        """Raise what an earlier stage passed on, if it did."""
        if self.error is not None:
            raise StageError.from_json(self.error)


def nothing(color: Color) -> Format:
    """The format of a stream that has said nothing yet: what an error at START travels in."""
    return Format(width=16, height=16, pixel_format="nv12", time_base=(1, 1), color=color)


def frame_shape(*, width: int, height: int, pixel_format: PixelFormat) -> tuple[int, int]:
    """Rows and bytes a row of one picture in FRAMES: no pitch, chroma below luma, an odd width padded by one
    sample."""
    sample_bytes = 2 if pixel_format == "p010" else 1
    return height + (height + 1) // 2, 2 * ((width + 1) // 2) * sample_bytes


def check_frames(frames: Pixels, format: Format, *, stage: str) -> None:
    """Hold the size of the pictures in FRAMES against FORMAT. Raises BadInput, in the name of `stage`."""
    shape = frame_shape(width=format.width, height=format.height, pixel_format=format.pixel_format)
    if frames.shape[1:] != shape:
        raise BadInput(
            f"FRAMES is {frames.shape}; pictures of {format.width}x{format.height} {format.pixel_format} are "
            f"{('T', *shape)}; send packets to a service, not frames to a stage",
            stage=stage,
        )


def spare_rows(format: Format, side: Side = HOST) -> dict[str, Any]:
    """One empty row, because a tensor between two stages may not have 0 rows.

    FRAMES, on `side`, is black-ish zeros; nobody looks at it.
    """
    shape = frame_shape(width=format.width, height=format.height, pixel_format=format.pixel_format)
    timing = np.array([[UNKNOWN, 0, SPARE, NO_PICTURE]], dtype=np.int64)
    return {"FRAMES": side.xp.zeros((1, *shape), np.uint8), "TIMING": timing, "FORMAT": format.to_json()}
