# SPDX-License-Identifier: MIT
"""Quantised networks in ONNX's operator form (QLinearConv and its kind), rewritten with the operators that they stand
for between DequantizeLinear and QuantizeLinear.

# Note [Why operators are rewritten]
OpenVINO 2026.4 truncates in these operators where ONNX rounds: a small network of super-resolution is off by a level
in the mean. In the other form its results are ONNX Runtime's, a graph's reach can be read, and TensorRT takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_TENSOR = 3
"""A quantised tensor is three inputs: its integers, its scale, its zero point."""

#: Operator -> how many of the quantised tensors come before its result's scale and zero point; ONNX has the first two.
_OPERATORS = {
    "QLinearConv": 2, "QLinearMatMul": 2, "QLinearAdd": 2, "QLinearMul": 2, "QLinearLeakyRelu": 1, "QLinearSigmoid": 1,
    "QLinearAveragePool": 1, "QLinearGlobalAveragePool": 1,
}  # fmt: skip
_CONCAT = "QLinearConcat"
"""Has its result's scale and zero point first, and then any number of tensors."""
_CHANNELS_LAST = "channels_last"
"""An attribute of ONNX Runtime's operators of which ONNX's have none."""


_PER_CHANNEL_OPSET = 13
"""The first in which DequantizeLinear takes a scale for each channel."""


def unfused(model: Any, *, opset: int) -> None:
    """Rewrite a network's quantised operators in place; those that are unknown, or whose scales are computed, stay."""
    import onnx

    graph = model.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        nodes += list(_rewritten(onnx, graph, node, constants)) if _is_known(node, constants, opset) else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_known(node: Any, constants: Mapping[str, npt.NDArray[Any]], opset: int) -> bool:
    if node.op_type != _CONCAT and node.op_type not in _OPERATORS:
        return False
    tensors, result, _ = _parts(node)
    scales = [part[-2] for part in (*tensors, result)]
    if not all(name in constants for name in scales):
        return False
    per_channel = any(constants[name].size > 1 for name in scales)
    last = any(attribute.name == _CHANNELS_LAST and attribute.i for attribute in node.attribute)
    return not last and (opset >= _PER_CHANNEL_OPSET or not per_channel)


def _parts(node: Any) -> tuple[list[list[str]], list[str], list[str]]:
    """The names of each quantised tensor's three inputs, of the result's scale and zero point, and of a bias."""
    inputs = list(node.input)
    if node.op_type == _CONCAT:
        return [inputs[first : first + _TENSOR] for first in range(2, len(inputs), _TENSOR)], inputs[:2], []
    end = _TENSOR * _OPERATORS[node.op_type]
    tensors = [inputs[first : first + _TENSOR] for first in range(0, end, _TENSOR)]
    return tensors, inputs[end : end + 2], inputs[end + 2 :]


def _rewritten(onnx: Any, graph: Any, node: Any, constants: Mapping[str, npt.NDArray[Any]]) -> Iterator[Any]:
    tensors, result, bias = _parts(node)
    name, scales = node.output[0], {part[1]: constants[part[1]] for part in tensors}
    if bias and bias[0]:  # The convolution's own: its scale is the product of the others', its zero point 0.
        own = f"{name}_bias_scale"
        scale = np.multiply(*(scales[part[1]].reshape(-1) for part in tensors))
        scales[own] = np.asarray(scale if scale.size > 1 else scale.reshape(()), np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(scales[own], own))
        tensors = [*tensors, [bias[0], own]]
    inputs = [f"{name}_dequantised_{place}" for place in range(len(tensors))]
    for part, real in zip(tensors, inputs, strict=True):
        per_channel = scales[part[1]].size > 1
        yield onnx.helper.make_node("DequantizeLinear", part, [real], **({"axis": 0} if per_channel else {}))
    kind = node.op_type.removeprefix("QLinear")
    real = onnx.helper.make_node(kind, inputs, [f"{name}_real"])
    real.attribute.extend(attribute for attribute in node.attribute if attribute.name != _CHANNELS_LAST)
    yield real
    yield onnx.helper.make_node("QuantizeLinear", [f"{name}_real", *result], [name])
