# SPDX-License-Identifier: MIT
"""An interpolation network that needs no training: it looks for the motion that makes both pictures agree.

`python -m vireo_training.interpolation` writes it into `model_repository/frame_interpolation_network_network`.

Its interface is that of RIFE's ONNX files: one float input of 7 or 11 planes (first picture, second picture, where
between them the wanted one lies; and with 11 the places of the pixels and the size of one in them), one picture out.

# Note [Motion search as a graph]
At an eighth, a quarter and half of the size, coarse to fine, each pixel of the picture between tries moves around what
the level before found: along a move both pictures are sampled where they would have come from, and how much they differ
around there is the move's cost. The motion is the mean of the moves, weighted by the softmax of their costs. So
everything is pooling, sampling and one softmax a level, which every runtime has.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vireo_training.graph import FLOAT, Graph

__all__ = ["PLANES", "interpolation_graph", "main"]

PLANES = (7, 11)
"""Planes of the input that RIFE's files have."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


@dataclass(frozen=True, kw_only=True)
class _Level:
    """A size at which motion is looked for: `scale` times smaller; moves of -reach..reach in `step`s, in its pixels;
    `sharpness` of the softmax, over differences in 0..1 averaged over `around` pixels squared."""

    scale: int
    reach: float
    step: float
    around: int
    sharpness: float
    rein: float
    """What a move of one pixel costs by itself: it decides where nothing is to be seen."""


_LEVELS = (
    _Level(scale=8, reach=4, step=1, around=5, sharpness=150, rein=0.0005),
    _Level(scale=4, reach=1.5, step=0.5, around=5, sharpness=150, rein=0.0005),
    _Level(scale=2, reach=1, step=0.5, around=7, sharpness=150, rein=0.0005),
)


def interpolation_graph(*, planes: int = 7) -> bytes:
    """Build the network: INPUT (N, planes, H, W) float RGB 0..1, H and W multiples of 32; OUTPUT (N, 3, H, W)."""
    if planes not in PLANES:
        raise ValueError(f"interpolation_graph: planes is {planes!r}; allowed: {', '.join(map(str, PLANES))}")
    builder = _Builder(Graph(f"vireo_interpolation_{planes}"))
    parts = {"first": 3, "second": 3, "share": 1, "across": 1, "down": 1, "width": 1, "height": 1}
    names = list(parts)[: 3 if planes == 7 else None]
    builder.cut("INPUT", {name: parts[name] for name in names})
    luma = builder.graph.constant("luma", _LUMA.reshape(1, 3, 1, 1))
    grey = [builder.add("Conv", name, luma) for name in ("first", "second")]
    motion = None
    for level in _LEVELS:
        motion = builder.refine(grey, "share", motion, level)
    assert motion is not None
    motion = builder.enlarged(motion, _LEVELS[-1].scale)
    if planes == 7:
        here, pixel = builder.places("first")
    else:
        here = builder.add("Concat", "across", "down", axis=1)
        pixel = builder.add("Concat", "width", "height", axis=1)
    step = builder.add("Mul", motion, pixel)
    back, ahead = builder.ends(here, step, "share")
    one, two = builder.sample("first", back), builder.sample("second", ahead)
    rest = builder.add("Sub", two, one)
    builder.graph.add("Add", one, builder.add("Mul", rest, "share"), output="OUTPUT")
    return builder.graph.serialize(
        input_shape=("N", planes, "H", "W"),
        output_shape=("N", 3, "H", "W"),
        doc=f"a picture between two by motion search; {planes} planes as RIFE's files have them, RGB 0..1",
        element=FLOAT,
    )


