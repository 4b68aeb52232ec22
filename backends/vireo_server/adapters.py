# SPDX-License-Identifier: MIT
"""Networks as people export them, made to take UINT8 pictures, or UINT16 ones for HDR, and to give such or numbers.

# Note [Pixels cross a stage border as UINT8]
FP32 tensors between stages are four times the copies: 24-26 frames/s against 30-31 with UINT8 on the same machine. So
casting and scaling belong inside the graph, and a network whose graph has them not gets them when it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vireo_server.errors import SettingError
from vireo_server.formats import Bits
from vireo_server.interpolation_input import interpolation_input
from vireo_server.settings import Interface

#: Half precision is too coarse for 16 bits, and for PQ's arithmetic.
_FLOATS: dict[Bits, tuple[str, ...]] = {8: ("FLOAT", "FLOAT16"), 16: ("FLOAT",)}


def adapt(path: Path, *, bits: Bits = 8, interface: Interface = "picture", wide: bool = False) -> bytes:
    """An ONNX network as bytes, with UINT8 (or UINT16, by `bits`) pictures `(N, C, H, W)` as input; its output is
    such pictures or numbers. `wide`: INT32 instead of UINT16, for runtimes that do not have that.

    Beside the picture it may take rows of numbers, FLOAT `(N, K)`, which are left as they are. With interface
    "interpolation" its input are the planes of RIFE's files; see `interpolation_input`.

    A floating-point input is taken as RGB in 0..1: `cast(x) / 255` (65535) goes before it; a floating-point output
    likewise: `cast(round(clip(y, 0, 1) * 255))` goes behind it, rounding half to even as `torch.round` does. An output
    that is no picture, with another number of dimensions than four, stays as it is. Weights stored beside the file are
    read with it.

    Raises:
        SettingError: not ONNX, or not one picture in and one result out.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError) as error:
        raise SettingError(f"{path} is not a valid ONNX network ({error}); export it again") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
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
        _adapt_input(onnx, model, path, pictures[0], bits)
    if not numbers:
        _adapt_output(onnx, model, path, outputs[0], bits)
    if wide and bits > 8:
        _widen(onnx, model, bits)
    return bytes(model.SerializeToString())


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
    if len(dims) != 4 or (dims[1].HasField("dim_value") and dims[1].dim_value != 3 and not as_made):
        shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise SettingError(
            f"{path}: {what} {value.name!r} has the shape {shape}; allowed: [N, 3, H, W], planar RGB, or any number of "
            "channels of UINT8"
        )


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


def _adapt_input(onnx: Any, model: Any, path: Path, value: Any, bits: Bits) -> None:
    if not _floating(onnx, path, value, bits):
        return
    helper, kind, name = onnx.helper, value.type.tensor_type.elem_type, value.name
    scale = helper.make_tensor("vireo_scale_in", kind, [], [1 / ((1 << bits) - 1)])
    model.graph.initializer.append(scale)
    nodes = [
        helper.make_node("Cast", ["vireo_input"], ["vireo_cast"], to=kind),
        helper.make_node("Mul", ["vireo_cast", "vireo_scale_in"], [name]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    value.name = "vireo_input"
    value.type.tensor_type.elem_type = _integer(onnx, bits)


def _adapt_output(onnx: Any, model: Any, path: Path, value: Any, bits: Bits) -> None:
    if not _floating(onnx, path, value, bits):
        return
    helper, kind, name = onnx.helper, value.type.tensor_type.elem_type, value.name
    for label, number in (("vireo_zero", 0.0), ("vireo_one", 1.0), ("vireo_scale_out", (1 << bits) - 1.0)):
        model.graph.initializer.append(helper.make_tensor(label, kind, [], [number]))
    model.graph.node.extend(
        [
            helper.make_node("Clip", [name, "vireo_zero", "vireo_one"], ["vireo_clipped"]),
            helper.make_node("Mul", ["vireo_clipped", "vireo_scale_out"], ["vireo_scaled"]),
            helper.make_node("Round", ["vireo_scaled"], ["vireo_rounded"]),
            helper.make_node("Cast", ["vireo_rounded"], ["vireo_output"], to=_integer(onnx, bits)),
        ]
    )
    value.name = "vireo_output"
    value.type.tensor_type.elem_type = _integer(onnx, bits)


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
