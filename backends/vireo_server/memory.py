# SPDX-License-Identifier: MIT
"""The heap of a stage's process."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
"""mallopt's, from glibc's malloc.h."""


def map_blocks_above(size: int) -> None:
    """Have blocks of more than `size` bytes mapped one by one, outside the heap, from now on; nothing without glibc.

    For a process whose large blocks live long. Among short-lived ones in one heap they leave holes that nothing fills:
    with encoders' blocks outside it, a further 1080p stream took 132 MB beyond its codecs instead of 163.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, size)


def give_back_memory() -> None:
    """Give what is free in the heap back to the kernel; nothing where the C library is not glibc.

    For a process that held much and is idle now. Between the chunks of a stream, and while others go on, freed memory
    is kept on purpose (Note [Why freed memory is kept] in launching/environment.py): encoders that had to get theirs
    anew took 2 ms a frame more in clips of 50 at 720p. But it would stay for ever: after four 1080p streams encode had
    a heap of 770 MB, and of 250 MB with this; kept for only 5 s, it grew by a seventh with the next stream.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