class _Builder:
    """Parts of the graph. Pictures are (N, C, H, W), motions and places (N, 2, H, W), x first; places are -1..1."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._count = 0

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        """A node under a name of its own."""
        self._count += 1
        return self.graph.add(operator, *inputs, output=f"v{self._count}.{operator}", **attributes)

    def value(self, *numbers: float, shape: tuple[int, ...] = ()) -> str:
        """A float constant."""
        self._count += 1
        return self.graph.constant(f"v{self._count}", np.array(numbers, np.float32).reshape(shape))

    def sizes(self, *numbers: int) -> str:
        """A constant of whole numbers, as shapes and axes are."""
        self._count += 1
        return self.graph.constant(f"v{self._count}", np.array(numbers, np.int64))

    def cut(self, source: str, parts: dict[str, int]) -> None:
        """Cut planes apart, by name."""
        begin = 0
        for name, count in parts.items():
            self.graph.add("Slice", source, self.sizes(begin), self.sizes(begin + count), self.sizes(1), output=name)
            begin += count

    def shrunk(self, source: str, scale: int) -> str:
        """Each pixel the mean of scale x scale."""
        return self.add("AveragePool", source, kernel_shape=[scale] * 2, strides=[scale] * 2)

    def enlarged(self, motion: str, scale: int) -> str:
        """A motion at `scale` times the size, in pixels of that size."""
        larger = self.add(
            "Resize", motion, "", self.value(1, 1, scale, scale, shape=(4,)), mode="linear",
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        return self.add("Mul", larger, self.value(scale))

    def smoothed(self, source: str, around: int) -> str:
        """Each value the mean of around x around."""
        return self.add(
            "AveragePool", source, kernel_shape=[around] * 2, strides=[1, 1], pads=[around // 2] * 4,
            count_include_pad=0,
        )  # fmt: skip

    def places(self, source: str) -> tuple[str, str]:
        """The place of every pixel of a picture, (1, 2, H, W) in -1..1, and the size of one, (1, 2, 1, 1)."""
        shape = self.add("Cast", self.add("Shape", source), to=FLOAT)
        one = self.value(1)
        axes, pixels = [], []
        for axis, spread in ((3, (1, 1, 1, -1)), (2, (1, 1, -1, 1))):
            length = self.add(
                "Gather", shape, self.graph.constant(f"axis{self._count}", np.array(axis, np.int64)), axis=0
            )
            pixel = self.add("Div", self.value(2), self.add("Sub", length, one))
            line = self.add("Range", self.value(0), length, one)
            line = self.add("Sub", self.add("Mul", line, pixel), one)
            axes.append(self.add("Reshape", line, self.sizes(*spread)))
            pixels.append(self.add("Reshape", pixel, self.sizes(1, 1, 1, 1)))
        flat = self.add("Mul", axes[0], self.value(0)), self.add("Mul", axes[1], self.value(0))
        across, down = self.add("Add", axes[0], flat[1]), self.add("Add", axes[1], flat[0])
        return self.add("Concat", across, down, axis=1), self.add("Concat", *pixels, axis=1)

    def ends(self, here: str, step: str, share: str) -> tuple[str, str]:
        """Where a step through each place begins in the first picture and ends in the second."""
        back = self.add("Sub", here, self.add("Mul", step, share))
        return back, self.add("Add", back, step)

    def sample(self, source: str, place: str) -> str:
        """A picture at places, between its pixels; outside it its edge."""
        grid = self.add("Transpose", place, perm=[0, 2, 3, 1])
        return self.add("GridSample", source, grid, mode="bilinear", padding_mode="border", align_corners=1)

    def refine(self, grey: list[str], share: str, motion: str | None, level: _Level) -> str:
        """The motion at one level, in its pixels."""
        first, second = (self.shrunk(picture, level.scale) for picture in grey)
        time = self.shrunk(share, level.scale)
        here, pixel = self.places(first)
        if motion is not None:
            motion = self.enlarged(motion, 2)
        ticks = np.arange(-level.reach, level.reach + level.step / 2, level.step)
        moves = [(x, y) for y in ticks for x in ticks]
        costs = []
        for x, y in moves:
            move = self.value(x, y, shape=(1, 2, 1, 1))
            tried = move if motion is None else self.add("Add", motion, move)
            back, ahead = self.ends(here, self.add("Mul", tried, pixel), time)
            difference = self.add("Sub", self.sample(first, back), self.sample(second, ahead))
            costs.append(self.add("Abs", difference))
        cost = self.smoothed(self.add("Concat", *costs, axis=1), level.around)
        rein = np.array([level.rein * np.hypot(x, y) for x, y in moves], np.float32)
        cost = self.add("Add", cost, self.value(*rein, shape=(1, -1, 1, 1)))
        likely = self.add("Softmax", self.add("Mul", cost, self.value(-level.sharpness)), axis=1)
        table = np.array(moves, np.float32).T.reshape(2, len(moves), 1, 1)
        found = self.add("Conv", likely, self.graph.constant(f"moves.{level.scale}", table))
        return found if motion is None else self.add("Add", motion, found)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the interpolation network.")
    folder = "model_repository/frame_interpolation_network_network/1"
    parser.add_argument("output", type=Path, nargs="?", default=Path(folder) / "model.onnx")
    parser.add_argument("--planes", type=int, choices=PLANES, default=7)
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(interpolation_graph(planes=arguments.planes))
    print(f"wrote {arguments.output}, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
