# SPDX-License-Identifier: MIT
"""The sample clip and its full-size original: a camera moves over a wall of photographs no network was trained on.

`python -m vireo_training.sample_clip --original demo/original.mp4` makes the 1280x720 original whenever it is needed
(lossless, the same pixels each time); `--clip demo/sample.mp4` makes the committed 640x360 clip from the same frames.
Needs no torch.
"""

import argparse
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

from vireo_training.degradation import frame_from_rgb, halve, x264_repeatable
from vireo_training.photographs import load, photographs_for

__all__ = [
    "FRAMES",
    "RATE",
    "SIZE",
    "Tile",
    "camera",
    "frames",
    "main",
    "sound",
    "wall",
    "write_clip",
    "write_original",
]

FRAMES = 250
RATE = 25
SIZE = (1280, 720)
"""Width and height of the original."""
_GROUP = 50
_SAMPLE_RATE = 48_000
_GAP = 16
_PAINT = (38, 36, 34)


@dataclass(frozen=True)
class Tile:
    """A photograph on the wall: shrunk to `scale` (never above 1), cropped, and where its top left corner hangs."""

    name: str
    scale: float
    crop: tuple[int, int, int, int]
    """left, top, width, height in the shrunk photograph"""
    column: int
    row: int

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(
                f"tile {self.name!r}: scale {self.scale!r} is outside (0, 1]; enlarged, it has no detail to win back"
            )


# Two rows, 400 and 512 pixels high, with _GAP pixels of paint between and around.
_TILES = (
    Tile("china", 1, (0, 10, 640, 400), 16, 16),
    Tile("coffee", 1, (0, 0, 600, 400), 672, 16),
    Tile("astronaut", 0.78125, (0, 0, 400, 400), 1288, 16),
    Tile("astronaut", 1, (0, 0, 512, 512), 16, 432),
    Tile("chelsea", 1, (0, 0, 450, 300), 544, 432),
    Tile("coffee", 0.5, (0, 2, 300, 196), 544, 748),
    Tile("chelsea", 0.75, (90, 20, 134, 196), 860, 748),
    Tile("coffee", 0.75, (0, 0, 450, 300), 1010, 432),
    Tile("china", 0.75, (228, 20, 212, 300), 1476, 432),
    Tile("china", 0.5, (0, 8, 320, 196), 1010, 748),
    Tile("astronaut", 0.7, (8, 60, 342, 196), 1346, 748),
)
_WALL = (1704, 960)

# (seconds, centre column, centre row, wall pixels per picture pixel): along the top at full size, down to the left, and
# back until most of the wall is seen. Below 1 the camera would enlarge.
_PATH = (
    (0.0, 660.5, 372.0, 1.0),
    (4.0, 1040.25, 381.5, 1.0),
    (7.0, 700.75, 584.0, 1.04),
    (10.0, 852.0, 480.0, 1.24),
)


