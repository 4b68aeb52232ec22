# SPDX-License-Identifier: MIT
"""A toy model whose process dies while it is loaded."""

import os


class TritonPythonModel:
    def initialize(self, args):
        print("last words of the dying model")
        os._exit(3)
