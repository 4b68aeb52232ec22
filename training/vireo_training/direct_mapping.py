# SPDX-License-Identifier: MIT
"""BT.2408's direct mapping of SDR to PQ as an ONNX graph, float in and out as people export networks.

It learned nothing: it holds the place in the service `sdr_to_hdr_network` for a network that did, shows what goes in
and what comes out, and has a closed form to be tested against. `python -m vireo_training.direct_mapping` writes it.
"""

import argparse
from pathlib import Path

import numpy as np
from vireo_kernels.curves import C1, C2, C3, M1, M2, primaries_matrix
from vireo_kernels.transfer import SDR_WHITE_IN_PQ

from vireo_training.graph import OPSET

__all__ = ["direct_mapping", "main"]

_SHAPE = ("N", 3, "H", "W")


def direct_mapping() -> bytes:
    """Build the network: `rgb` (N, 3, H, W) float32, SDR R'G'B' of BT.709 in 0..1, to `pq`, R'G'B' of BT.2020 in PQ."""
    from onnx import TensorProto, checker, helper, numpy_helper

    matrix = np.array(primaries_matrix("bt709", "bt2020"), float) * float(SDR_WHITE_IN_PQ)
    values = {
        "gamma": 2.4, "matrix": matrix.reshape(3, 3, 1, 1), "m1": M1, "m2": M2, "c1": C1, "c2": C2, "c3": C3, "one": 1.0
    }  # fmt: skip
    nodes = [
        helper.make_node("Pow", ["rgb", "gamma"], ["light"]),
        helper.make_node("Conv", ["light", "matrix"], ["wide"], kernel_shape=[1, 1]),
        helper.make_node("Pow", ["wide", "m1"], ["root"]),
        helper.make_node("Mul", ["root", "c2"], ["upper"]),
        helper.make_node("Add", ["upper", "c1"], ["numerator"]),
        helper.make_node("Mul", ["root", "c3"], ["lower"]),
        helper.make_node("Add", ["lower", "one"], ["denominator"]),
        helper.make_node("Div", ["numerator", "denominator"], ["ratio"]),
        helper.make_node("Pow", ["ratio", "m2"], ["pq"]),
    ]
    graph = helper.make_graph(
        nodes,
        "vireo_direct_mapping",
        [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("pq", TensorProto.FLOAT, _SHAPE)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the direct mapping as a network.")
    parser.add_argument(
        "output", type=Path, nargs="?", default="model_repository/sdr_to_hdr_network_network/1/model.onnx"
    )
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(direct_mapping())
    print(f"wrote {output}, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
