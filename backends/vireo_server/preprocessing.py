# SPDX-License-Identifier: MIT
"""Frames to network input: which rows the network must compute, and their pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
from vireo_kernels.color import rgb_shape
from vireo_kernels.devices import device_of

from vireo_server.conditions import Columns
from vireo_server.errors import StageError
from vireo_server.formats import (
    KIND,
    NO_PICTURE,
    ROW,
    SOURCE,
    UNTOUCHED,
    Format,
    PixelFormat,
    check_frames,
    frame_shape,
    spare_rows,
)
from vireo_server.hdr import hdr10_format, require_sdr
from vireo_server.pictures import make_pictures, picture_size, quarter_turns
from vireo_server.sequences import Stage
from vireo_server.settings import PreprocessSettings
from vireo_server.side import HOST, Border, Side
from vireo_server.tags import NOTHING
from vireo_server.windows import Windows
from vireo_server.wire import Pixels, Request, Tensors


def warm_up(settings: PreprocessSettings, side: Side = HOST) -> None:
    """Compile what the first stream would otherwise wait for: the pixel kernels, for both layouts of FRAMES."""
    for layout in get_args(PixelFormat):
        frames = side.xp.zeros((1, *frame_shape(width=16, height=16, pixel_format=layout)), np.uint8)
        make_pictures(frames, replace(NOTHING, width=16, height=16, pixel_format=layout), settings)


class PreprocessStage(Stage):
    """The preprocess stage of one stream: source rows become INPUT, RGB `(R, 3, H, W)` for a network or `(R, H, W, 3)`
    for a script, as the setting `layout` has it; uint8, or uint16 by the setting `bits`. Other settings change size and
    channels.

    INPUT holds only what the network must compute; where that is nothing, one black row, since no tensor between
    stages may be empty. TIMING's `row` says which row of OUTPUT will hold each picture. With windows TIMING has a row a
    window, and its time is that of the window.
    """

    def __init__(self, settings: PreprocessSettings, side: Side = HOST) -> None:
        self._settings, self._side = settings, side
        self._border = Border(side, stage="preprocess")
        self._columns = Columns(settings.condition, settings.skip)
        self._windows = Windows(settings, side) if settings.window > 1 else None
        self._format = NOTHING
        self._said: set[str] = set()

    def listen(self, request: Request) -> None:
        """Pass on what decode could not do."""
        self._format = Format.from_json(request.json("FORMAT"), stage="preprocess")
        self._format.raise_error()

    def open(self, request: Request) -> None:
        """Nothing is kept from START: every request carries its FORMAT. What cannot be served is refused here."""
        if self._settings.gives == "hdr10":
            require_sdr(self._format, stage="preprocess")
            self._given(self._format)

    def step(self, request: Request) -> Tensors:
        """INPUT, TIMING and FORMAT for one request."""
        format = replace(self._format, layout=self._settings.layout)
        frames, timing = request.pixels("FRAMES"), request.array("TIMING").copy()
        check_frames(frames, format, stage="preprocess")
        sources = np.flatnonzero(timing[:, KIND] == SOURCE)
        timing[:, ROW] = NO_PICTURE
        if format.pixel_format == "p010" and self._settings.ten_bit == "untouched":
            timing[sources, ROW] = UNTOUCHED
            sources = sources[:0]
        else:
            sources = self._needed(format, sources, timing)
            timing[sources, ROW] = np.arange(len(sources))
        format = self._note(format)
        inputs = self._nothing(format)
        if len(sources):
            xp = device_of("preprocess", "FRAMES", frames).xp
            chosen = frames if len(sources) == len(frames) else frames[xp.asarray(sources)]
            inputs["INPUT"] = make_pictures(self._border.bring(chosen), format, self._settings)
            if self._columns.condition:
                inputs["CONDITION"] = self._columns.rows(format, sources)
        if self._settings.frames == "untouched" and (timing[:, ROW] == UNTOUCHED).any():
            inputs["FRAMES"] = frames
        if self._windows is not None:
            shown = inputs["INPUT"] if len(sources) else inputs["INPUT"][:0]
            rows, times = self._windows.push(shown, timing[sources], end=request.end)
            inputs["INPUT"] = self._side.xp.stack(rows) if rows else self._black(format)
            timing = np.stack(times) if times else spare_rows(format)["TIMING"]
            timing[: len(rows), ROW] = np.arange(len(rows))
        format = replace(format, report=self._border.told(format.report))
        return {**inputs, "TIMING": timing, "FORMAT": self._given(self._turned(format)).to_json()}

    def failure(self, error: StageError) -> Tensors:
        """One black row, one spare row, and the error in FORMAT."""
        nothing = replace(NOTHING, layout=self._settings.layout)
        spare = spare_rows(nothing.failed(error))
        return {**self._nothing(nothing), "TIMING": spare["TIMING"], "FORMAT": spare["FORMAT"]}

    def _needed(
        self, format: Format, sources: npt.NDArray[np.int64], timing: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The sources that the network must compute; the others go past it."""
        if not self._columns.skip or not len(sources):
            return sources
        idle = self._columns.idle(self._columns.rows(format, sources))
        timing[sources[idle], ROW] = UNTOUCHED
        return sources[~idle]

    def _nothing(self, format: Format) -> dict[str, Pixels]:
        """One row of the network's inputs, and of what else is given, for no picture."""
        nothing = {"INPUT": self._black(format)}
        if self._columns.condition:
            nothing["CONDITION"] = np.zeros((1, len(self._columns.condition)), np.float32)
        if self._settings.frames == "untouched":
            nothing["FRAMES"] = self._side.xp.zeros((1, 1, 1), np.uint8)
        return nothing

    def _given(self, format: Format) -> Format:
        """What the pictures are behind the network, whose light nobody knows before."""
        return hdr10_format(format, light=0, stage="preprocess") if self._settings.gives == "hdr10" else format

    def _turned(self, format: Format) -> Format:
        """What later stages are told: pictures that were turned have no rotation left."""
        if self._settings.rotation != "upright":
            return format
        if quarter_turns(format, self._settings) % 2:
            format = replace(format, width=format.height, height=format.width)
        return replace(format, rotation=0)

    def _note(self, format: Format) -> Format:
        """The format with what the caller must know of how this stream is treated, said once."""
        notes = [self._columns.note(format)] if self._columns.condition and format.quantizer_steps else []
        if format.pixel_format == "p010" and self._settings.bits == 8 and self._settings.ten_bit == "convert":
            note = "the network computes in 8 bit: 10-bit frames are rounded for it"
            notes.append(note + (", the output's format stays 10 bit" if self._settings.rotation == "tag" else ""))
        new = [note for note in notes if note and note not in self._said]
        self._said.update(new)
        if not new:
            return format
        return replace(format, report={**format.report, "notes": [*format.report.get("notes", []), *new]})

    def _black(self, format: Format) -> Pixels:
        settings, zeros = self._settings, self._side.xp.zeros
        width, height = picture_size(format, settings)
        dtype = np.uint16 if settings.bits == 16 else np.uint8
        if settings.layout == "interleaved":
            return zeros(rgb_shape(1, width=width, height=height, layout="interleaved"), dtype)
        channels = 1 if settings.channels == "luma" else 3
        deep = settings.window if settings.picked == "all" else 1
        return zeros((1, channels * deep, height, width), dtype)
