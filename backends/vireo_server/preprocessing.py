# SPDX-License-Identifier: MIT
"""Frames to network input: which rows the network must compute, and their RGB."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from vireo_kernels.color import RgbType, frames_to_rgb, rgb_shape

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
        self._format = NOTHING
        self._noted = False

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
            timing[sources, ROW] = np.arange(len(sources))
        if not len(sources):
            return {"INPUT": self._black(format), "TIMING": timing, "FORMAT": self._given(format).to_json()}
        rgb = frames_to_rgb(
            frames if len(sources) == len(frames) else frames[sources],
            width=format.width,
            height=format.height,
            pixel_format=format.pixel_format,
            color=color_spec(format.color, stage="preprocess"),
            layout=format.layout,
            dtype=_DTYPES[self._settings.bits],
        )
        return {"INPUT": rgb, "TIMING": timing, "FORMAT": self._given(self._note(format)).to_json()}

    def failure(self, error: StageError) -> Tensors:
        """One black row, one spare row, and the error in FORMAT."""
        nothing = replace(NOTHING, layout=self._settings.layout)
        spare = spare_rows(nothing.failed(error))
        return {"INPUT": self._black(nothing), "TIMING": spare["TIMING"], "FORMAT": spare["FORMAT"]}

    def _given(self, format: Format) -> Format:
        """What the pictures are behind the network, whose light nobody knows before."""
        return hdr10_format(format, light=0, stage="preprocess") if self._settings.gives == "hdr10" else format

    def _note(self, format: Format) -> Format:
        if format.pixel_format != "p010" or self._settings.bits > 8 or self._noted:
            return format
        self._noted = True
        note = "the network computes in 8 bit: 10-bit frames are rounded for it, the output's format stays 10 bit"
        return replace(format, report={**format.report, "notes": [*format.report.get("notes", []), note]})

    def _black(self, format: Format) -> npt.NDArray[Any]:
        shape = rgb_shape(1, width=format.width, height=format.height, layout=format.layout)
        return np.zeros(shape, _DTYPES[self._settings.bits])
