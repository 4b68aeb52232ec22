# SPDX-License-Identifier: MIT
"""How far a network's output pixels look into the picture, and what a pixel costs: read from its graph.

Both decide how a large picture may be cut into tiles: tiles that overlap by the receptive field's radius give the very
pixels of the whole picture.

# Note [Why the graph is read and not tried]
Moving a pixel of a trial picture and looking which outputs change finds what a network with these weights does to that
picture; with a ReLU in between it finds too little. The operators say what can be reached at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_server.errors import SettingError
from vireo_server.shapes import ShapeInference, Shapes, exported_size


@dataclass(frozen=True)
class Reach:
    """Where in the picture a tensor's pixel looks, the same along both axes.

    Pixel i of the tensor depends on no picture pixels but `stride * i - before` to `stride * i + after`. `grain` is
    what a tile's edges must be multiples of, so that its pixels lie on the same grid as the whole picture's.
    """

    stride: Fraction = Fraction(1)
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)
    grain: int = 1

    def window(self, *, before: int, after: int, stride: Fraction = Fraction(1)) -> Reach:
        """What an operator's output reaches that looks at pixels from `before` its own to `after` it."""
        coarser = self.stride * stride
        return Reach(
            coarser,
            self.before + self.stride * before,
            self.after + self.stride * after,
            math.lcm(self.grain, coarser.numerator),
        )

    @property
    def radius(self) -> int:
        """Pixels of the picture that a tile needs beyond what it is to give."""
        return math.ceil(max(self.before, self.after))


@dataclass(frozen=True)
class Network:
    """What tiling must know: `radius` in pixels of the picture, None where every output pixel may depend on the whole
    picture; `grain` as in `Reach`; `bytes_per_pixel`, what computing takes in memory for a pixel of the picture;
    `size`, (height, width), where it takes pictures of no other.
    """

    radius: int | None
    grain: int
    bytes_per_pixel: float
    size: tuple[int, int] | None = None


class _WholePicture(Exception):
    """An operator whose output depends on more than a neighbourhood."""


#: Sizes at which shapes are worked out: multiples of every stride that networks have. What is the same at both is so
#: at all.
_SIZES = ((256, 256), (384, 384))


def examine(model: bytes, *, name: str = "the network") -> Network:
    """Read the graph of an ONNX picture network, `(N, C, H, W)` in and `(N, C', H', W')` out.

    Raises:
        SettingError: what it gives is no whole multiple of the picture's size; begins with `name`.
    """
    import onnx

    graph = onnx.load_model_from_string(model).graph
    picture, result = _picture(graph), graph.output[0].name
    inference, size, only = ShapeInference(model), exported_size(graph), None
    shapes = inference.at(*_SIZES)
    if size is not None and (shapes is None or _scale(shapes, picture, result) is None):
        # Sizes stand inside the graph too.
        shapes, only = inference.at(size), size
    if shapes is None:
        return Network(None, 1, 0.0, only)
    scale = _scale(shapes, picture, result)
    if result in shapes and (scale is None or scale.denominator > 1):
        (height, width), (rows, columns) = (shapes[each][0][-2:] for each in (picture, result))
        raise SettingError(
            f"{name} makes {columns}x{rows} of a picture of {width}x{height}; allowed: the same size, or a whole "
            "multiple of it; export it with padding inside, so that no border is lost"
        )
    multiple = 1 if only is not None else _multiple(inference, picture, result)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _attribute(onnx, node, "value", np.zeros(0))
    cost = _bytes_per_pixel(graph, constants, shapes)
    try:
        reach = _Reading(onnx, graph, constants, shapes).reach()
    except _WholePicture:
        return Network(None, multiple, cost, only)
    return Network(reach.radius, math.lcm(reach.grain, multiple), cost, only)


def _multiple(inference: ShapeInference, picture: str, result: str) -> int:
    """Of what both sides of a picture must be multiples; 1 where nothing up to 128 helps."""
    for multiple in (1, 2, 4, 8, 16, 32, 64, 128):
        side = _SIZES[0][0] + multiple
        shapes = inference.at(_SIZES[0], (side, side))
        if shapes is not None and _scale(shapes, picture, result) is not None:
            return multiple
    return 1


def _picture(graph: Any) -> str:
    (name,) = (value.name for value in graph.input if len(value.type.tensor_type.shape.dim) == 4)
    return str(name)


def _scale(shapes: Shapes, source: str, result: str) -> Fraction | None:
    """How many times as many pixels a side `result` has; None where that differs."""
    if not _are_pictures(shapes, source, result):
        return None
    pairs = zip(shapes[source], shapes[result], strict=True)
    scales = {Fraction(after[axis], before[axis]) for before, after in pairs for axis in (2, 3)}
    return scales.pop() if len(scales) == 1 else None


