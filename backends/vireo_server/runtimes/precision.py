# SPDX-License-Identifier: MIT
"""Networks as TensorRT takes them: halved, quantised by other tools, or with layers that it lacks as others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

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


def with_convolutions(model: bytes) -> bytes:
    """An ONNX network whose fully connected layers (Gemm with constant weights) are convolutions of one pixel.

    TensorRT-RTX computes convolutions in FP32 on Turing (T4), and no matrix products; the numbers are the same.
    """
    import onnx
    from onnx import helper, numpy_helper

    network = onnx.load_from_string(model)
    graph = network.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes, shapes = [], {"pixel": [0, -1, 1, 1], "row": [0, -1]}
    for node in graph.node:
        told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = all(told.get(name, value) == value for name, value in (("alpha", 1), ("beta", 1), ("transA", 0)))
        if node.op_type != "Gemm" or not plain or not all(name in constants for name in node.input[1:]):
            nodes.append(node)
            continue
        weights, *bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
        weights = weights if told.get("transB", 0) else weights.T
        if any(one.size not in (1, len(weights)) for one in bias):  # one a picture
            nodes.append(node)
            continue
        own = f"{node.output[0]}.vireo"
        values = [weights[:, :, None, None], *(np.broadcast_to(one.reshape(-1), len(weights)) for one in bias)]
        names = [f"{own}_{number}" for number in range(len(values))]
        for name, value in zip(names, values, strict=True):
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        nodes += [
            helper.make_node("Reshape", [node.input[0], "vireo.pixel"], [f"{own}_pixel"]),
            helper.make_node("Conv", [f"{own}_pixel", *names], [f"{own}_sums"], name=node.name),
            helper.make_node("Reshape", [f"{own}_sums", "vireo.row"], [node.output[0]]),
        ]
    if len(nodes) == len(graph.node):
        return model
    for name, shape in shapes.items():
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"vireo.{name}"))
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(network.SerializeToString())
