# SPDX-License-Identifier: MIT
"""A toy model that counts as stages on a GPU do: IN bytes in each of four threads at once, one by one."""

import threading

import triton_python_backend_utils as pb_utils
from vireo_server.side import side_of


class TritonPythonModel:
    def initialize(self, args):
        self.side = side_of(args, stage="toy")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensor = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        threads = [threading.Thread(target=self.work, args=(int(tensor[0]),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor)])

    def work(self, times):
        for _ in range(times):
            self.side.count("to_host", 1)

    def finalize(self):
        self.side.close()
