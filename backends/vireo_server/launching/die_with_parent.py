# SPDX-License-Identifier: MIT
"""A program that becomes another one which the kernel kills when its parent ends: `python die_with_parent.py PID ARGS`.

Note [Why a program of its own]
A server must not outlive a `vireo serve` that was killed with SIGKILL, which nothing can catch; prctl(PR_SET_PDEATHSIG)
makes the kernel see to it. It must be called in the child, between fork and exec. `preexec_fn` would do that in a copy
of a process whose other threads (gRPC's, numpy's) may hold locks for ever; a new interpreter has no such threads.
The signal comes when the *thread* ends that started the child: `process.py` keeps one for the purpose.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the death signal and become the program in the arguments."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"error: prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("error: the program that starts the server ended before it started")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
