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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt


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

    def window(self, *, size: int, begin: int, stride: Fraction = Fraction(1)) -> Reach:
        """What an operator's output reaches that looks at `size` pixels from `begin` before its own on."""
        coarser = self.stride * stride
        return Reach(
            coarser,
            self.before + self.stride * begin,
            self.after + self.stride * (size - 1 - begin),
            max(self.grain, math.lcm(self.grain, coarser.numerator)),
        )

    @property
    def radius(self) -> int:
        """Pixels of the picture that a tile needs beyond what it is to give."""
        return math.ceil(max(self.before, self.after))


@dataclass(frozen=True)
class Network:
    """What tiling must know: `radius` in pixels of the picture, None where every output pixel may depend on the whole
    picture; `grain` as in `Reach`; `bytes_per_pixel`, what computing takes in memory for a pixel of the picture.
    """

    radius: int | None
    grain: int
    bytes_per_pixel: float


class _WholePicture(Exception):
    """An operator whose output depends on more than a neighbourhood."""


def examine(model: bytes) -> Network:
    """Read the graph of an ONNX picture network, `(N, 3, H, W)` in and `(N, C, H', W')` out."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(_with_size(onnx, onnx.load_model_from_string(model))).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _attribute(onnx, node, "value", np.zeros(0))
    try:
        reach = _reach(onnx, graph, constants)
        radius, grain = reach.radius, reach.grain
    except _WholePicture:
        radius, grain = None, 1
    return Network(radius, grain, _bytes_per_pixel(onnx, graph, constants))


#: A size at which shapes are worked out: a multiple of every stride that networks have.
_SIZE = 256


def _with_size(onnx: Any, model: Any) -> Any:
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, (1, None, _SIZE, _SIZE) if len(dims) == 4 else (1,), strict=False):
            if size is not None:
                dim.dim_value = size
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def _reach(onnx: Any, graph: Any, constants: Mapping[str, npt.NDArray[Any]]) -> Reach:
    (picture,) = (value.name for value in graph.input if len(value.type.tensor_type.shape.dim) == 4)
    reaches: dict[str, Reach] = {picture: Reach()}
    for node in graph.node:
        sources = [reaches[name] for name in node.input if name in reaches]
        if not sources:
            continue  # Numbers, not pictures.
        if len({source.stride for source in sources}) > 1:
            raise _WholePicture
        joined = Reach(
            sources[0].stride,
            max(source.before for source in sources),
            max(source.after for source in sources),
            math.lcm(*(source.grain for source in sources)),
        )
        for output in node.output:
            reaches[output] = _through(onnx, node, joined, constants)
    return reaches[graph.output[0].name]


#: Operators that compute each pixel from the same pixel, or join and cut channels.
_POINTWISE = {
    "Abs", "Add", "Cast", "Ceil", "Clip", "Concat", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Round",
    "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "BatchNormalization", "Dropout",
}  # fmt: skip


def _through(onnx: Any, node: Any, reach: Reach, constants: Mapping[str, npt.NDArray[Any]]) -> Reach:
    """The reach of a node's outputs, whose inputs together reach `reach`."""
    kind = node.op_type
    if kind in _POINTWISE:
        if kind == "Concat" and _attribute(onnx, node, "axis", 1) not in (1, -3):
            raise _WholePicture
        return reach
    if kind in ("Conv", "MaxPool", "AveragePool", "ConvTranspose"):
        return _convolved(onnx, node, reach, constants)
    if kind == "DepthToSpace":
        return _finer(reach, _attribute(onnx, node, "blocksize", 1), taps=1)
    if kind == "SpaceToDepth":
        size = _attribute(onnx, node, "blocksize", 1)
        return reach.window(size=size, begin=0, stride=Fraction(size))
    if kind in ("Resize", "Upsample"):
        return _resized(onnx, node, reach, constants)
    if kind in ("Split", "Slice"):
        axes = constants.get(node.input[3]) if kind == "Slice" and len(node.input) > 3 else None
        if kind == "Split" and _attribute(onnx, node, "axis", 0) in (1, -3):
            return reach
        if axes is not None and set(axes.tolist()) <= {1, -3}:
            return reach
    raise _WholePicture


def _convolved(onnx: Any, node: Any, reach: Reach, constants: Mapping[str, npt.NDArray[Any]]) -> Reach:
    weights = constants.get(node.input[1]) if len(node.input) > 1 else None
    kernel = _attribute(onnx, node, "kernel_shape", list(weights.shape[2:]) if weights is not None else [])
    if not kernel or _attribute(onnx, node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID", b"SAME_UPPER"):
        raise _WholePicture
    dilations = _attribute(onnx, node, "dilations", [1] * len(kernel))
    strides = _attribute(onnx, node, "strides", [1] * len(kernel))
    pads = _attribute(onnx, node, "pads", [0] * 2 * len(kernel))
    size, stride = max((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)), max(strides)
    if len(set(strides)) > 1:
        raise _WholePicture
    if node.op_type == "ConvTranspose":
        return _finer(reach, stride, taps=math.ceil(size / stride))
    return reach.window(size=size, begin=max(pads[: len(kernel)], default=0), stride=Fraction(stride))


def _resized(onnx: Any, node: Any, reach: Reach, constants: Mapping[str, npt.NDArray[Any]]) -> Reach:
    place = 1 if node.op_type == "Upsample" else 2
    scales = constants.get(node.input[place]) if len(node.input) > place else None
    if scales is None or len(scales) != 4 or scales[2] != scales[3] or scales[2] != int(scales[2]):
        raise _WholePicture
    taps = {b"nearest": 1, b"linear": 2, b"cubic": 4}.get(_attribute(onnx, node, "mode", b"nearest"), 4)
    return _finer(reach, int(scales[2]), taps=taps)


def _finer(reach: Reach, scale: int, *, taps: int) -> Reach:
    """The reach of pixels `scale` times as many a side, each made of `taps` neighbours: at most one too many."""
    return Reach(
        reach.stride / scale, reach.before + reach.stride * taps, reach.after + reach.stride * taps, reach.grain
    )


def _bytes_per_pixel(onnx: Any, graph: Any, constants: Iterable[str]) -> float:
    """The most that the tensors alive at one time take, in bytes a pixel of the picture; FP32 where unknown.

    Runtimes keep a tensor until its last reader is done and use its memory again; convolutions need up to as much
    again as their largest input for its rearranged copy.
    """
    sizes = {
        value.name: math.prod(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim) * 4
        for value in [*graph.value_info, *graph.input, *graph.output]
    }
    last = {name: index for index, node in enumerate(graph.node) for name in node.input}
    alive: dict[str, int] = {}
    most = 0
    for index, node in enumerate(graph.node):
        alive |= {name: sizes.get(name, 0) for name in node.output if name not in constants}
        most = max(most, sum(alive.values()) + max((sizes.get(name, 0) for name in node.input), default=0))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > index}
    return most / _SIZE**2


def _attribute(onnx: Any, node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    return default
