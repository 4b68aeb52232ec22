# SPDX-License-Identifier: MIT
"""The network in the program's own process: the same ONNX file with UINT8 in and out, OpenVINO at f32."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vireo_server.adapters import adapt

from perf.clips import Clip

Rows = npt.NDArray[np.uint8]

CORES = len(os.sched_getaffinity(0))


class Network:
    """The network compiled for one size of picture.

    Args:
        path: the ONNX file.
        clip: whose pictures it will take.
        batch: pictures a call.
        at_once: how many calls run beside each other, each from a thread of its own; they share the cores.
    """

    def __init__(self, path: Path, clip: Clip, *, batch: int = 1, at_once: int = 1) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(adapt(path))
        model.reshape([batch, 3, clip.stream.height, clip.stream.width])
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": CORES, "NUM_STREAMS": at_once}
        self._compiled = core.compile_model(model, "CPU", settings)
        self._tensor = openvino.Tensor
        self._of_thread = threading.local()

    def __call__(self, rgb: Rows) -> Rows:
        """`(batch, 3, H, W) uint8` to `(batch, 3, 2H, 2W) uint8`, which stays valid until this thread's next call."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        request: Any = self._of_thread.request
        request.set_input_tensor(self._tensor(rgb, shared_memory=True))
        request.infer()
        output: Rows = request.get_output_tensor().data
        return output
