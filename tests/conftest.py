# SPDX-License-Identifier: MIT
"""Networks of the forms that people export, small and with random weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class _Graph:
    """Nodes and weights of one network, float32 or float16, NCHW RGB 0..1 on both sides."""

    def __init__(self, dtype: type) -> None:
        self.dtype, self.nodes, self.weights = dtype, [], []
        self._random = np.random.default_rng(1)

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, values: NDArray[np.float32], dtype: type | None = None) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values).astype(dtype or self.dtype), name))
        return name

    def convolution(self, source: str, inputs: int, outputs: int) -> str:
        weight = self._random.normal(0, (2 / inputs / 9) ** 0.5, (outputs, inputs, 3, 3))
        names = self.weight(weight), self.weight(self._random.normal(0, 0.05, outputs))
        return self.node("Conv", source, *names, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def enlarged(self, source: str, scale: int) -> str:
        scales = self.weight(np.array([1, 1, scale, scale]), np.float32)
        nothing = self.weight(np.zeros(0), np.float32)
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", source, nothing, scales, **mode)

    def scaled(self, source: str, factor: float) -> str:
        return self.node("Mul", source, self.weight(np.array(factor)))

    def save(self, path: Path, output: str) -> Path:
        kind = TensorProto.FLOAT if self.dtype is np.float32 else TensorProto.FLOAT16
        self.nodes.append(helper.make_node("Identity", [output], ["output"]))
        sides = (
            [helper.make_tensor_value_info("input", kind, ("batch", 3, "height", "width"))],
            [helper.make_tensor_value_info("output", kind, ("batch", 3, "height_out", "width_out"))],
        )
        graph = helper.make_graph(self.nodes, "exported", *sides, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def _srvgg(graph: _Graph, scale: int) -> str:
    """SRVGGNetCompact's form: convolutions with PReLU, pixel shuffle, and the enlarged input added."""
    value, channels = graph.convolution("input", 3, 8), 8
    for _ in range(3):
        slopes = graph.weight(np.linspace(0.1, 0.4, channels).reshape(-1, 1, 1))
        value = graph.convolution(graph.node("PRelu", value, slopes), channels, channels)
    value = graph.convolution(value, channels, 3 * scale**2)
    shuffled = graph.node("DepthToSpace", graph.scaled(value, 0.1), blocksize=scale, mode="CRD")
    return graph.node("Add", shuffled, graph.enlarged("input", scale))


def _rrdb(graph: _Graph, scale: int) -> str:
    """RRDB's form: a dense block with LeakyReLU scaled by 0.2, then nearest enlargement and convolutions.

    As Real-ESRGAN does for x2, the input is folded by pixel unshuffle to half the size, and enlarged twice.
    """
    folded = graph.node("SpaceToDepth", "input", blocksize=2)
    first = graph.convolution(folded, 12, 8)
    grown = [first]
    for _ in range(2):
        inputs = graph.node("Concat", *grown, axis=1) if len(grown) > 1 else first
        grown.append(graph.node("LeakyRelu", graph.convolution(inputs, 8 * len(grown), 8), alpha=0.2))
    dense = graph.convolution(graph.node("Concat", *grown, axis=1), 24, 8)
    value = graph.node("Add", first, graph.scaled(dense, 0.2))
    for _ in range({2: 2, 4: 3}[scale]):
        value = graph.node("LeakyRelu", graph.convolution(graph.enlarged(value, 2), 8, 8), alpha=0.2)
    return graph.node("Sigmoid", graph.convolution(value, 8, 3))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported("srvgg", scale=4, dtype=np.float16)`: the ONNX file of such a network."""
    folder = tmp_path_factory.mktemp("exported")

    def make(form: str, *, scale: int = 2, dtype: type = np.float32) -> Path:
        graph = _Graph(dtype)
        output = {"srvgg": _srvgg, "rrdb": _rrdb}[form](graph, scale)
        return graph.save(folder / f"{form}_x{scale}_{dtype.__name__}.onnx", output)

    return make
