# SPDX-License-Identifier: MIT
"""Camera motion over a photograph: a virtual camera pans, tilts, zooms or shakes, and we know which it did.

The words are those of film: in a *pan left* the camera turns to the left, so that what it sees moves to the right; a
*tilt up* shows what is above.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["MOTIONS", "Camera", "Motion", "Windows", "draw_camera", "film", "windows"]

Motion = Literal["static", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "handheld"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)

_DIRECTIONS: dict[str, tuple[int, int]] = {
    "pan_left": (-1, 0),
    "pan_right": (1, 0),
    "tilt_up": (0, -1),
    "tilt_down": (0, 1),
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """How one camera moves; `speed` in picture widths (pan), heights (tilt) or e-foldings (zoom) a second.

    `shake` is the root mean square of its trembling in picture widths; `waves` are the trembling's parts: (axis, Hz,
    phase, share), axis 0 across, 1 down, 2 zoom, 3 roll. `change` is how much of its speed it gains in a second.
    """

    motion: Motion
    speed: float = 0.0
    change: float = 0.0
    drift: float = 0.0
    shake: float = 0.0
    waves: tuple[tuple[int, float, float, float], ...] = ()

    def path(self, seconds: Floats) -> Floats:
        """Where it looks at these times, (T, 4): across and down in pictures, log of the zoom, roll in radians."""
        way = self.speed * (seconds + self.change * seconds * (seconds - seconds[-1]) / 2)
        places = np.zeros((len(seconds), 4))
        if self.motion in _DIRECTIONS:
            across, down = _DIRECTIONS[self.motion]
            places[:, 0] = way * (across if across else self.drift)
            places[:, 1] = way * (down if down else self.drift)
        elif self.motion in ("zoom_in", "zoom_out"):
            places[:, 2] = way if self.motion == "zoom_in" else -way
        for axis, hertz, phase, share in self.waves:
            places[:, axis] += self.shake * share * np.sqrt(2) * np.sin(2 * np.pi * hertz * seconds + phase)
        return places


def draw_camera(motion: Motion, random: np.random.Generator) -> Camera:
    """A camera of one kind at a random speed. Speeds are spread evenly over their logarithm, as for all scales."""
    speed, shake = 0.0, 0.0
    if motion in _DIRECTIONS:
        speed = _log_uniform(random, 0.1, 0.8)
        shake = random.choice([0.0, random.uniform(0, min(0.004, 0.05 * speed))])
    elif motion in ("zoom_in", "zoom_out"):
        speed = _log_uniform(random, 0.12, 0.7)
        shake = random.choice([0.0, random.uniform(0, min(0.003, 0.03 * speed))])
    elif motion == "handheld":
        shake = _log_uniform(random, 0.008, 0.035)
    else:
        shake = random.choice([0.0, random.uniform(0, 0.0006)])
    # Across and down tremble alike; the zoom and the roll (in radians) less.
    axes = [(0, 1.0), (1, 1.0), (2, 0.25), (3, 0.6)]
    waves = tuple(
        (axis, float(random.uniform(1.5, 4.0)), float(random.uniform(0, 2 * np.pi)), amount * share)
        for axis, amount in axes
        for share in (0.8, 0.6)
    )
    return Camera(
        motion,
        speed=speed,
        change=float(random.uniform(-0.4, 0.4)),
        drift=float(random.uniform(-0.12, 0.12)),
        shake=float(shake),
        waves=waves if shake else (),
    )


def film(
    photograph: NDArray[np.uint8],
    camera: Camera,
    seconds: Sequence[float] | Floats,
    *,
    size: tuple[int, int],
    view: float = 0.5,
    center: tuple[float, float] = (0.5, 0.5),
) -> NDArray[np.uint8]:
    """What the camera sees at these times: (T, H, W) or (T, H, W, 3) uint8 as the photograph is grey or not.

    `size` is (width, height), `view` the share of the photograph's smaller fit that the picture shows at first,
    `center` where it begins, in shares of width and height. Beyond its edges the photograph is mirrored. Every picture
    is drawn at twice its size and halved, so that nothing flickers.
    """
    times = np.asarray(seconds, dtype=np.float64)
    width, height = size
    rows, columns = photograph.shape[:2]
    seen = view * min(columns, rows * width / height)  # columns of the photograph that the picture is wide
    scale = seen / (2 * width)  # columns a drawn pixel
    picture, border = _prepared(photograph, shrink=max(1.0, scale))
    scale, grow = scale / max(1.0, scale), 1 / max(1.0, scale)
    frames = []
    for across, down, zoom, roll in camera.path(times):
        step = scale * np.exp(-zoom)
        x = (center[0] * columns + across * seen) * grow + border
        y = (center[1] * rows + down * seen * height / width) * grow + border
        cosine, sine = step * np.cos(roll), step * np.sin(roll)
        matrix = (cosine, -sine, x - cosine * width + sine * height, sine, cosine, y - sine * width - cosine * height)
        drawn = picture.transform((2 * width, 2 * height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        frames.append(np.asarray(drawn.reduce(2)))
    return np.stack(frames)


@dataclass(frozen=True)
class Windows:
    """Examples: `frames` (N, K, H, W) uint8 grey and `labels` (N,) int64, places in `MOTIONS`."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]


