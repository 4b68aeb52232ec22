# SPDX-License-Identifier: MIT
"""The direct mapping as a network: what is shipped is what the module writes, and is what the kernels compute."""

from pathlib import Path

import numpy as np
import onnxruntime
from vireo_kernels import sdr_to_hdr
from vireo_training.direct_mapping import direct_mapping

SHIPPED = Path(__file__).parents[2] / "model_repository" / "sdr_to_hdr_network_network" / "1" / "model.onnx"


def test_the_shipped_file_is_the_one_that_is_written() -> None:
    assert SHIPPED.read_bytes() == direct_mapping()


def test_it_is_the_direct_mapping_of_bt2408() -> None:
    rgb = np.random.default_rng(0).integers(0, 65536, (1, 3, 40, 50)).astype(np.uint16)
    rgb[0, :, 0] = np.linspace(0, 65535, 50)
    session = onnxruntime.InferenceSession(direct_mapping(), providers=["CPUExecutionProvider"])
    (pq,) = session.run(None, {"rgb": (rgb / 65535).astype(np.float32)})
    assert np.abs(pq * 65535 - sdr_to_hdr(rgb, method="direct")).max() < 1.5
