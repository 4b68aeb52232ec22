# SPDX-License-Identifier: MIT
"""ONNX files written node by node from weights: what is served depends on no exporter and reads as it was meant.

Tensors are UINT8 on both sides, and casting, scaling and rounding are nodes of the graph: pixels cross a border between
stages as UINT8, which is four times less to copy than FP32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPSET", "UINT8", "Graph", "super_resolution_graph"]

OPSET = 17
"""Old enough for every runtime of the last years (TensorRT 8.6, ONNX Runtime 1.12, OpenVINO 2023)."""

_IR_VERSION = 8
UINT8 = 2
"""onnx.TensorProto.UINT8"""
_FLOAT = 1

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

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Append a constant and give its name."""
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def convolution(self, source: str, weight: NDArray[np.float32], bias: NDArray[np.float32], *, output: str) -> str:
        """Append a convolution with (O, I, K, K) weights, stride 1 and zeros around, so that H and W stay."""
        around = weight.shape[2] // 2
        names = [self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)]
        return self.add("Conv", source, *names, output=output, kernel_shape=weight.shape[2:], pads=[around] * 4)

    def serialize(self, *, input_shape: Shape, output_shape: Shape, doc: str) -> bytes:
        """Check the graph and give the bytes of an ONNX file with UINT8 tensors INPUT and OUTPUT."""
        import onnx
        from onnx import helper

        graph = helper.make_graph(
            self._nodes,
            self.name,
            [helper.make_tensor_value_info("INPUT", UINT8, input_shape)],
            [helper.make_tensor_value_info("OUTPUT", UINT8, output_shape)],
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
    pixels = value = graph.add("Cast", "INPUT", output="pixels", to=_FLOAT)
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
