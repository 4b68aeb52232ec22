# SPDX-License-Identifier: MIT
"""A toy model: gives back what it gets, and talks while it is loaded."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        print(f"printed by {args['model_name']}: ✓")
        pb_utils.Logger.log_info("logged by the echo model")

    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor)]) for tensor in tensors]