def _grown(shapes: Shapes, source: str, result: str) -> int | None:
    """How many pixels a side `result` has more; None where that differs."""
    if not _are_pictures(shapes, source, result):
        return None
    pairs = zip(shapes[source], shapes[result], strict=True)
    grown = {after[axis] - before[axis] for before, after in pairs for axis in (2, 3)}
    return grown.pop() if len(grown) == 1 else None


def _are_pictures(shapes: Shapes, *names: str) -> bool:
    return all(len(shape) == 4 for name in names for shape in shapes.get(name, [()]))


#: Operators that compute each pixel from the same pixel, or join and cut channels.
_POINTWISE = {
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat", "Cos", "DequantizeLinear", "Div", "Elu",
    "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt",
    "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Where", "BatchNormalization", "Dropout",
}  # fmt: skip

#: Operators that, over the channels, compute each pixel from the same pixel.
_REDUCING = {"ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"}
#: Operators that take a shape behind so many inputs with values.
_VALUES = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Tile": 1}
#: Operators that compute nothing, and may move pixels.
_REARRANGING = {"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
#: Pixels that a resize makes one of, along an axis.
_TAPS = {b"nearest": 1, b"linear": 2, b"cubic": 4}
#: Others place the pixels by the picture's size.
_PLACED_ALIKE = (b"half_pixel", b"pytorch_half_pixel", b"half_pixel_symmetric", b"asymmetric")


class _Reading:
    """The way from the picture to the result, node by node."""

    def __init__(self, onnx: Any, graph: Any, constants: Mapping[str, npt.NDArray[Any]], shapes: Shapes) -> None:
        self._onnx, self._graph, self._constants, self._shapes = onnx, graph, constants, shapes
        self._readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def reach(self) -> Reach:
        """What the result's pixels reach. Raises _WholePicture."""
        reaches: dict[str, Reach] = {_picture(self._graph): Reach()}
        sized: set[str] = set()
        for node in self._graph.node:
            sources = [reaches[name] for name in node.input if name in reaches]
            if node.op_type in ("Shape", "Size") or not sources:  # Numbers, not pictures.
                values = node.input[: _VALUES.get(node.op_type)]
                if node.op_type in ("Shape", "Size") or sized.intersection(values):
                    sized.update(node.output)
                continue
            if node.output[0] in reaches:
                continue  # The inside of a rearrangement.
            if node.op_type in _POINTWISE and sized.intersection(node.input):
                raise _WholePicture  # A pixel's place in the picture, or the picture's size, is computed with.
            if len({source.stride for source in sources}) > 1:
                raise _WholePicture
            joined = Reach(
                sources[0].stride,
                max(source.before for source in sources),
                max(source.after for source in sources),
                math.lcm(*(source.grain for source in sources)),
            )
            if node.op_type in _REARRANGING:
                end, reaches[end] = self._rearranged(node, joined)
                continue
            for output in node.output:
                reaches[output] = self._through(node, joined)
        return reaches[self._graph.output[0].name]

    def _through(self, node: Any, reach: Reach) -> Reach:
        """The reach of a node's outputs, whose inputs together reach `reach`."""
        kind = node.op_type
        if kind in _POINTWISE:
            if kind == "Concat" and self._attribute(node, "axis", 1) not in (1, -3):
                raise _WholePicture
            return reach
        if kind in ("Conv", "MaxPool", "AveragePool", "ConvTranspose"):
            return self._convolved(node, reach)
        if kind == "DepthToSpace":
            return _finer(reach, self._attribute(node, "blocksize", 1), taps=1)
        if kind == "SpaceToDepth":
            size = self._attribute(node, "blocksize", 1)
            return reach.window(before=0, after=size - 1, stride=Fraction(size))
        if kind in ("Resize", "Upsample"):
            return self._resized(node, reach)
        if kind in ("Pad", "Slice"):
            return self._moved(node, reach)
        if kind in _REDUCING and self._reduced(node) in ([1], [-3]) and self._attribute(node, "keepdims", 1):
            return reach
        if kind in ("Split", "Gather") and self._attribute(node, "axis", 0) in (1, -3):
            return reach
        raise _WholePicture

    def _reduced(self, node: Any) -> list[int]:
        """The axes that an operator makes one number of; an attribute before opset 18."""
        given = self._constants.get(node.input[1]) if len(node.input) > 1 else None
        return [int(axis) for axis in (self._attribute(node, "axes", []) if given is None else given)]

    def _convolved(self, node: Any, reach: Reach) -> Reach:
        weights = self._constants.get(node.input[1]) if len(node.input) > 1 else None
        kernel = self._attribute(node, "kernel_shape", list(weights.shape[2:]) if weights is not None else [])
        automatic = self._attribute(node, "auto_pad", b"NOTSET")
        if not kernel:
            raise _WholePicture
        dilations = self._attribute(node, "dilations", [1] * len(kernel))
        strides = self._attribute(node, "strides", [1] * len(kernel))
        pads = self._attribute(node, "pads", [0] * 2 * len(kernel))[: len(kernel)]
        sizes = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, dilations, strict=True)]
        if len(set(strides)) > 1:
            raise _WholePicture
        if node.op_type == "ConvTranspose":
            return _finer(reach, strides[0], taps=math.ceil(max(sizes) / strides[0]))
        if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
            return reach.window(before=max(sizes) - 1, after=max(sizes) - 1, stride=Fraction(strides[0]))
        after = max(size - 1 - begin for size, begin in zip(sizes, pads, strict=True))
        return reach.window(before=max(pads), after=after, stride=Fraction(strides[0]))

    def _resized(self, node: Any, reach: Reach) -> Reach:
        scale = _scale(self._shapes, node.input[0], node.output[0])
        placed = self._attribute(node, "coordinate_transformation_mode", b"half_pixel")
        if scale is None or scale.denominator > 1 or (node.op_type == "Resize" and placed not in _PLACED_ALIKE):
            raise _WholePicture
        return _finer(reach, scale.numerator, taps=_TAPS.get(self._attribute(node, "mode", b"nearest"), 4))

    def _moved(self, node: Any, reach: Reach) -> Reach:
        """A border added or cut away: by how much in all the sizes tell, how much of it on which side perhaps not."""
        grown = _grown(self._shapes, node.input[0], node.output[0])
        steps = self._constants.get(node.input[4]) if node.op_type == "Slice" and len(node.input) > 4 else 1
        if grown is None or steps is None or np.any(steps != 1):
            raise _WholePicture
        known = self._constants.get(node.input[1]) if node.op_type == "Pad" and len(node.input) in (2, 3) else None
        if known is not None and known[2] == known[3]:
            return reach.window(before=int(known[2]), after=-int(known[2]))
        return reach.window(before=max(grown, 0), after=max(-grown, 0))

    def _rearranged(self, node: Any, reach: Reach) -> tuple[str, Reach]:
        """What folds pixels into channels or channels into pixels by reshaping and transposing, as PyTorch exports
        pixel_unshuffle: the tensor that is a picture again, and its reach.

        Every pixel is told its row and column; where they are afterwards says what it was.
        """
        batch, channels, *size = self._shapes.get(node.input[0], [()])[0] or (0, 0)
        if len(size) != 2:
            raise _WholePicture
        places = [np.broadcast_to(each, (batch, channels, *size)) for each in np.indices(size, np.int32)]
        while node is not None and node.op_type in _REARRANGING:
            shape = self._shapes.get(node.output[0], [()])[0]
            order = self._attribute(node, "perm", None)
            if math.prod(shape) != places[0].size:
                break
            places = [each.reshape(shape) if order is None else each.transpose(order) for each in places]
            found = _finer_or_coarser(reach, places, size) if len(shape) == 4 else None
            if found is not None:
                return str(node.output[0]), found
            readers = self._readers.get(node.output[0], [])
            node = readers[0] if len(readers) == 1 else None
        raise _WholePicture

    def _attribute(self, node: Any, name: str, default: Any) -> Any:
        return _attribute(self._onnx, node, name, default)


