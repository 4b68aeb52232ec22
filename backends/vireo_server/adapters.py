# SPDX-License-Identifier: MIT
"""Networks as people export them, made to take UINT8 pictures, or UINT16 ones for HDR, and to give such or numbers.

# Note [Pixels cross a stage border as UINT8]
FP32 tensors between stages are four times the copies: 24-26 frames/s against 30-31 with UINT8 on the same machine. So
casting and scaling belong inside the graph, and a network whose graph has them not gets them when it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireo_server.errors import SettingError
from vireo_server.formats import Bits
from vireo_server.interpolation_input import interpolation_input
from vireo_server.quantised import unfused

if TYPE_CHECKING:
    from vireo_server.network_settings import Interface

#: Half precision is too coarse for 16 bits, and for PQ's arithmetic.
_FLOATS: dict[Bits, tuple[str, ...]] = {8: ("FLOAT", "FLOAT16"), 16: ("FLOAT",)}
#: The first in which Clip takes its limits as inputs and Round is there.
_OLDEST_OPSET = 11
_ORDERS = ("rgb", "bgr")
_WEIGHTS_ARE_NO_INPUTS = 4
"""The first version of the file format in which weights need not be inputs too."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What a network's numbers stand for: `black` and `white` are the values of these in floating point, and `order`
    is that of the channels. `mean` and `std`, one a channel in the network's order or none, are those of training: the
    input is (x - mean) / std of what black and white make of it.

    Raises:
        SettingError: a value that cannot be.
    """

    black: float = 0.0
    white: float = 1.0
    order: str = "rgb"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, 3):
                raise SettingError(
                    f"parameter {name} has {len(getattr(self, name))} numbers; allowed: three, one a channel, as "
                    "0.485,0.456,0.406, or none"
                )
        if any(value <= 0 for value in self.std):
            raise SettingError(f"parameter std is {self.std!r}; allowed: numbers above 0")
        if not self.black < self.white:
            raise SettingError(
                f"parameters black and white are {self.black:g} and {self.white:g}; allowed: the smaller one first, as "
                "0 and 1, 0 and 255, -1 and 1"
            )
        if self.order not in _ORDERS:
            raise SettingError(f"parameter order is {self.order!r}; allowed: {', '.join(_ORDERS)}")


def adapt(
    path: Path,
    *,
    bits: Bits = 8,
    interface: Interface = "picture",
    convention: Convention | None = None,
    wide: bool = False,
) -> bytes:
    """An ONNX network as bytes, with UINT8 (or UINT16, by `bits`) pictures `(N, C, H, W)` as input; its output is
    such pictures or numbers. `wide`: INT32 instead of UINT16, for runtimes that do not have that.

    Beside the picture it may take rows of numbers, FLOAT `(N, K)`, which are left as they are. With interface
    "interpolation" its input are the planes of RIFE's files; see `interpolation_input`.

    A floating-point input is taken as RGB in 0..1, or as `convention` says: `cast(x) / 255` (65535) goes before it; a
    floating-point output likewise: `cast(round(clip(y, 0, 1) * 255))` goes behind it, rounding half to even as
    `torch.round` does. Where colours come last, `(N, H, W, 3)`, as TensorFlow has them, they are transposed. An output
    that is no picture, with another number of dimensions than four, stays as it is. Weights stored beside the file are
    read with it.

    Raises:
        SettingError: not ONNX, too old, or not one picture in and one result out.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError) as error:
        raise SettingError(
            f"{path} is not a valid ONNX network ({error}); export it again, and keep the file of its "
            "weights beside it where there is one"
        ) from error
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), _OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        raise SettingError(
            f"{path} is of opset {opset}; allowed: {_OLDEST_OPSET} or later; export it again with opset_version=17"
        )
    _drop_constants(model)
    unfused(model, opset=opset)
    _rename_ours(model)
    inputs = list(model.graph.input)
    outputs = list(model.graph.output)
    pictures = [value for value in inputs if not _is_condition(onnx, value)]
    if len(pictures) != 1 or len(outputs) != 1:
        names = f"inputs {[value.name for value in inputs]}, outputs {[value.name for value in outputs]}"
        raise SettingError(
            f"{path} has {names}; a network of a service has one picture as input and one output; numbers beside the "
            "picture are FLOAT [N, K]"
        )
    numbers = _gives_numbers(outputs[0])
    if not numbers or interface == "interpolation":
        _check_shape(path, outputs[0], what="output")
    if interface == "interpolation":
        interpolation_input(onnx, model, path, pictures[0])
    else:
        _check_shape(path, pictures[0], what="input")
        _adapt_input(onnx, model, path, pictures[0], bits, convention or Convention())
    if not numbers:
        _adapt_output(onnx, model, path, outputs[0], bits, convention or Convention())
    if wide and bits > 8:
        _widen(onnx, model, bits)
    return bytes(model.SerializeToString())


