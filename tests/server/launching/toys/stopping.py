# SPDX-License-Identifier: MIT
"""A toy model that stands still while it is loaded for the first time: stopped by a signal, or waiting for a lock that
nobody gives back; or that has Triton crash. The folder TOYS_SEEN remembers.
"""

import os
import signal
import threading
from pathlib import Path


class TritonPythonModel:
    def initialize(self, args):
        seen = Path(os.environ["TOYS_SEEN"]) / args["model_name"]
        if seen.exists():
            return
        seen.touch()
        if args["model_name"] == "locked":
            wait_for_a_lock()
        if args["model_name"] == "crashing":
            os.kill(os.getppid(), signal.SIGABRT)
        os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
