# SPDX-License-Identifier: MIT
"""Networks for TensorRT in lower precision: halved, or quantised by other tools."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from vireo_server.errors import SettingError


def halved(model: bytes, *, keep: Sequence[str] = ()) -> bytes:
    """An ONNX network whose floating-point layers compute in FP16.

    The precision stands in the graph, and engines are built strongly typed: so both TensorRT libraries compute the same
    layers in the same precision, and nothing else decides it.

    Args:
        model: the file's bytes.
        keep: names of nodes that stay FP32, with casts around them.

    Raises:
        SettingError: no node has such a name.
    """
    import onnx
    from onnxconverter_common import float16

    network = onnx.load_from_string(model)
    nodes = {node.name: node for node in network.graph.node if node.name}
    casts = {node.output[0] for node in network.graph.node if node.op_type == "Cast"}
    unknown = sorted(set(keep) - set(nodes))
    if unknown:
        raise SettingError(
            f"parameter keep_fp32 names the node {unknown[0]!r}, which the network does not have; it has "
            f"{', '.join(list(nodes)[:12]) or 'no named nodes'}"
        )
    # Inputs and outputs that are floating-point numbers beside the picture stay as the caller gives them.
    with warnings.catch_warnings():
        # It says of each weight under 1e-7 that it becomes 1e-7, a thousandth of what FP16 resolves at 0.1.
        warnings.filterwarnings("ignore", message="the float32 number", category=UserWarning)
        half = float16.convert_float_to_float16(network, keep_io_types=True, node_block_list=list(keep))
    for node in half.graph.node:
        # The converter leaves casts that were there before as they are; those it adds have outputs of their own.
        if node.op_type == "Cast" and node.output[0] in casts and node.name not in keep:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                    attribute.i = onnx.TensorProto.FLOAT16
    return bytes(half.SerializeToString())


def with_float_biases(model: bytes) -> bytes:
    """A quantised (Q/DQ) ONNX network whose biases are FP32 constants.

    ONNX Runtime's quantiser writes them as INT32 constants behind a DequantizeLinear, which TensorRT does not take; the
    numbers are the same.
    """
    import onnx
    from onnx import numpy_helper

    network = onnx.load_from_string(model)
    constants = {tensor.name: tensor for tensor in network.graph.initializer}
    folded = [
        node
        for node in network.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in constants
        and constants[node.input[0]].data_type == onnx.TensorProto.INT32
    ]
    for node in folded:
        values, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        bias = (values * scale).astype(scale.dtype)
        network.graph.initializer.append(numpy_helper.from_array(bias, node.output[0]))
        network.graph.node.remove(node)
    return bytes(network.SerializeToString()) if folded else model
