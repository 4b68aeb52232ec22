# SPDX-License-Identifier: MIT
"""The environment variables of the server process, which its stages inherit."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from vireo_server.heartbeat import RUNTIME_DIR_VARIABLE
from vireo_server.launching.backends import PYTHON_BACKEND
from vireo_server.launching.triton import Triton

# PYTHONWARNINGS=error turns a library's deprecation into a stage that does not load; AIP_MODE makes Triton open a
# second HTTP port on all addresses; PYTHONHOME of another Python makes the stub look for its modules there.
_DROPPED = ("PYTHONWARNINGS", "AIP_MODE", "PYTHONHOME")

# Note [Why freed memory is kept]
# Every tensor between two stages is some megabytes that live for milliseconds. Left alone, glibc gives each back to the
# kernel and gets it anew, zeroed page by page: that took a quarter of the time of super_resolution at 360p and of
# passthrough at 1080p. Blocks under the first bound come from the heap, which is given back beyond the second. A heap a
# thread would keep such blocks once each: without the third bound tritonserver alone held 150 to 300 MB more, and with
# two heaps a 1080p stream that found the first one's memory freed took 19 % more than that, with one 9 %.
# Huge pages for the heap (glibc.malloc.hugetlb=1) gave 1 % more, within the noise, and were left alone.
# encode lowers the first bound for itself and gives memory back when it is idle (memory.py).
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_ARENA_MAX": "1",
}


def needed_environment(
    triton: Triton, *, backends: Path, base: Mapping[str, str] | None = None, python: Path | None = None
) -> dict[str, str]:
    """Give the variables that `tritonserver` needs to serve an assembled backend directory.

    Args:
        triton: the server.
        backends: the assembled backend directory.
        base: the environment that is extended; this process's if None.
        python: the Python program whose packages the stages use; the running one if None.
    """
    base = os.environ if base is None else base
    python = Path(sys.executable) if python is None else python
    malloc = {name: base.get(name, value) for name, value in _MALLOC.items()}
    libraries = [str(folder) for folder in (*triton.library_folders, backends / PYTHON_BACKEND)]
    return {
        # The interpreter inside the stub finds its packages through the first `python3` on PATH.
        "PATH": os.pathsep.join([str(_folder_with_python3(python, backends)), *_split(base.get("PATH", os.defpath))]),
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *_split(base.get("LD_LIBRARY_PATH", ""))]),
        # For the programs that stages start, and stubs that do not run isolated (up to Python 3.10): their standard
        # output would be ASCII. See Note [Why Triton's module gets a last line] in backends.py for the others.
        "PYTHONUTF8": "1",
        **malloc,
    }


def server_environment(triton: Triton, *, backends: Path, runtime: Path, cache: Path) -> dict[str, str]:
    """Give the whole environment of a server that Vireo starts.

    Args:
        triton: the server.
        backends: the assembled backend directory.
        runtime: the runtime folder, where stages leave their heartbeats.
        cache: a folder of the user for compiled code.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    environment |= needed_environment(triton, backends=backends, base=environment)
    environment[RUNTIME_DIR_VARIABLE] = str(runtime)
    if "NUMBA_CACHE_DIR" not in environment and not _kernels_writable():
        environment["NUMBA_CACHE_DIR"] = str(cache / "numba")
    # Compiling all CUDA kernels takes some 20 s; in a container only the user's cache folder outlives it.
    environment.setdefault("CUPY_CACHE_DIR", str(cache / "cupy"))
    return environment


def _folder_with_python3(python: Path, backends: Path) -> Path:
    # Links are not resolved: a virtual environment is recognised by the place of its `python3`.
    beside = python.parent / "python3"
    if beside.exists() and beside.resolve() == python.resolve():
        return python.parent
    # A `python3.12` whose neighbour `python3` is another version.
    link = backends / PYTHON_BACKEND / "python3"
    link.unlink(missing_ok=True)
    link.symlink_to(python)
    return link.parent


def _kernels_writable() -> bool:
    # Numba keeps compiled kernels beside their source if it can.
    spec = importlib.util.find_spec("vireo_kernels")
    return spec is not None and spec.origin is not None and os.access(Path(spec.origin).parent, os.W_OK)


def _split(paths: str) -> list[str]:
    return [path for path in paths.split(os.pathsep) if path]
