# SPDX-License-Identifier: MIT
"""The pool of training pairs: small compressed frames and the originals they came from, made once before training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vireo_training.degradation import Compression, Shrink, compress, crop_path, halve

__all__ = ["Pair", "PairSettings", "dead_leaves", "draw_clip", "pairs"]


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn; sizes in pixels of the halved picture."""

    size: int = 96
    frames: int = 7
    kept: tuple[int, ...] = (1, 3, 5)
    uncompressed: float = 0.15
    synthetic: float = 0.08
    shrinks: tuple[tuple[Shrink, float], ...] = (("bicubic", 0.6), ("area", 0.25), ("bilinear", 0.15))
    crfs: tuple[tuple[int, int, float], ...] = ((12, 15, 0.2), (16, 24, 0.65), (25, 30, 0.15))
    """(first, last, probability): constant rate factors are drawn evenly inside a band."""
    presets: tuple[str, ...] = ("veryfast", "fast", "medium")

    def __post_init__(self) -> None:
        if self.size % 2 or max(self.kept) >= self.frames:
            raise ValueError(
                f"pair settings: size {self.size!r} must be even and kept {self.kept!r} below frames {self.frames!r}"
            )


@dataclass(frozen=True)
class Pair:
    """One decoded small picture (s, s, 3) and its original (2s, 2s, 3), both uint8 RGB."""

    small: NDArray[np.uint8]
    large: NDArray[np.uint8]


def pairs(
    photographs: Sequence[NDArray[np.uint8]], *, clips: int, seed: int, settings: PairSettings | None = None
) -> Iterator[Pair]:
    """Draw `clips` short clips from (H, W, 3) photographs, degrade them, and give a few frames of each as pairs."""
    settings = settings or PairSettings()
    random = np.random.default_rng(seed)
    for _ in range(clips):
        large = draw_clip(
            photographs, random, size=settings.size * 2, frames=settings.frames, synthetic=settings.synthetic
        )
        shrink = settings.shrinks[random.choice(len(settings.shrinks), p=[share for _, share in settings.shrinks])][0]
        small = np.stack([halve(frame, shrink=shrink) for frame in large])
        if random.random() >= settings.uncompressed:
            first, last, _ = settings.crfs[random.choice(len(settings.crfs), p=[share for *_, share in settings.crfs])]
            crf, preset = int(random.integers(first, last + 1)), str(random.choice(settings.presets))
            small = compress(small, Compression(crf, preset))
        for index in settings.kept:
            yield Pair(small[index], large[index])


def draw_clip(
    photographs: Sequence[NDArray[np.uint8]], random: np.random.Generator, *, size: int, frames: int, synthetic: float
) -> NDArray[np.uint8]:
    """Draw a clip (frames, size, size, 3) of a window that moves over one of the photographs, turned and rescaled.

    A share `synthetic` of the clips is painted (`dead_leaves`) instead; three in ten have their channels exchanged.
    """
    if random.random() < synthetic:
        picture = dead_leaves(random, size=size + 32)
    else:
        # A photograph is drawn as often as its size says, but a huge smooth one must not drown the others.
        weights = np.sqrt([photograph.shape[0] * photograph.shape[1] for photograph in photographs])
        picture = photographs[random.choice(len(photographs), p=weights / weights.sum())]
        picture = _rescaled(picture, random, least=size + 2)
    if random.random() < 0.3:
        picture = picture[:, :, random.permutation(3)]
    return _moving_crop(_turned(picture, random), random, size=size, frames=frames)


def dead_leaves(random: np.random.Generator, *, size: int) -> NDArray[np.uint8]:
    """Paint a (size, size, 3) uint8 picture of overlapping discs and boxes, with sizes drawn as in natural pictures.

    Occluding shapes with radii of density r^-3 have the edge and scale statistics of photographs (Lee, Mumford and
    Huang, 2001). Painted at twice the size and halved, so that edges are antialiased.
    """
    fine = size * 2
    canvas = np.zeros((fine, fine, 3), np.float32)
    rows, columns = np.mgrid[0:fine, 0:fine].astype(np.float32)
    for _ in range(120):
        radius = float(np.clip(fine / 2 / np.sqrt(1 + random.random() * 900), 4, fine / 2))
        row, column = random.random(2) * fine
        top, left = int(max(row - radius, 0)), int(max(column - radius, 0))
        box = (slice(top, int(row + radius) + 1), slice(left, int(column + radius) + 1))
        inside = np.ones_like(rows[box], bool)
        if random.random() < 0.6:
            inside = (rows[box] - row) ** 2 + (columns[box] - column) ** 2 < radius**2
        color = random.random(3) * 255
        canvas[box][inside] = color
    return halve(canvas.astype(np.uint8), shrink="area")


def _rescaled(picture: NDArray[np.uint8], random: np.random.Generator, *, least: int) -> NDArray[np.uint8]:
    """Shrink by a random factor (never enlarge: that would teach a network to blur), keeping both sides >= `least`."""
    height, width = picture.shape[:2]
    if min(height, width) < least:
        # A low strip such as a line of text: mirrored down to the size needed.
        extra = ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0))
        return np.pad(picture, extra, mode="symmetric")
    smallest = max(0.5, least / min(height, width))
    factor = 1.0 if random.random() < 0.4 else float(random.uniform(smallest, 1))
    size = (max(least, round(width * factor)), max(least, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _turned(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    if random.random() < 0.5:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(np.rot90(picture, int(random.integers(4))))


def _moving_crop(
    picture: NDArray[np.uint8], random: np.random.Generator, *, size: int, frames: int
) -> NDArray[np.uint8]:
    """Cut a clip out of a picture along a straight path of whole pixels, which are half pixels once halved."""
    starts, steps = [], []
    for side in picture.shape[:2]:
        room = side - size
        reach = min(4, room // (frames - 1))
        step = int(random.integers(-reach, reach + 1))
        travel = step * (frames - 1)
        starts.append(int(random.integers(max(0, -travel), min(room, room - travel) + 1)))
        steps.append(step)
    return crop_path(picture, size=(size, size), start=(starts[0], starts[1]), step=(steps[0], steps[1]), frames=frames)
