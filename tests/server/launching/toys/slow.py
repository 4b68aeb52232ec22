# SPDX-License-Identifier: MIT
"""A toy model that is never done loading."""

import time


class TritonPythonModel:
    def initialize(self, args):
        time.sleep(3600)
