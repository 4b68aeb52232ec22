# SPDX-License-Identifier: MIT
"""A network that changes nothing is not computed: the rows themselves are its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vireo_server.runtimes import Conditions, Rows, Runtime


class Identity(Runtime):
    """What `passthrough` runs; another runtime would copy each picture once more."""

    side = "either"

    def __init__(self, model: bytes, *, threads: int) -> None:
        """Nothing is loaded."""

    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """See Runtime.run."""
        return iter(batches)


def is_identity(model: bytes) -> bool:
    """Whether an ONNX network's output is its one input, by way of `Identity` alone."""
    import onnx

    graph = onnx.load_from_string(model).graph
    return len(graph.input) == 1 and all(node.op_type == "Identity" for node in graph.node)
