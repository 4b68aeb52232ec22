# SPDX-License-Identifier: MIT
"""Frame by frame: max, mean, bias, PSNR, share of samples off by more than 2; and the network's answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_server.errors import BadInput
from vireo_server.parity.pipelines import Picture, Pipeline
from vireo_server.parity.serving import Serving

#: Frames that are held, and asked of the network, at once.
_AT_ONCE = 8


@dataclass
class Difference:
    """Training minus serving over all samples so far, in 8-bit levels."""

    samples: int = 0
    maximum: int = 0
    over_two: int = 0
    absolute: float = 0.0
    signed: float = 0.0
    squared: float = 0.0

    def add(self, training: npt.NDArray[np.uint8], serving: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
        """Count two arrays of one shape in; gives their difference."""
        difference = training.astype(np.int16) - serving.astype(np.int16)
        magnitude = np.abs(difference)
        self.samples += difference.size
        self.maximum = max(self.maximum, int(magnitude.max(initial=0)))
        self.over_two += int(np.count_nonzero(magnitude > 2))
        self.absolute += float(magnitude.sum(dtype=np.int64))
        self.signed += float(difference.sum(dtype=np.int64))
        self.squared += float(np.square(difference, dtype=np.int64).sum())
        return difference

    def to_json(self) -> dict[str, Any]:
        """`max`, `mean`, `bias` in levels, `psnr` in dB (null when equal), `share_over_2` in 0..1."""
        count = max(self.samples, 1)
        mean_square = self.squared / count
        return {
            "max": self.maximum,
            "mean": self.absolute / count,
            "bias": self.signed / count,
            "psnr": 10 * float(np.log10(255**2 / mean_square)) if mean_square else None,
            "share_over_2": self.over_two / count,
        }


@dataclass
class Comparison:
    """One video through one training pipeline and through serving.

    `heat` is the mean absolute difference at each pixel, `(H, W)` float; `scores` are pairs (serving, training) of
    what the network answered: each number of an answer that is a vector, the mean of one that is a picture.
    """

    video: str
    pipeline: str
    frames: int = 0
    pixels: Difference = field(default_factory=Difference)
    outputs: Difference | None = None
    heat: npt.NDArray[np.float64] | None = None
    scores: list[tuple[float, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything but the heat map."""
        return {
            "video": self.video,
            "training": self.pipeline,
            "frames": self.frames,
            "input": self.pixels.to_json(),
            "output": None if self.outputs is None else self.outputs.to_json(),
            "scores": self.scores,
        }


def compare(video: str, name: str, pipeline: Pipeline, serving: Serving, *, frames: int | None = None) -> Comparison:
    """Compare a training pipeline with serving on one video, at most `frames` of it.

    Raises:
        BadInput: the two give frames of another size, or another number of them.
    """
    result = Comparison(video=video, pipeline=name)
    trained = islice(pipeline(video, serving.size), frames)
    served = islice(serving.frames(video), frames)
    for ours, theirs in _batches(served, trained, video=video, name=name):
        for one, other in zip(ours, theirs, strict=True):
            difference = result.pixels.add(other, one)
            heat = np.abs(difference).mean(axis=2, dtype=np.float64)
            result.heat = heat if result.heat is None else result.heat + heat
            result.frames += 1
        for one, other in zip(serving.answers(ours), serving.answers(theirs), strict=True):
            result.outputs = result.outputs or Difference()
            result.outputs.add(other, one)
            result.scores += _scores(one, other)
    if result.heat is not None:
        result.heat /= result.frames
    return result


def _batches(
    served: Iterator[Picture], trained: Iterator[Picture], *, video: str, name: str
) -> Iterator[tuple[list[Picture], list[Picture]]]:
    place = 0
    while True:
        ours, theirs = list(islice(served, _AT_ONCE)), list(islice(trained, _AT_ONCE))
        if len(ours) != len(theirs):
            raise BadInput(
                f"{video!r}: serving has {place + len(ours)} frames and training pipeline {name!r} "
                f"{place + len(theirs)}; both "
                "must give every frame once, in order",
                stage="parity",
            )
        if not ours:
            return
        for one, other in zip(ours, theirs, strict=True):
            if one.shape != other.shape or other.dtype != np.uint8:
                raise BadInput(
                    f"{video!r}: training pipeline {name!r} gives {other.dtype} {other.shape}, serving uint8 "
                    f"{one.shape}; give "
                    "(H, W, 3) uint8 RGB of the same size, or name the size with --size",
                    stage="parity",
                )
        place += len(ours)
        yield ours, theirs


def _scores(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> list[tuple[float, float]]:
    if one.ndim >= 3:
        return [(float(one.mean()), float(other.mean()))]
    return list(zip(one.reshape(-1).tolist(), other.reshape(-1).tolist(), strict=True))
