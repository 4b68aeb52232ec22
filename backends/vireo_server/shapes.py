# SPDX-License-Identifier: MIT
"""The shapes of a network's tensors, at sizes of the picture of one's choice.

PyTorch writes sizes as computations inside the graph (Shape, Div, Concat, Reshape). OpenVINO works them out without
running anything, and tells them by the tensors' own names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Tensor's name -> its shape at each of some sizes.
Shapes = Mapping[str, Sequence[tuple[int, ...]]]


def exported_size(graph: Any) -> tuple[int, int] | None:
    """(height, width) of the picture where the file has numbers for both: it was exported without free axes."""
    (dims,) = (dims for value in graph.input if len(dims := value.type.tensor_type.shape.dim) == 4)
    return (dims[2].dim_value, dims[3].dim_value) if dims[2].dim_value and dims[3].dim_value else None


def freed(model: bytes) -> bytes:
    """The same network without numbers for batch, height and width at its ends; runtimes take those at their word."""
    import onnx

    network = onnx.load_from_string(model)
    for value in network.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, free in ((0, "N"), (2, "H"), (3, "W")) if len(dims) == 4 else ((0, "N"),):
            dims[axis].dim_param = free
    for value in network.graph.output:
        value.type.tensor_type.ClearField("shape")
    del network.graph.value_info[:]
    return bytes(network.SerializeToString())


class ShapeInference:
    """Works out the shapes of an ONNX network, given as the file's bytes; of none that OpenVINO does not read."""

    def __init__(self, model: bytes) -> None:
        import openvino

        try:
            self._network: Any = openvino.Core().read_model(freed(model))
        except RuntimeError:
            self._network = None

    def at(self, *sizes: tuple[int, int]) -> Shapes | None:
        """Shapes for one picture of each of the `sizes`, (height, width), of the tensors that have one at all of them;
        None where the graph does not take such pictures."""
        found: list[dict[str, tuple[int, ...]]] = []
        for size in sizes:
            if self._network is None:
                return None
            network = self._network.clone()
            ranks = {value.any_name: value.partial_shape for value in network.inputs}
            try:
                network.reshape({name: [1, rank[1], *size][: len(rank)] for name, rank in ranks.items()})
            except RuntimeError:
                return None
            outputs = [output for operation in network.get_ops() for output in operation.outputs()]
            known = [each for each in outputs if each.partial_shape.is_static]
            found.append({name: tuple(each.shape) for each in known for name in each.get_names()})
        return {name: [each[name] for each in found] for name in found[0] if all(name in each for each in found)}
