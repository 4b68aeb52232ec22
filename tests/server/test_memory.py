# SPDX-License-Identifier: MIT
"""The heap of a stage's process, tried in processes of their own: what glibc does depends on all that went before."""

import os
import subprocess
import sys

_BEGIN = """
import ctypes
from pathlib import Path
from vireo_server.memory import give_back_memory, map_blocks_above

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

def filled(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    return block
"""

_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""As the server's stages run."""


def _run(program: str) -> str:
    environment = {**os.environ, **_KEPT}
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + program], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def test_freed_memory_goes_back_when_asked() -> None:
    said = _run(
        """
blocks = [filled(6 << 20) for _ in range(20)]
for block in blocks: libc.free(block)
kept = resident()
give_back_memory()
print(kept - resident() > 100)
"""
    )
    assert said == "True\n"


def test_large_blocks_go_back_by_themselves_and_small_ones_are_kept() -> None:
    said = _run(
        """
map_blocks_above(4 << 20)
for size in (5 << 20, 3 << 20):
    blocks = [filled(size) for _ in range(20)]
    held = resident()
    for block in blocks: libc.free(block)
    print(held - resident() > 50)
"""
    )
    assert said == "True\nFalse\n"
