# SPDX-License-Identifier: MIT
"""ONNX files written node by node from weights: what is served depends on no exporter and reads as it was meant.

Pictures are UINT8 on both sides, and casting, scaling and rounding are nodes of the graph: pixels cross a border
between stages as UINT8, which is four times less to copy than FP32. Numbers that are no pictures are FP32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONDITIONS",
    "FLOAT",
    "OPSET",
    "UINT8",
    "Graph",
    "embedding_graph",
    "restoration_graph",
    "shot_classification_graph",
    "super_resolution_graph",
]

OPSET = 17
"""Old enough for every runtime of the last years (TensorRT 8.6, ONNX Runtime 1.12, OpenVINO 2023)."""

_IR_VERSION = 8
UINT8 = 2
"""onnx.TensorProto.UINT8"""
FLOAT = 1
"""onnx.TensorProto.FLOAT"""

CONDITIONS = ("strength", "quantizer_step", "loop_filter", "noise")
"""The columns of a restoration network's CONDITION: how much to repair, 0..1; the quantiser step in levels (see
`vireo_media.quantization`); 1 where the codec deblocked its pictures; the noise's standard deviation in levels."""

Shape = tuple[str | int, ...]


@dataclass
class Graph:
    """An ONNX graph under construction; each `add` gives the name of its result."""

    name: str
    _nodes: list[Any] = field(default_factory=list)
    _constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, output: str, **attributes: object) -> str:
        """Append a node and give the name of its output."""
        from onnx import helper

        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def split(self, source: str, outputs: Sequence[str]) -> None:
        """Append a node that cuts `source` into equal parts along axis 1."""
        from onnx import helper

        self._nodes.append(helper.make_node("Split", [source], list(outputs), name=f"{source}.parts", axis=1))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Append a constant and give its name."""
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def convolution(
        self, source: str, weight: NDArray[np.float32], bias: NDArray[np.float32], *, output: str, stride: int = 1
    ) -> str:
        """Append a convolution with (O, I, K, K) weights, K odd, and zeros around, so that H and W stay but for the
        stride.
        """
        around = weight.shape[2] // 2
        names = [self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)]
        shape: dict[str, object] = {"kernel_shape": weight.shape[2:], "pads": [around] * 4, "strides": [stride] * 2}
        return self.add("Conv", source, *names, output=output, **shape)

    def linear(self, source: str, weight: NDArray[np.float32], bias: NDArray[np.float32], *, output: str) -> str:
        """Append a fully connected layer with (O, I) weights to (N, I)."""
        names = [self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)]
        return self.add("Gemm", source, *names, output=output, transB=1)

    def integers(self, name: str, *values: int) -> str:
        """Append a constant of whole numbers, such as a shape, and give its name."""
        return self.constant(name, np.array(values, np.int64))

    def serialize(
        self,
        *,
        input_shape: Shape,
        output_shape: Shape,
        doc: str,
        conditions: int = 0,
        element: int = UINT8,
        output_element: int | None = None,
    ) -> bytes:
        """Check the graph and give the bytes of an ONNX file with tensors INPUT and OUTPUT of type `element`, unless
        OUTPUT has one of its own.

        With `conditions` it also takes CONDITION, FLOAT (N, conditions).
        """
        import onnx
        from onnx import helper

        inputs = [helper.make_tensor_value_info("INPUT", element, input_shape)]
        if conditions:
            inputs.append(helper.make_tensor_value_info("CONDITION", FLOAT, ("N", conditions)))
        graph = helper.make_graph(
            self._nodes,
            self.name,
            inputs,
            [helper.make_tensor_value_info("OUTPUT", output_element or element, output_shape)],
            self._constants,
            doc_string=doc,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="vireo_training")
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def super_resolution_graph(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Build the x2 network from its weights; INPUT (N, 3, H, W) uint8 RGB, OUTPUT (N, 3, 2H, 2W) uint8 RGB.

    `weights` holds `body.<i>.weight` (O, I, K, K), `body.<i>.bias` (O), `slope.<i>` (O) for each layer but the last,
    and `skip.weight`, `skip.bias`, as trained on pixels in 0..1.
    """
    # Note [Scaling inside the graph]
    # The network was trained on x / 255 and its result is multiplied by 255. Convolution is linear and PReLU is
    # positively homogeneous, f(255 x) = 255 f(x), so multiplying every bias by 255 does both at once, at no cost.
    graph = Graph("vireo_super_resolution_x2")
    layers = sum(name.startswith("body.") and name.endswith(".weight") for name in weights)
    pixels = value = graph.add("Cast", "INPUT", output="pixels", to=FLOAT)
    for index in range(layers):
        weight, bias = weights[f"body.{index}.weight"], weights[f"body.{index}.bias"] * np.float32(255)
        value = graph.convolution(value, weight, bias, output=f"body.{index}")
        if index < layers - 1:
            slope = graph.constant(f"slope.{index}", weights[f"slope.{index}"].reshape(-1, 1, 1))
            value = graph.add("PRelu", value, slope, output=f"active.{index}")
    skip_bias = weights["skip.bias"] * np.float32(255)
    skip = graph.convolution(pixels, weights["skip.weight"], skip_bias, output="skip")
    value = graph.add("Add", value, skip, output="sum")
    limits = [graph.constant("black", np.float32(0).reshape(())), graph.constant("white", np.float32(255).reshape(()))]
    value = graph.add("Clip", value, *limits, output="clipped")
    value = graph.add("Round", value, output="rounded")
    # Cast last: TensorRT takes UINT8 only at the borders of a graph. UINT8 before DepthToSpace would gain 3 % on a CPU.
    value = graph.add("DepthToSpace", value, output="shuffled", blocksize=2, mode="CRD")
    graph.add("Cast", value, output="OUTPUT", to=UINT8)
    return graph.serialize(
        input_shape=("N", 3, "H", "W"),
        output_shape=("N", 3, "2H", "2W"),
        doc="x2 super-resolution of video frames: RGB planes, BT.709 R'G'B' 0..255 in and out",
    )