def wall() -> NDArray[np.uint8]:
    """Hang the held-out photographs, at native size or smaller; (960, 1704, 3) uint8 RGB."""
    pictures = {photograph.name: Image.fromarray(load(photograph)) for photograph in photographs_for("held_out")}
    canvas = Image.new("RGB", _WALL, _PAINT)
    for tile in _TILES:
        picture = pictures[tile.name]
        if tile.scale < 1:
            size = (round(picture.width * tile.scale), round(picture.height * tile.scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        left, top, width, height = tile.crop
        canvas.paste(picture.crop((left, top, left + width, top + height)), (tile.column, tile.row))
    return np.asarray(canvas)


def frames(indices: Iterable[int] = range(FRAMES)) -> Iterator[NDArray[np.uint8]]:
    """Give frames of the original by number, (720, 1280, 3) uint8 RGB each, the same on every machine."""
    canvas = Image.fromarray(wall())
    for index in indices:
        column, row, scale = camera(index / RATE)
        width, height = SIZE[0] * scale, SIZE[1] * scale
        box = (column - width / 2, row - height / 2, column + width / 2, row + height / 2)
        # Lanczos over a box with sub-pixel borders: antialiased when it shrinks, and it only ever shrinks or shifts.
        yield np.asarray(canvas.resize(SIZE, Image.Resampling.LANCZOS, box=box))


def sound() -> NDArray[np.float32]:
    """Four soft chords, (2, samples) float32 within -1..1 at 48 kHz, as long as the clip."""
    # A minor 7, F major 7, C, G: frequencies in hertz.
    chords = (
        (220.0, 261.63, 329.63, 392.0),
        (174.61, 261.63, 329.63, 440.0),
        (196.0, 261.63, 329.63, 523.25),
        (196.0, 246.94, 293.66, 493.88),
    )
    total = FRAMES * _SAMPLE_RATE // RATE
    result = np.zeros((2, total))
    length = total // len(chords)
    for index, chord in enumerate(chords):
        times = np.arange(min(length * 5 // 4, total - index * length)) / _SAMPLE_RATE
        envelope = np.minimum(times / 0.4, 1) * np.exp(-times / 1.6)
        envelope *= np.clip((times[-1] - times) / 0.3, 0, 1)
        for voice, frequency in enumerate(chord):
            for side in (0, 1):
                # Each side is detuned by a fraction of a hertz, which the ear hears as width.
                tone = 2 * np.pi * (frequency + (0.3 if side else -0.3)) * times
                wave = np.sin(tone) + 0.3 * np.sin(2 * tone) + 0.1 * np.sin(3 * tone)
                balance = 0.5 + (0.25 if (voice % 2) == side else -0.25)
                result[side, index * length : index * length + times.size] += 0.16 * balance * envelope * wave
    return result.astype(np.float32)


def write_original(path: Path, *, indices: Iterable[int] = range(FRAMES)) -> None:
    """Write the 1280x720 original without loss: H.264 with a quantiser of 0, no sound. All of it takes about 20 s."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _video_stream(container, SIZE, {"qp": "0", "preset": "superfast", **x264_repeatable()})
        for index, picture in enumerate(frames(indices)):
            container.mux(stream.encode(frame_from_rgb(picture, pts=index)))
        container.mux(stream.encode(None))


def write_clip(path: Path) -> None:
    """Write the 640x360 clip: the original's frames halved, H.264 with B-frames and closed GOPs of 2 s, AAC stereo."""
    groups = (f"keyint={_GROUP}", f"min-keyint={_GROUP}", "scenecut=0", "bframes=3")
    options = {"crf": "20.5", "preset": "slower", **x264_repeatable(*groups)}
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        stream = _video_stream(container, (SIZE[0] // 2, SIZE[1] // 2), options)
        audio = container.add_stream("aac", rate=_SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 80_000
        for index, picture in enumerate(frames()):
            container.mux(stream.encode(frame_from_rgb(halve(picture), pts=index)))
        container.mux(stream.encode(None))
        samples, block = sound(), 1024
        for start in range(0, samples.shape[1], block):
            piece = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + block]), format="fltp", layout="stereo"
            )
            piece.sample_rate, piece.pts, piece.time_base = _SAMPLE_RATE, start, Fraction(1, _SAMPLE_RATE)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def camera(seconds: float) -> tuple[float, float, float]:
    """Where the camera looks: centre column and row on the wall, wall pixels per picture pixel; eased at every stop."""
    for (before, *here), (after, *there) in itertools.pairwise(_PATH):
        if seconds <= after:
            progress = (seconds - before) / (after - before)
            eased = progress * progress * (3 - 2 * progress)
            column, row, scale = (one + (other - one) * eased for one, other in zip(here, there, strict=True))
            return column, row, scale
    column, row, scale = _PATH[-1][1:]
    return column, row, scale


def _video_stream(
    container: av.container.OutputContainer, size: tuple[int, int], options: dict[str, str]
) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=RATE, options=options)
    stream.width, stream.height, stream.pix_fmt = *size, "nv12"
    context = stream.codec_context
    # x264 writes other bytes with another number of threads.
    context.thread_count = 2
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = 1, 1
    return stream


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description="Make the sample clip or its full-size original.")
    parser.add_argument("--original", type=Path, help="write the lossless 1280x720 original here")
    parser.add_argument("--clip", type=Path, help="write the 640x360 clip here")
    options = parser.parse_args()
    if options.original is None and options.clip is None:
        parser.error("nothing to make; give --original PATH, --clip PATH or both")
    for path, write in ((options.original, write_original), (options.clip, write_clip)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            print(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
