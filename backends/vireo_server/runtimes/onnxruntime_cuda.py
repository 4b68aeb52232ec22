# SPDX-License-Identifier: MIT
"""ONNX Runtime on a GPU, by its CUDA provider. Never run on one: no machine with a GPU was at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vireo_server.errors import SettingError
from vireo_server.runtimes.engines import EngineSettings
from vireo_server.runtimes.on_device import OnDevice, find_device
from vireo_server.runtimes.onnxruntime import load_session
from vireo_server.runtimes.precision import halved

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall onnxruntime && pip install 'vireo[onnxruntime-gpu]'"

_DTYPES = {"tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(float)": np.float32}


class ONNXRuntimeCUDA(OnDevice):
    """One session, whose inputs and output are memory of the device (I/O binding).

    Args:
        model: an ONNX network, as the file's bytes.
        threads: not used, the GPU has its own.
        settings: rows at a time, and the precision.
        device: the CUDA device's number.
        progress: is called with every `rows` pictures that are under way.
        provider: what computes; another one only in tests, on the host.

    Raises:
        SettingError: no GPU, or the provider cannot be loaded.

    # Note [Nothing is chosen by measuring]
    By default cuDNN's algorithms are chosen by timing them at each start, and results would differ from start to start;
    so they are chosen by its rules. Nor may ONNX Runtime go on with the CPU by itself where CUDA does not load.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int,
        settings: EngineSettings | None = None,
        device: int = 0,
        progress: Callable[[], None] = lambda: None,
        provider: str = PROVIDER,
    ) -> None:
        import onnxruntime

        settings = settings or EngineSettings()
        cupy, _, _ = find_device("onnxruntime_cuda", device)
        super().__init__(cupy, rows=settings.rows, progress=progress)
        self._place_of_memory = ("cuda", device) if provider == PROVIDER else ("cpu", 0)
        options = {}
        if provider == PROVIDER:
            if provider not in onnxruntime.get_available_providers():
                raise SettingError(f"the installed onnxruntime {onnxruntime.__version__} has no {provider}; {INSTALL}")
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN in their wheels
            options = {
                "device_id": str(device),
                "user_compute_stream": str(self._stream.ptr),
                "cudnn_conv_algo_search": "HEURISTIC",
                "use_tf32": str(int(settings.precision == "tf32")),
                "arena_extend_strategy": "kSameAsRequested",
            }
        if settings.precision == "fp16":
            model = halved(model, keep=settings.keep_fp32)
        self._session = load_session(model, provider, settings=options)
        self._session.disable_fallback()
        if provider not in self._session.get_providers():
            raise SettingError(
                f"onnxruntime {onnxruntime.__version__} could not load its {provider}, the lines above in the log say "
                f"why; {INSTALL}"
            )
        inputs = {value.name: value for value in self._session.get_inputs()}
        (self.picture,) = [name for name, value in inputs.items() if len(value.shape) == 4]
        self._widths = {name: value.shape[1] for name, value in inputs.items() if name != self.picture}
        self.conditions = tuple(self._widths)
        self.dtypes = {name: np.dtype(_DTYPES[value.type]) for name, value in inputs.items()}
        (self._result,) = [value.name for value in self._session.get_outputs()]
        self._binding = self._session.io_binding()

    def _prepare(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        places = {}
        for name in (self.picture, *self.conditions):
            own = shape if name == self.picture else (self._widths[name],)
            places[name] = self._empty((self.rows, *own), self.dtypes[name])
            places[name][...] = 0
            self._bind(self._binding.bind_input, name, places[name])
        # The output's shape is told by a first run, in memory of ONNX Runtime's own.
        self._binding.bind_output(self._result, *self._place_of_memory)
        self._launch()
        self._stream.synchronize()
        (first,) = self._binding.get_outputs()
        output = self._empty(first.shape(), _DTYPES[first.data_type()])
        self._bind(self._binding.bind_output, self._result, output)
        return places, output

    def _bind(self, bind: Any, name: str, place: Any) -> None:
        bind(name, *self._place_of_memory, place.dtype, place.shape, place.data.ptr)

    def _launch(self) -> None:
        """See OnDevice. Raises RuntimeError, as other runtimes do, where ONNX Runtime has errors of its own."""
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

        try:
            self._session.run_with_iobinding(self._binding)
        except (Fail, RuntimeException) as error:
            raise RuntimeError(str(error)) from error