def _finer_or_coarser(reach: Reach, places: Sequence[npt.NDArray[np.int32]], size: Sequence[int]) -> Reach | None:
    """The reach of pixels that were at `places` (rows, columns) of a picture of this size, where each lies in the
    same part of it as before."""
    after = places[0].shape[2:]
    strides = {Fraction(before, now) for before, now in zip(size, after, strict=True)}
    if len(strides) > 1:
        return None
    (stride,) = strides
    if 1 not in (stride.numerator, stride.denominator):
        return None
    for now, place in zip(np.indices(after), places, strict=True):
        if (place // stride.numerator != now // stride.denominator).any():
            return None
    if stride >= 1:
        return reach.window(before=0, after=stride.numerator - 1, stride=stride)
    return _finer(reach, stride.denominator, taps=1)


def _finer(reach: Reach, scale: int, *, taps: int) -> Reach:
    """The reach of pixels `scale` times as many a side, each made of `taps` neighbours: at most one too many."""
    return Reach(
        reach.stride / scale, reach.before + reach.stride * taps, reach.after + reach.stride * taps, reach.grain
    )


def _bytes_per_pixel(graph: Any, constants: Iterable[str], shapes: Shapes) -> float:
    """The most that the tensors alive at one time take, in bytes a pixel of the picture; FP32 where unknown.

    Runtimes keep a tensor until its last reader is done and use its memory again; convolutions need up to as much
    again as their largest input for its rearranged copy.
    """
    sizes = {name: math.prod(shape[0]) * 4 for name, shape in shapes.items()}
    last = {name: index for index, node in enumerate(graph.node) for name in node.input}
    alive: dict[str, int] = {}
    most = 0
    for index, node in enumerate(graph.node):
        alive |= {name: sizes.get(name, 0) for name in node.output if name not in constants}
        most = max(most, sum(alive.values()) + max((sizes.get(name, 0) for name in node.input), default=0))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > index}
    return most / math.prod(shapes[_picture(graph)][0][2:])


def _attribute(onnx: Any, node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    return default
