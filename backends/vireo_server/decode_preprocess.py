# SPDX-License-Identifier: MIT
"""decode and preprocess in one process: packets to a network's pictures.

# Note [When decode is no stage of its own]
A sampled 720p frame is 1.4 MB, what becomes of it here 4 KB (64x64, grey). Between two processes such a frame is copied
three times, which for short clips took as long as converting it. So a service that needs the frames for nothing else
has both stages in one process: one that looks at small pictures, or whose network computes all of them, as that of
super_resolution, where a frame of 360p takes 0.8 ms less. They are the same stages, and give the same bits. Where
several networks share one decode, or pictures go past the network to encode, decode remains a model of its own.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from vireo_kernels.devices import device_of

from vireo_server import decoding, preprocessing
from vireo_server.decoding import DecodeStage
from vireo_server.errors import StageError
from vireo_server.formats import KIND, ROW, SPARE, Format
from vireo_server.preprocessing import PreprocessStage
from vireo_server.sequences import Stage, Streams
from vireo_server.settings import DecodePreprocessSettings
from vireo_server.side import HOST, Side
from vireo_server.wire import LocalRequest, Request, Tensors

_PACKETS = 16
"""Decoded before their pictures are converted, so that frames wait in no great number."""


def warm_up(settings: DecodePreprocessSettings, side: Side = HOST) -> None:
    """Compile what the first stream would otherwise wait for."""
    decoding.warm_up(side)
    preprocessing.warm_up(settings, side)


class DecodePreprocessStage(Stage):
    """Both stages of one stream: in go STREAM, PACKETS and their times, out come INPUT, TIMING and FORMAT, and
    CONDITION where the settings have one. A request gives all its rows, so its packets are what bounds them.
    """

    def __init__(self, settings: DecodePreprocessSettings, streams: Streams, side: Side = HOST) -> None:
        quantizers = "quantizer_step" in settings.condition
        self._decode = DecodeStage(settings, streams, side, quantizers=quantizers)
        self._preprocess = PreprocessStage(settings, side)
        self._is_open = False

    def open(self, request: Request) -> None:
        """See `DecodeStage.open`."""
        self._decode.open(request)

    def step(self, request: Request) -> Tensors:
        """Decode the request's packets and give the pictures of all that is wanted of them."""
        parts: list[Mapping[str, Any]] = list(self._parts(request))
        return parts[0] if len(parts) == 1 else _joined(parts)

    def failure(self, error: StageError) -> Tensors:
        """See `PreprocessStage.failure`."""
        return self._preprocess.failure(error)

    def close(self) -> None:
        """Free what both hold."""
        self._decode.close()
        self._preprocess.close()

    def _parts(self, request: Request) -> Iterator[Tensors]:
        packets = iter(self._decode.read(request))
        is_last = False
        while not is_last:
            part = list(islice(packets, _PACKETS))
            is_last = len(part) < _PACKETS
            self._decode.decode(part)
            if is_last and self._decode.is_last:
                self._decode.flush()
            tensors = self._decode.give()
            inner = LocalRequest(tensors, start=request.start, end=request.end and is_last, stage="preprocess")
            self._preprocess.listen(inner)
            if not self._is_open:
                self._preprocess.open(inner)
                self._is_open = True
            yield self._preprocess.step(inner)


def _joined(parts: list[Mapping[str, Any]]) -> Tensors:
    """The rows of all parts as one reply: spare rows only where there is no other."""
    full = [part for part in parts if (part["TIMING"][:, KIND] != SPARE).any()] or parts[-1:]
    joined = {}
    for name in full[0].keys() - {"TIMING", "FORMAT"}:
        arrays = [part[name] for part in full]
        joined[name] = device_of("decode_preprocess", name, arrays[0]).xp.concatenate(arrays)
    timings, first = [], 0
    for part in full:
        timing = part["TIMING"].copy()
        timing[:, ROW] = np.where(timing[:, ROW] >= 0, timing[:, ROW] + first, timing[:, ROW])
        first += len(part["INPUT"])
        timings.append(timing)
    formats = [Format.from_json(json.loads(part["FORMAT"]), stage="preprocess") for part in parts]
    format = replace(formats[-1], report=_joined_reports([each.report for each in formats]))
    return {**joined, "TIMING": np.concatenate(timings), "FORMAT": format.to_json()}


def _joined_reports(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """What holds of the last part, but for what is counted, and what is told once."""
    joined = {
        **dict(ChainMap(*reversed(reports))),
        "frames_in": sum(report["frames_in"] for report in reports),
        "notes": list(dict.fromkeys(note for report in reports for note in report["notes"])),
    }
    crossed = [report["crossed"] for report in reports if "crossed" in report]
    if crossed:
        joined["crossed"] = {
            stage: {way: sum(each[stage][way] for each in crossed if stage in each) for way in counts}
            for stage, counts in {stage: counts for each in crossed for stage, counts in each.items()}.items()
        }
    return joined