def windows(
    photographs: Sequence[NDArray[np.uint8]], *, count: int, seed: int, frames: int = 8, side: int = 64
) -> Windows:
    """Draw `count` windows of `frames` square grey pictures from (H, W, 3) photographs, as the service would see them.

    Pictures come at about 8 a second, each at the first frame of a usual rate after its time, so that steps are uneven
    as they are in a video. Brightness flickers a little, there is noise, and in a third of the windows something
    moves through the picture by itself.
    """
    random = np.random.default_rng(seed)
    weights = np.sqrt([photograph.shape[0] * photograph.shape[1] for photograph in photographs])
    shares = weights / weights.sum()
    result = np.empty((count, frames, side, side), np.uint8)
    labels = random.integers(len(MOTIONS), size=count)
    for number, label in enumerate(labels):
        picture = photographs[random.choice(len(photographs), p=shares)]
        camera = draw_camera(MOTIONS[label], random)
        clip = _film_window(picture, camera, random, frames=frames, side=side).astype(np.float32)
        if random.random() < 0.33:
            other = photographs[random.choice(len(photographs), p=shares)]
            _add_mover(clip, other, random)
        result[number] = _degraded(clip, random)
    return Windows(result, labels)


def _film_window(
    picture: NDArray[np.uint8], camera: Camera, random: np.random.Generator, *, frames: int, side: int
) -> NDArray[np.uint8]:
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    # A square picture that is squeezed as the service squeezes wide and tall ones.
    aspect = random.choice([16 / 9, 4 / 3, 1.0, 3 / 4, 9 / 16])
    rows, columns = grey.shape
    squeezed = (columns, max(side, round(rows * aspect))) if aspect > 1 else (max(side, round(columns / aspect)), rows)
    grey = np.asarray(Image.fromarray(grey).resize(squeezed, Image.Resampling.BILINEAR))
    rate = random.choice([24.0, 25.0, 30.0, 50.0, 60.0])
    grid = random.uniform(0, 1) + np.arange(frames) / 8
    seconds = np.ceil(grid * rate) / rate
    view = float(random.uniform(0.3, 0.9))
    center = (float(random.uniform(0.2, 0.8)), float(random.uniform(0.2, 0.8)))
    return film(grey, camera, seconds - seconds[0], size=(side, side), view=view, center=center)


def _add_mover(clip: NDArray[np.float32], other: NDArray[np.uint8], random: np.random.Generator) -> None:
    """A disc of another photograph that crosses the picture on a way of its own."""
    frames, rows, columns = clip.shape
    radius = float(random.uniform(0.08, 0.2)) * columns
    texture = np.asarray(Image.fromarray(other).convert("L").resize((columns, rows), Image.Resampling.BILINEAR))
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    start, speed = random.uniform(0, columns, 2), random.uniform(-3, 3, 2)
    for number in range(frames):
        place = start + speed * number
        inside = (x - place[0]) ** 2 + (y - place[1]) ** 2 < radius**2
        shifted = np.roll(texture, tuple(np.rint(place[::-1]).astype(int)), (0, 1))
        clip[number][inside] = shifted[inside]


def _degraded(clip: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint8]:
    contrast, brightness = random.uniform(0.5, 1.15), random.uniform(-30, 30)
    clip = (clip - 128) * contrast + 128 + brightness
    clip = clip * (1 + random.normal(0, random.uniform(0, 0.015), (len(clip), 1, 1)))
    clip = clip + random.normal(0, random.uniform(0, 3), clip.shape)
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)


def _prepared(photograph: NDArray[np.uint8], *, shrink: float) -> tuple[Any, int]:
    """The photograph, shrunk so that drawing samples every pixel, mirrored all around; and how wide the border is."""
    picture = Image.fromarray(photograph)
    if shrink > 1:
        size = (max(2, round(picture.width / shrink)), max(2, round(picture.height / shrink)))
        picture = picture.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(picture)
    border = max(pixels.shape[:2])
    around = ((border, border), (border, border), (0, 0))[: pixels.ndim]
    return Image.fromarray(np.pad(pixels, around, mode="symmetric")), border


def _log_uniform(random: np.random.Generator, least: float, most: float) -> float:
    return float(np.exp(random.uniform(np.log(least), np.log(most))))
