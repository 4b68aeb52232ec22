# SPDX-License-Identifier: MIT
"""A toy model with one second for a request, that hangs when it gets 9."""

import time

import triton_python_backend_utils as pb_utils
from vireo_server.heartbeat import Heartbeat


class TritonPythonModel:
    def initialize(self, args):
        self.heartbeat = Heartbeat(args["model_name"], limit_seconds=1.0)

    def execute(self, requests):
        with self.heartbeat.busy():
            tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
            if 9 in tensors[0]:
                time.sleep(3600)
            return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor)]) for tensor in tensors]

    def finalize(self):
        self.heartbeat.close()
