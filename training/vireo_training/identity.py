# SPDX-License-Identifier: MIT
"""The network that changes nothing: the service `passthrough` measures and tests everything around a network with it.

`python -m vireo_training.identity` writes it to `model_repository/passthrough_network/1/model.onnx`.
"""

import argparse
from pathlib import Path

from vireo_training.graph import Graph

__all__ = ["identity_graph", "main"]

_SHAPE = ("N", 3, "H", "W")


def identity_graph() -> bytes:
    """Build the network: OUTPUT (N, 3, H, W) uint8 is INPUT."""
    graph = Graph("vireo_identity")
    graph.add("Identity", "INPUT", output="OUTPUT")
    return graph.serialize(input_shape=_SHAPE, output_shape=_SHAPE, doc="gives its input back")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the identity network.")
    parser.add_argument("output", type=Path, nargs="?", default="model_repository/passthrough_network/1/model.onnx")
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(identity_graph())
    print(f"wrote {output}, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