def _drop_constants(model: Any) -> None:
    """Leave those inputs out that the file has values for: older files name all their weights as inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, _WEIGHTS_ARE_NO_INPUTS)


def _rename_ours(model: Any) -> None:
    """Give tensors of the file other names where theirs begin as those do that are added here: two would be one."""

    def renamed(name: str) -> str:
        return f"own_{name}" if name.startswith("vireo_") else name

    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed(value.name)
    for node in graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]


def gives_numbers(model: bytes) -> bool:
    """Whether a network's result is no picture, from the ONNX file's bytes."""
    import onnx

    return _gives_numbers(onnx.load_from_string(model).graph.output[0])


def _gives_numbers(output: Any) -> bool:
    return len(output.type.tensor_type.shape.dim) in (1, 2, 3)


def _is_condition(onnx: Any, value: Any) -> bool:
    kind = value.type.tensor_type
    return kind.elem_type == onnx.TensorProto.FLOAT and len(kind.shape.dim) == 2


def _check_shape(path: Path, value: Any, *, what: str) -> None:
    dims = value.type.tensor_type.shape.dim
    if what == "output" and not dims:
        return  # An exporter may leave it open; it is seen with the first picture.
    # A network that takes UINT8 was made for a service and may take windows; a floating-point one is one of pictures.
    as_made = value.type.tensor_type.elem_type == 2
    planar = len(dims) == 4 and (not dims[1].HasField("dim_value") or dims[1].dim_value == 3 or as_made)
    if not planar and not _has_colours_last(value):
        shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise SettingError(
            f"{path}: {what} {value.name!r} has the shape {shape}; allowed: [N, 3, H, W], planar RGB, or "
            "[N, H, W, 3], or any number of channels of UINT8"
        )


def _has_colours_last(value: Any) -> bool:
    dims = value.type.tensor_type.shape.dim
    return len(dims) == 4 and dims[3].dim_value == 3 and dims[1].dim_value != 3


def _floating(onnx: Any, path: Path, value: Any, bits: Bits) -> bool:
    """Whether a tensor is floating point (to be adapted) rather than whole numbers of `bits` bits."""
    name = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if name == f"UINT{bits}":
        return False
    if name in _FLOATS[bits]:
        return True
    allowed = ", ".join((f"UINT{bits}", *_FLOATS[bits]))
    raise SettingError(f"{path}: tensor {value.name!r} is {name}; allowed with {bits} bits: {allowed}")


def _integer(onnx: Any, bits: Bits) -> int:
    return int(onnx.TensorProto.DataType.Value(f"UINT{bits}"))


#: A node between what a stage hands over and what the file has: its kind, its further inputs, its attributes.
_Step = tuple[str, Sequence[Any], dict[str, Any]]


def _adapt_input(onnx: Any, model: Any, path: Path, value: Any, bits: Bits, convention: Convention) -> None:
    kind, steps = value.type.tensor_type.elem_type, _reordered(onnx, convention)
    if _floating(onnx, path, value, bits):
        levels = (1 << bits) - 1
        steps.append(("Cast", [], {"to": kind}))
        steps.append(
            ("Mul", [onnx.helper.make_tensor("", kind, [], [(convention.white - convention.black) / levels])], {})
        )
        if convention.black:
            steps.append(("Add", [onnx.helper.make_tensor("", kind, [], [convention.black])], {}))
        if convention.mean:
            steps.append(("Sub", [onnx.helper.make_tensor("", kind, [3, 1, 1], convention.mean)], {}))
        if convention.std:
            steps.append(("Div", [onnx.helper.make_tensor("", kind, [3, 1, 1], convention.std)], {}))
    dims = value.type.tensor_type.shape.dim
    if _has_colours_last(value):
        steps.append(("Transpose", [], {"perm": [0, 2, 3, 1]}))
        planar = [dims[0], dims[3], dims[1], dims[2]]
        value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=planar))
    if not steps:
        return
    for place, node in enumerate(_nodes(onnx, model, steps, source="vireo_input", target=value.name)):
        model.graph.node.insert(place, node)
    value.name = "vireo_input"
    value.type.tensor_type.elem_type = _integer(onnx, bits)


def _adapt_output(onnx: Any, model: Any, path: Path, value: Any, bits: Bits, convention: Convention) -> None:
    kind, steps = value.type.tensor_type.elem_type, list[_Step]()
    if _has_colours_last(value):
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
        value.type.tensor_type.ClearField("shape")
    if _floating(onnx, path, value, bits):
        black, white, most = (
            onnx.helper.make_tensor("", kind, [], [number])
            for number in (
                convention.black,
                convention.white,
                ((1 << bits) - 1) / (convention.white - convention.black),
            )
        )
        steps.append(("Clip", [black, white], {}))
        steps += [("Sub", [black], {})] if convention.black else []
        steps += [("Mul", [most], {}), ("Round", [], {}), ("Cast", [], {"to": _integer(onnx, bits)})]
    steps += _reordered(onnx, convention)
    if not steps:
        return
    model.graph.node.extend(_nodes(onnx, model, steps, source=value.name, target="vireo_output"))
    value.name = "vireo_output"
    value.type.tensor_type.elem_type = _integer(onnx, bits)


def _reordered(onnx: Any, convention: Convention) -> list[_Step]:
    if convention.order == "rgb":
        return []
    backwards = onnx.helper.make_tensor("", onnx.TensorProto.INT64, [3], [2, 1, 0])
    return [("Gather", [backwards], {"axis": 1})]


def _nodes(onnx: Any, model: Any, steps: Sequence[_Step], *, source: str, target: str) -> list[Any]:
    """The steps one behind the other, from the tensor `source` to the tensor `target`."""
    nodes = []
    for place, (kind, constants, attributes) in enumerate(steps):
        inputs = [source]
        for constant in constants:
            inputs.append(f"vireo_constant_{len(model.graph.initializer)}")
            model.graph.initializer.add().CopyFrom(constant)
            model.graph.initializer[-1].name = inputs[-1]
        end = target if place == len(steps) - 1 else f"vireo_{kind.lower()}_{source}"
        nodes.append(onnx.helper.make_node(kind, inputs, [end], **attributes))
        source = end
    return nodes


def _widen(onnx: Any, model: Any, bits: Bits) -> None:
    """Make every tensor of `bits` bits INT32: the picture, the output, and what is cast on the way."""
    narrow, wide = _integer(onnx, bits), int(onnx.TensorProto.INT32)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == narrow:
            value.type.tensor_type.elem_type = wide
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == narrow:
                attribute.i = wide
