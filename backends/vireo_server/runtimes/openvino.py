# SPDX-License-Identifier: MIT
"""OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from vireo_server.runtimes import Conditions, Rows, Runtime, run_rows

#: Pictures of so many different sizes keep their compiled network; streams of more sizes at once compile again.
_SIZES = 8

# Note [Why one thread alone asks for a type first]
# OpenVINO 2026.4 makes its table of numpy's types at the first question for one. It holds a lock of C++ meanwhile and
# lets go of Python's; a second thread that asks at that moment holds Python's lock and waits for the other, for ever.
_FIRST_QUESTION = threading.Lock()


class OpenVINO(Runtime):
    """Networks compiled for each picture size, one inference a core."""

    def __init__(self, model: bytes, *, threads: int, progress: Callable[[], None] = lambda: None) -> None:
        import openvino

        with _FIRST_QUESTION:
            openvino.Type.u8.to_dtype()
        self._core = openvino.Core()
        self._model = self._core.read_model(model)
        (self._input,) = (value.any_name for value in self._model.inputs if len(value.partial_shape) == 4)
        self.conditions = tuple(value.any_name for value in self._model.inputs if len(value.partial_shape) == 2)
        self._config = {
            # Left alone it takes bf16 where the CPU has it, and results would differ from machine to machine.
            "INFERENCE_PRECISION_HINT": "f32",
            # Quantised networks: OpenVINO 2026.4 fails on some in its low precision, and is off by levels on others.
            "LP_TRANSFORMS_MODE": "NO",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        }
        self._progress = progress
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="network")
        self._compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._local = threading.local()

    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """See Runtime.run."""
        if not batches:
            return iter(())
        compiled = self._compile(batches[0].shape[1:])
        output = compiled.output(0)
        shape, dtype = tuple(output.shape[1:]), output.element_type.to_dtype()
        infer, told = partial(self._infer, compiled), conditions
        return run_rows(self._pool, infer, batches, told, shape=shape, dtype=dtype, progress=self._progress)

    def _compile(self, shape: tuple[int, ...]) -> Any:
        with self._lock:
            if shape not in self._compiled:
                model = self._model.clone()
                widths = {name: [1, model.input(name).partial_shape[1]] for name in self.conditions}
                model.reshape({self._input: [1, *shape], **widths})
                self._compiled[shape] = self._core.compile_model(model, "CPU", self._config)
                while len(self._compiled) > _SIZES:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shape)
            return self._compiled[shape]

    def _infer(self, compiled: Any, row: Rows, conditions: Conditions, out: Rows) -> None:
        import openvino

        if getattr(self._local, "compiled", None) is not compiled:
            self._local.compiled, self._local.request = compiled, compiled.create_infer_request()
        request = self._local.request
        # Input and output are read and written where they lie; a copy of an output is a millisecond at 720p.
        # A shared tensor does not keep its array alive: a copy that was made here must outlive the inference.
        inputs = {name: np.ascontiguousarray(values) for name, values in {self._input: row, **conditions}.items()}
        for name, values in inputs.items():
            request.set_tensor(name, openvino.Tensor(values, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(out, shared_memory=True))
        request.infer()
