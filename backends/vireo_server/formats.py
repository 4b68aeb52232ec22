# SPDX-License-Identifier: MIT
"""What stages say to each other about the frames: FORMAT (JSON), TIMING (rows) and the shape of FRAMES."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from vireo_server.errors import StageError

PixelFormat = Literal["nv12", "p010"]
Layout = Literal["planar", "interleaved"]

#: Columns of TIMING, int64 (T, 4).
PTS, DURATION, KIND, ROW = range(4)
#: Values of TIMING's kind.
SOURCE, SPARE, GENERATED, REFERENCE = range(4)
#: Values of TIMING's row that are not a row of OUTPUT: the picture is the row of FRAMES, untouched; there is none.
UNTOUCHED, NO_PICTURE = -1, -2
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


@dataclass(frozen=True, kw_only=True)
class Format:
    """FORMAT: what the rows of FRAMES are. `time_base` is the output's."""

    width: int
    height: int
    pixel_format: PixelFormat
    time_base: tuple[int, int]
    color: Color
    rotation: int = 0
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    options: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    #: How INPUT and OUTPUT are laid out: (R, 3, H, W) or (R, H, W, 3).
    layout: Layout = "planar"
    #: What the stages before want REPORT to say: `pending`, `frames_in`, `notes`, `profile`.
    report: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """As the tensor FORMAT carries it."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Format:
        """The value that another stage wrote."""
        color = Color(**value["color"])
        return cls(**{**value, "color": color, "time_base": tuple(value["time_base"]), "pad": tuple(value["pad"])})

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


def spare_rows(format: Format) -> dict[str, Any]:
    """One empty row, because a tensor between two stages may not have 0 rows.

    FRAMES is black-ish zeros; nobody looks at it.
    """
    shape = frame_shape(width=format.width, height=format.height, pixel_format=format.pixel_format)
    timing = np.array([[UNKNOWN, 0, SPARE, NO_PICTURE]], dtype=np.int64)
    return {"FRAMES": np.zeros((1, *shape), np.uint8), "TIMING": timing, "FORMAT": format.to_json()}
