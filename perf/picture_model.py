# SPDX-License-Identifier: MIT
"""What a picture service serves, a model of Triton's Python backend: a decoded picture becomes what the network takes,
by our kernel, and goes through the network in the same process. So it answers with the bits of `features`.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from vireo_kernels.fit import fit_exact
from vireo_kernels.resize import resize_image
from vireo_server.runtimes import load_runtime


class TritonPythonModel:
    """INPUT `(1, 3, H, W) uint8` to OUTPUT; `model.onnx` beside this file says what size its pictures are."""

    def initialize(self, args):
        """Load the network."""
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._network = load_runtime("openvino", file, threads=1)
        self._fit = fit_exact(width=96, height=96)

    def execute(self, requests):
        """One answer a request."""
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", self._embed(request))]) for request in requests]

    def _embed(self, request):
        picture = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        small = resize_image(picture, fit=self._fit, filter_name="bilinear", antialias=True)
        return np.asarray(next(iter(self._network.run([small]))))
