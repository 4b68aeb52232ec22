# SPDX-License-Identifier: MIT
"""A toy model that computes for some seconds while it is loaded, and says nothing."""

import time


class TritonPythonModel:
    def initialize(self, args):
        end = time.process_time() + 2
        while time.process_time() < end:
            pass
