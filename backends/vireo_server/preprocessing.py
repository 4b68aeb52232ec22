# SPDX-License-Identifier: MIT
"""Frames to network input: which rows the network must compute, and their RGB."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from vireo_kernels.color import RgbType, frames_to_rgb, rgb_shape

from vireo_server.conditions import Columns
from vireo_server.errors import StageError
from vireo_server.formats import (
    KIND,
    NO_PICTURE,
    ROW,
    SOURCE,
    UNTOUCHED,
    Bits,
    Format,
    Layout,
    PixelFormat,
    check_frames,
    frame_shape,
    spare_rows,
)
from vireo_server.hdr import hdr10_format, require_sdr
from vireo_server.sequences import Stage
from vireo_server.settings import PreprocessSettings
from vireo_server.tags import NOTHING, color_spec
from vireo_server.wire import Request, Tensors

_DTYPES: dict[Bits, RgbType] = {8: "uint8", 16: "uint16"}


def warm_up() -> None:
    """Compile what the first stream would otherwise wait for: the pixel kernels of both layouts."""
    color = color_spec(NOTHING.color, stage="preprocess")
    for layout in get_args(PixelFormat):
        frames = np.zeros((1, *frame_shape(width=16, height=16, pixel_format=layout)), np.uint8)
        for rgb in get_args(Layout):
            frames_to_rgb(frames, width=16, height=16, pixel_format=layout, color=color, layout=rgb)


class PreprocessStage(Stage):
    """The preprocess stage of one stream: source rows become INPUT, RGB `(R, 3, H, W)` for a network or `(R, H, W, 3)`
    for a script, as the setting `layout` has it; uint8, or uint16 by the setting `bits`.

    INPUT holds only what the network must compute; where that is nothing, one black row, since no tensor between
    stages may be empty. TIMING's `row` says which row of OUTPUT will hold each picture.
    """

    def __init__(self, settings: PreprocessSettings) -> None:
        self._settings = settings
        self._columns = Columns(settings.condition, settings.skip)
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
        frames, timing = request.array("FRAMES"), request.array("TIMING").copy()
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
        if not len(sources):
            return {**self._nothing(format), "TIMING": timing, "FORMAT": self._given(format).to_json()}
        rgb = frames_to_rgb(
            frames if len(sources) == len(frames) else frames[sources],
            width=format.width,
            height=format.height,
            pixel_format=format.pixel_format,
            color=color_spec(format.color, stage="preprocess"),
            layout=format.layout,
            dtype=_DTYPES[self._settings.bits],
        )
        told = {"CONDITION": self._columns.rows(format, sources)} if self._columns.condition else {}
        return {"INPUT": rgb, **told, "TIMING": timing, "FORMAT": self._given(format).to_json()}

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

    def _nothing(self, format: Format) -> dict[str, npt.NDArray[Any]]:
        """One row of the network's inputs, for no picture."""
        told = {"CONDITION": np.zeros((1, len(self._columns.condition)), np.float32)} if self._columns.condition else {}
        return {"INPUT": self._black(format), **told}

    def _given(self, format: Format) -> Format:
        """What the pictures are behind the network, whose light nobody knows before."""
        return hdr10_format(format, light=0, stage="preprocess") if self._settings.gives == "hdr10" else format

    def _note(self, format: Format) -> Format:
        """The format with what the caller must know of how this stream is treated, said once."""
        notes = [self._columns.note(format)] if self._columns.condition and format.quantizer_steps else []
        if format.pixel_format == "p010" and self._settings.bits == 8 and self._settings.ten_bit == "convert":
            notes.append(
                "the network computes in 8 bit: 10-bit frames are rounded for it, the output's format stays 10 bit"
            )
        new = [note for note in notes if note and note not in self._said]
        self._said.update(new)
        if not new:
            return format
        return replace(format, report={**format.report, "notes": [*format.report.get("notes", []), *new]})

    def _black(self, format: Format) -> npt.NDArray[Any]:
        shape = rgb_shape(1, width=format.width, height=format.height, layout=format.layout)
        return np.zeros(shape, _DTYPES[self._settings.bits])
