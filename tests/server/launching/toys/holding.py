# SPDX-License-Identifier: MIT
"""A toy model that holds as many streams as it is told to, and says whether it is told to take no more.

The input 9 makes it hang for ever, with the rest of the process.
"""

import time

import numpy as np
import triton_python_backend_utils as pb_utils
from vireo_server.heartbeat import Heartbeat


class TritonPythonModel:
    def initialize(self, args):
        self.heartbeat = Heartbeat(args["model_name"])

    def execute(self, requests):
        responses = []
        for request in requests:
            count = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0])
            with self.heartbeat.busy():
                if count == 9:
                    time.sleep(3600)
                self.heartbeat.streams(count)
            draining = np.array([self.heartbeat.draining()], dtype=np.int64)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", draining)]))
        return responses

    def finalize(self):
        self.heartbeat.close()
