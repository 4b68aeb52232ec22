# SPDX-License-Identifier: MIT
"""Frames to what an interpolating script or network takes: sources, the slots between them, and what fills those."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from vireo_kernels.color import frames_to_rgb, rgb_shape
from vireo_kernels.pad import Pad, pad_image, pad_to_multiple
from vireo_media.errors import VireoError
from vireo_media.interpolation import FrameRule

from vireo_server.errors import BadInput, StageError
from vireo_server.formats import (
    DURATION,
    GENERATED,
    KIND,
    NO_PICTURE,
    PTS,
    REFERENCE,
    SOURCE,
    SPARE,
    UNKNOWN,
    UNTOUCHED,
    Format,
    check_frames,
    spare_rows,
)
from vireo_server.likeness import Look
from vireo_server.sequences import Stage
from vireo_server.settings import PreprocessSettings
from vireo_server.side import HOST, Border, Side
from vireo_server.slots import Row, Slots, Source
from vireo_server.tags import NOTHING, color_spec
from vireo_server.wire import Pixels, Request, Tensors


class InterpolationStage(Stage):
    """The preprocess stage of one stream between whose sources pictures are made.

    For a script (setting `slots` "rows") INPUT has the pictures, `(R, H, W, 3) uint8`, and TIMING a spare row for each
    slot. For a network ("pairs") INPUT has both neighbours of each slot, `(R, 6, H', W') uint8`, padded to the right
    and below, and TIMESTEP `(R, 1) float32` where between them it lies. Sources never pass either: encode takes them
    from FRAMES.
    """

    def __init__(self, settings: PreprocessSettings, side: Side = HOST) -> None:
        self._settings, self._side = settings, side
        self._border = Border(side, stage="preprocess")
        self._format = NOTHING
        self._rule = FrameRule()
        self._slots: Slots[_Picture] | None = None
        self._end = 0
        self._noted = False

    def listen(self, request: Request) -> None:
        """Pass on what decode could not do."""
        self._format = Format.from_json(request.json("FORMAT"), stage="preprocess")
        self._format.raise_error()

    def open(self, request: Request) -> None:
        """Read the options; refuse what cannot work before a picture is looked at."""
        format = self._format
        try:
            self._rule = FrameRule.from_options(format.options)
            self._rule.check(time_base=format.time_base, frame_rate=format.frame_rate)
        except VireoError as error:
            raise BadInput(str(error), stage="preprocess") from error
        settings = self._settings
        if settings.padding == "none" and (format.width % settings.multiple or format.height % settings.multiple):
            raise BadInput(
                f"the picture is {format.width}x{format.height}; allowed: sides that are multiples of "
                f"{settings.multiple} (multiple of this preprocess model); scale the source, or set its padding to "
                "edge",
                stage="preprocess",
            )
        base = Fraction(*format.time_base)
        self._slots = Slots(self._rule, base=base, origin=format.origin)

    def step(self, request: Request) -> Tensors:
        """INPUT, TIMING, FORMAT, and TIMESTEP for a network: the rows that this request's pictures decide."""
        assert self._slots is not None
        frames, timing = self._border.bring(request.pixels("FRAMES")), request.array("TIMING")
        format = self._format
        check_frames(frames, format, stage="preprocess")
        pictures = np.flatnonzero(np.isin(timing[:, KIND], (SOURCE, REFERENCE)))
        rows: list[Row[_Picture]] = []
        for index in pictures:
            rows += self._slots.add(self._source(frames[index], timing[index], is_key=int(index) in format.keys))
        if request.end:
            rows += self._slots.finish()
        made = self._rows(rows) if self._settings.slots == "rows" else self._pairs(rows)
        for source in self._slots.waiting:
            source.pixels.keep()
        format = self._output_format(queued=len(pictures))
        return {**made, "FORMAT": replace(format, report=self._border.told(format.report)).to_json()}

    def failure(self, error: StageError) -> Tensors:
        """One black row, one spare row, and the error in FORMAT."""
        self._format = replace(NOTHING, layout=self._settings.layout)
        made = self._rows([]) if self._settings.slots == "rows" else self._pairs([])
        return {**made, "FORMAT": self._format.failed(error).to_json()}

    def close(self) -> None:
        """Free the pictures that wait."""
        self._slots = None

    def _source(self, frame: Pixels, row: npt.NDArray[np.int64], *, is_key: bool) -> Source[_Picture]:
        format = self._format
        pts, duration = int(row[PTS]), int(row[DURATION])
        if pts == UNKNOWN:  # A bare stream: one picture after the other, as encode would have it.
            pts = self._end
        self._end = pts + max(duration, 1)
        look = Look.of(
            frame, width=format.width, height=format.height, pixel_format=format.pixel_format, border=self._border
        )
        return Source(pts, duration, is_key, bool(row[KIND] == SOURCE), look, _Picture(frame, self._side))

    def _rows(self, rows: list[Row[_Picture]]) -> Tensors:
        """Pictures as they are, and empty rows of TIMING for a script to fill."""
        pictures = [row.left for row in rows if row.kind in (SOURCE, REFERENCE) and row.left is not None]
        format = self._format
        shape = rgb_shape(max(1, len(pictures)), width=format.width, height=format.height, layout="interleaved")
        rgb = (self._side.xp.empty if pictures else self._side.xp.zeros)(shape, np.uint8)
        for place, picture in enumerate(pictures):
            picture.rgb(format, out=rgb[place : place + 1])
        timing = _timing(rows)
        place = 0
        for row, made in zip(rows, timing, strict=False):
            if row.kind in (SOURCE, REFERENCE) and row.left is not None:
                made[3] = place
                place += 1
            elif row.kind == GENERATED:
                made[3] = UNTOUCHED
        return {"INPUT": rgb, "TIMING": timing}

    def _pairs(self, rows: list[Row[_Picture]]) -> Tensors:
        """Both neighbours of every slot, which the network fills."""
        format, spare = self._format, [row for row in rows if row.kind == SPARE]
        pad = pad_to_multiple(format.width, format.height, multiple=self._settings.multiple)
        shape = (max(1, len(spare)), 6, format.height + pad.bottom, format.width + pad.right)
        pairs = (self._side.xp.empty if spare else self._side.xp.zeros)(shape, np.uint8)
        for place, row in enumerate(spare):
            assert row.left is not None
            assert row.right is not None
            pairs[place, :3], pairs[place, 3:] = row.left.planar(format, pad=pad), row.right.planar(format, pad=pad)
        shares = np.array([[float(row.share)] for row in spare] or [[0.0]], np.float32)
        timing = _timing(rows)
        place = 0
        for row, made in zip(rows, timing, strict=False):
            if row.kind == SPARE:
                made[2:] = GENERATED, place
                place += 1
            elif row.kind in (SOURCE, GENERATED):
                made[3] = UNTOUCHED
        return {"INPUT": pairs, "TIMESTEP": shares, "TIMING": timing}

    def _output_format(self, *, queued: int) -> Format:
        format, settings = self._format, self._settings
        base = self._rule.time_base(Fraction(*format.time_base))
        rate = self._rule.frame_rate(Fraction(*format.frame_rate) if format.frame_rate else None)
        pad = pad_to_multiple(format.width, format.height, multiple=settings.multiple)
        report = format.report
        if format.pixel_format == "p010" and not self._noted:
            self._noted = True
            note = "pictures between the sources are computed in 8 bit; the sources keep their 10 bit"
            report = {**report, "notes": [*report.get("notes", []), note]}
        return replace(
            format,
            layout=settings.layout,
            time_base=(base.numerator, base.denominator),
            frame_rate=None if rate is None else (rate.numerator, rate.denominator),
            pad=(pad.left, pad.top, pad.right, pad.bottom),
            queued=queued,
            report=report,
        )