def restoration_graph(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Build the restoration network; INPUT and OUTPUT (N, 3, H, W) uint8 RGB, CONDITION (N, 4) float, see `CONDITIONS`.

    `weights` holds `body.<i>.weight` (O, I, K, K), `body.<i>.bias` (O), `slope.<i>` (O) for each layer but the last,
    and `look.weight`, `look.bias`, `lean.weight`, `lean.bias`, as trained on pixels in 0..1.
    """
    graph = Graph("vireo_restoration")
    layers = sum(name.startswith("body.") and name.endswith(".weight") for name in weights)

    # 1. What the stream told, as a shift of each channel of each layer, and a scale of the last ones
    graph.split("CONDITION", ("strength", "step", "deblocked", "noise"))
    one = graph.constant("one", np.array([[1]], np.float32))
    graph.add("Log", graph.add("Add", "step", one, output="step_and_one"), output="logarithm")
    graph.add("Div", "logarithm", graph.constant("four", np.array([[4]], np.float32)), output="seen_step")
    sixteen = graph.constant("sixteen", np.array([[16]], np.float32))
    graph.add("Div", "noise", sixteen, output="seen_noise")
    graph.add("Concat", "seen_step", "deblocked", "seen_noise", output="seen", axis=1)
    graph.add("Relu", _dense(graph, "seen", weights, "look"), output="looked")
    leanings = [*(f"shift.{index}" for index in range(layers - 1)), "scale"]
    channels = weights["body.0.bias"].shape[0]
    shape = graph.constant("as_pictures", np.array([0, channels * len(leanings), 1, 1], np.int64))
    graph.add("Reshape", _dense(graph, "looked", weights, "lean"), shape, output="leaning")
    graph.split("leaning", leanings)

    # 2. The repair; 255 goes into the weights, see Note [Scaling inside the graph]
    pixels = graph.add("Cast", "INPUT", output="pixels", to=FLOAT)
    value = graph.add("Sub", pixels, graph.constant("grey", np.array(127.5, np.float32)), output="around_grey")
    for index in range(layers):
        weight, bias = weights[f"body.{index}.weight"], weights[f"body.{index}.bias"]
        if index == layers - 1:
            value = graph.add("Mul", value, "scale", output="scaled")
        value = graph.convolution(value, weight / np.float32(255 if index == 0 else 1), bias, output=f"body.{index}")
        if index < layers - 1:
            value = graph.add("Add", value, f"shift.{index}", output=f"shifted.{index}")
            slope = graph.constant(f"slope.{index}", weights[f"slope.{index}"].reshape(-1, 1, 1))
            value = graph.add("PRelu", value, slope, output=f"active.{index}")

    # 3. As much of it as the steps are coarse and the caller wants
    two = graph.constant("two", np.array([[2]], np.float32))
    graph.add("Add", graph.add("Mul", "deblocked", two, output="later"), "four", output="finest")
    graph.add("Sub", sixteen, "finest", output="way")
    graph.add("Div", graph.add("Sub", "step", "finest", output="above"), "way", output="ramp")
    limits = [graph.constant(name, np.array(value, np.float32)) for name, value in (("no", 0), ("yes", 1))]
    graph.add("Mul", graph.add("Clip", "ramp", *limits, output="whole"), "step", output="coarse")
    graph.add("Add", "coarse", "noise", output="broken")
    most = [graph.constant("none", np.float32(0).reshape(())), graph.constant("most", np.float32(64).reshape(()))]
    graph.add("Clip", "broken", *most, output="bounded")
    graph.add("Mul", "bounded", "strength", output="wanted")
    graph.add("Mul", "wanted", graph.constant("per_step", np.array([[255 / 256]], np.float32)), output="amount")
    amount = graph.add(
        "Reshape", "amount", graph.constant("as_scale", np.array([0, 1, 1, 1], np.int64)), output="amounts"
    )
    value = graph.add("Add", pixels, graph.add("Mul", value, amount, output="repaired"), output="sum")
    limits = [graph.constant("black", np.float32(0).reshape(())), graph.constant("white", np.float32(255).reshape(()))]
    graph.add("Round", graph.add("Clip", value, *limits, output="clipped"), output="rounded")
    graph.add("Cast", "rounded", output="OUTPUT", to=UINT8)
    return graph.serialize(
        input_shape=("N", 3, "H", "W"),
        output_shape=("N", 3, "H", "W"),
        doc="restoration of compressed video frames: RGB planes, R'G'B' 0..255 in and out",
        conditions=len(CONDITIONS),
    )


def _dense(graph: Graph, source: str, weights: Mapping[str, NDArray[np.float32]], name: str) -> str:
    """Append the fully connected layer that `weights` have under a name."""
    return graph.linear(source, weights[f"{name}.weight"], weights[f"{name}.bias"], output=name)


def shot_classification_graph(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Build the camera-motion network; INPUT (N, K, S, S) uint8 grey pictures, OUTPUT (N, 8) probabilities.

    `weights` are those of `shot_classification.ShotClassifier`, trained on pictures in 0..1.
    """
    graph = Graph("vireo_shot_classification")
    convolutions = [weights[f"{name}.weight"] for name in ("first", "second", "third")]
    features = weights["pair.weight"].shape[0]
    pairs = weights["all.weight"].shape[1] // features
    # The third convolution sees an eighth of the side, the pooling behind it halves that.
    side = 16 * round((weights["pair.weight"].shape[1] / convolutions[2].shape[0]) ** 0.5)

    # 1. Light and contrast are no motion.
    pictures = graph.add("Cast", "INPUT", output="codes", to=FLOAT)
    pictures = graph.add("Mul", pictures, graph.constant("one_code", np.float32(1 / 255).reshape(())), output="pixels")
    mean = graph.add("ReduceMean", pictures, output="mean", axes=[1, 2, 3])
    pictures = graph.add("Sub", pictures, mean, output="centred")
    squares = graph.add("Mul", pictures, pictures, output="squares")
    power = graph.add("ReduceMean", squares, output="power", axes=[1, 2, 3])
    power = graph.add("Add", power, graph.constant("floor", np.float32(1e-3).reshape(())), output="floored")
    pictures = graph.add("Div", pictures, graph.add("Sqrt", power, output="contrast"), output="even")

    # 2. Neighbours in pairs, each pair a picture of two channels.
    halves = []
    for name, first in (("before", 0), ("after", 1)):
        bounds = [graph.integers(f"{name}.{end}", value) for end, value in (("from", first), ("to", first + pairs))]
        part = graph.add("Slice", pictures, *bounds, graph.integers(f"{name}.axis", 1), output=name)
        shape = graph.integers(f"{name}.shape", -1, 1, side, side)
        halves.append(graph.add("Reshape", part, shape, output=f"{name}.pictures"))
    value = graph.add("Concat", *halves, output="pairs", axis=1)
    for name, weight in zip(("first", "second", "third"), convolutions, strict=True):
        value = graph.convolution(value, weight, weights[f"{name}.bias"], output=name, stride=2)
        value = graph.add("Relu", value, output=f"{name}.active")
    value = graph.add("AveragePool", value, output="pooled", kernel_shape=[2, 2], strides=[2, 2])
    value = graph.add("Flatten", value, output="flat")
    value = graph.linear(value, weights["pair.weight"], weights["pair.bias"], output="pair")

    # 3. All pairs of a window, and the answer.
    value = graph.add("Relu", value, output="pair.active")
    value = graph.add("Reshape", value, graph.integers("window.shape", -1, pairs * features), output="window")
    value = graph.linear(value, weights["all.weight"], weights["all.bias"], output="all")
    value = graph.linear(
        graph.add("Relu", value, output="all.active"), weights["last.weight"], weights["last.bias"], output="last"
    )
    graph.add("Softmax", value, output="OUTPUT", axis=1)
    return graph.serialize(
        input_shape=("N", pairs + 1, side, side),
        output_shape=("N", weights["last.weight"].shape[0]),
        output_element=FLOAT,
        doc="camera motion of a window of grey pictures: static, pans, tilts, zooms, hand-held",
    )


def embedding_graph(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Build the embedding network; INPUT (N, 3, S, S) uint8 RGB, OUTPUT (N, D) float32 of length 1.

    `weights` are those of `features.Embedding`, trained on pictures in 0..1.
    """
    graph = Graph("vireo_features")
    layers = sum(name.startswith("convolutions.") and name.endswith(".weight") for name in weights)
    value = graph.add("Cast", "INPUT", output="codes", to=FLOAT)
    value = graph.add("Mul", value, graph.constant("one_code", np.float32(1 / 255).reshape(())), output="pixels")
    value = graph.add("Sub", value, graph.add("ReduceMean", value, output="mean", axes=[1, 2, 3]), output="centred")
    for index in range(layers):
        weight, bias = (weights[f"convolutions.{index}.{part}"] for part in ("weight", "bias"))
        value = graph.convolution(value, weight, bias, output=f"convolution.{index}", stride=2)
        value = graph.add("Relu", value, output=f"active.{index}")
    cells = weights["last.weight"].shape[1] // weights[f"convolutions.{layers - 1}.weight"].shape[0]
    value = graph.add("AveragePool", value, output="pooled", kernel_shape=[2, 2], strides=[2, 2])
    value = graph.linear(
        graph.add("Flatten", value, output="flat"), weights["last.weight"], weights["last.bias"], output="embedding"
    )
    graph.add("LpNormalization", value, output="OUTPUT", axis=1, p=2)
    side = round(cells**0.5) * 2 ** (layers + 1)
    return graph.serialize(
        input_shape=("N", 3, side, side),
        output_shape=("N", weights["last.weight"].shape[0]),
        output_element=FLOAT,
        doc="embedding of a picture: copies lie near each other, whatever was done to their quality",
    )
