# SPDX-License-Identifier: MIT
"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vireo_server.runtimes import Rows, Runtime, run_rows


class ONNXRuntime(Runtime):
    """One session, one inference a core."""

    def __init__(self, model: bytes, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Inference is one row on one thread; arenas would keep the peak of every size for ever.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="network")

    def run(self, batches: Sequence[Rows]) -> Iterator[Rows]:
        """See Runtime.run."""
        return run_rows(self._pool, self._infer, batches)

    def _infer(self, row: Rows) -> Rows:
        output: Rows = self._session.run(None, {self._input: np.ascontiguousarray(row)})[0]
        return output