class _Picture:
    """A row of FRAMES, and its RGB once it was asked for."""

    def __init__(self, frame: Pixels, side: Side) -> None:
        self._frame, self._side = frame, side
        self._planar: Pixels | None = None

    def keep(self) -> None:
        """Copy the row out of Triton's memory, which is gone when the request is answered."""
        if not self._frame.flags.owndata:
            self._frame = self._frame.copy()

    def rgb(self, format: Format, *, out: Pixels) -> None:
        """Interleaved RGB, written into `out`, (1, H, W, 3)."""
        self._convert(format, out=out, layout="interleaved")

    def planar(self, format: Format, *, pad: Pad) -> Pixels:
        """Planar RGB with its border, (3, H', W'); converted once, as a picture is the neighbour of many slots."""
        if self._planar is None:
            rgb = self._side.xp.empty((1, 3, format.height, format.width), np.uint8)
            self._convert(format, out=rgb, layout="planar")
            self._planar = (pad_image(rgb, pad=pad) if pad != Pad() else rgb)[0]
        return self._planar

    def _convert(self, format: Format, *, out: Pixels, layout: str) -> None:
        frames_to_rgb(
            self._frame[None],
            width=format.width,
            height=format.height,
            pixel_format=format.pixel_format,
            color=color_spec(format.color, stage="preprocess"),
            layout=layout,  # type: ignore[arg-type]
            out=out,
        )


def _timing(rows: Iterable[Row[_Picture]]) -> npt.NDArray[np.int64]:
    """TIMING without the rows' places; one spare row where there is none, since no tensor may be empty."""
    timing = np.array([(row.pts, row.duration, row.kind, NO_PICTURE) for row in rows], np.int64).reshape(-1, 4)
    return timing if len(timing) else spare_rows(NOTHING)["TIMING"]
