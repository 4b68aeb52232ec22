# SPDX-License-Identifier: MIT
"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_server.errors import SettingError
from vireo_server.runtimes import Conditions, Rows, Runtime, run_rows


class ONNXRuntime(Runtime):
    """One session, one inference a core."""

    def __init__(self, model: bytes, *, threads: int, progress: Callable[[], None] = lambda: None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Inference is one row on one thread; arenas would keep the peak of every size for ever.
        options.enable_cpu_mem_arena = False
        self._session = load_session(model, "CPUExecutionProvider", options=options)
        by_rank = {len(value.shape): value.name for value in self._session.get_inputs()}
        self._input = by_rank[4]
        kinds = {value.name: value.type for value in self._session.get_inputs()}
        self._dtype = np.uint16 if kinds[self._input] == "tensor(uint16)" else np.uint8
        self._widths = {value.name: value.shape[1] for value in self._session.get_inputs() if len(value.shape) == 2}
        self.conditions = tuple(self._widths)
        self._outputs: dict[tuple[int, ...], Rows] = {}
        self._progress = progress
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="network")

    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """See Runtime.run."""
        if not batches:
            return iter(())
        output = self._output(batches[0].shape[1:])
        shape, dtype = output.shape[1:], output.dtype
        return run_rows(self._pool, self._infer, batches, conditions, shape=shape, dtype=dtype, progress=self._progress)

    def _infer(self, row: Rows, conditions: Conditions, out: Rows) -> None:
        out[:] = self._compute({self._input: np.ascontiguousarray(row), **conditions})

    def _output(self, shape: tuple[int, ...]) -> Rows:
        """A row's output, whose shape and type only a run tells; asked once a size."""
        if shape not in self._outputs:
            nothing = {name: np.zeros((1, width), np.float32) for name, width in self._widths.items()}
            self._outputs[shape] = self._compute({self._input: np.zeros((1, *shape), self._dtype), **nothing})
        return self._outputs[shape]

    def _compute(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Rows:
        """The output. Raises RuntimeError, as other runtimes do, where ONNX Runtime has errors of its own."""
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

        try:
            output: Rows = self._session.run(None, inputs)[0]
        except (Fail, RuntimeException) as error:
            raise RuntimeError(str(error)) from error
        return output


def load_session(model: bytes, provider: str, *, settings: Mapping[str, str] | None = None, options: Any = None) -> Any:
    """The network, loaded for a provider with its settings, and with a session's options.

    Raises:
        SettingError: where ONNX Runtime has errors of its own, which are no RuntimeErrors.
    """
    from onnxruntime import InferenceSession
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    try:
        return InferenceSession(model, options, providers=[(provider, dict(settings or {}))])
    except (state.EPFail, state.Fail, state.InvalidGraph, state.NotImplemented, state.RuntimeException) as error:
        raise SettingError(
            f"onnxruntime cannot load the network with its {provider}: {error}; use another runtime, or auto"
        ) from error
