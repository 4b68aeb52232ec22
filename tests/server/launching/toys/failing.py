# SPDX-License-Identifier: MIT
"""A toy model that cannot be loaded."""


class TritonPythonModel:
    def initialize(self, args):
        raise FileNotFoundError("the weights 'network.onnx' are missing;\nput them beside config.pbtxt")
