# SPDX-License-Identifier: MIT
"""The input of RIFE's ONNX files, made inside the graph of what the stages hand over.

As vs-mlrt exports them, such a file has one floating-point input of 7 planes: the first picture, the second one, and
one filled with where between them the wanted one lies, 0..1; or of 11: these, the place of every pixel across and down
in -1..1, and two filled with the size of a pixel in these places, 2 / (W - 1) and 2 / (H - 1). Of all this only the
pixels of the two pictures and one number differ from row to row, so only they cross the border between the stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vireo_server.errors import SettingError

TIMESTEP = "TIMESTEP"
"""The input beside the pictures: FLOAT (N, 1)."""

_PLANES = (7, 11)


def interpolation_input(onnx: Any, model: Any, path: Path, value: Any) -> None:
    """Put in front of `model` what makes its input `value` of UINT8 (N, 6, H, W), two RGB pictures, and TIMESTEP.

    Raises:
        SettingError: the input has other planes, or is not floating point.
    """
    dims = value.type.tensor_type.shape.dim
    planes = dims[1].dim_value if len(dims) == 4 else None
    kind = value.type.tensor_type.elem_type
    if planes not in _PLANES or kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
        shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise SettingError(
            f"{path}: input {value.name!r} is {onnx.TensorProto.DataType.Name(kind)} {shape}; allowed with interface "
            "'interpolation': FLOAT or FLOAT16 [N, 7, H, W] or [N, 11, H, W] (two RGB pictures, the timestep, and with "
            "11 the grid across and down and the size of a pixel in it); for one picture set interface to picture"
        )
    front = _Front(onnx)
    front.number("zero", 0.0)
    front.number("one", 1.0)
    front.number("two", 2.0)
    front.number("scale", 1 / 255)
    front.node("Cast", [front.name("pictures")], "levels", to=onnx.TensorProto.FLOAT)
    front.node("Mul", [front.name("levels"), front.name("scale")], "rgb")
    front.whole("first", [0])
    front.node("Gather", [front.name("rgb"), front.name("first")], "plane", axis=1)
    front.node("Mul", [front.name("plane"), front.name("zero")], "empty")
    front.whole("as_planes", [-1, 1, 1, 1])
    front.node("Reshape", [TIMESTEP, front.name("as_planes")], "share")
    front.node("Add", [front.name("empty"), front.name("share")], "shares")
    parts = ["rgb", "shares"]
    if planes == 11:
        for label, axis in (("across", 3), ("down", 2)):
            front.grid(label, axis=axis)
        parts += ["across", "down", "across.pixels", "down.pixels"]
    front.node("Concat", [front.name(part) for part in parts], "planes", axis=1)
    front.nodes.append(onnx.helper.make_node("Cast", [front.name("planes")], [value.name], to=kind))
    for node in reversed(front.nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(front.constants)
    value.name = front.name("pictures")
    value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    dims[1].dim_value = 6
    model.graph.input.append(onnx.helper.make_tensor_value_info(TIMESTEP, onnx.TensorProto.FLOAT, ["N", 1]))


class _Front:
    """Nodes and constants that come before those of the file, under names of their own."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    @staticmethod
    def name(label: str) -> str:
        return f"vireo_front_{label}"

    def number(self, label: str, value: float) -> None:
        kind = self._onnx.TensorProto.FLOAT
        self.constants.append(self._onnx.helper.make_tensor(self.name(label), kind, [], [value]))

    def whole(self, label: str, values: list[int]) -> None:
        kind = self._onnx.TensorProto.INT64
        self.constants.append(self._onnx.helper.make_tensor(self.name(label), kind, [len(values)], values))

    def node(self, operator: str, inputs: list[str], label: str, **attributes: Any) -> None:
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [self.name(label)], **attributes))

    def grid(self, label: str, *, axis: int) -> None:
        """A plane of places along `axis`, -1 in the middle of the first pixel to 1 in that of the last, and one with
        the size of a pixel in these places."""
        name = self.name
        self.node("Shape", [name("empty")], f"{label}.shape")
        self.whole(f"{label}.axis", [axis])
        self.node("Gather", [name(f"{label}.shape"), name(f"{label}.axis")], f"{label}.count", axis=0)
        self.node("Cast", [name(f"{label}.count")], f"{label}.length", to=self._onnx.TensorProto.FLOAT)
        self.node("Sub", [name(f"{label}.length"), name("one")], f"{label}.last")
        self.node("Div", [name("two"), name(f"{label}.last")], f"{label}.pixel")
        self.node("Add", [name("empty"), name(f"{label}.pixel")], f"{label}.pixels")
        # Counting ones from 0: the largest coordinate that float32 must hold is a side of the picture.
        self.node("Add", [name("empty"), name("one")], f"{label}.ones")
        axis_name = name(f"{label}.scalar")
        self.constants.append(self._onnx.helper.make_tensor(axis_name, self._onnx.TensorProto.INT64, [], [axis]))
        self.node("CumSum", [name(f"{label}.ones"), axis_name], f"{label}.places", exclusive=1)
        self.node("Mul", [name(f"{label}.places"), name(f"{label}.pixel")], f"{label}.scaled")
        self.node("Sub", [name(f"{label}.scaled"), name("one")], label)
