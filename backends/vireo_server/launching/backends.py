# SPDX-License-Identifier: MIT
"""Assembling the backend directory: Triton's Python backend and Vireo's doors side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

from vireo_server.launching.errors import LaunchError
from vireo_server.launching.triton import BACKEND_LIBRARY, BACKEND_MODULE, STUB, Triton, find_triton
from vireo_server.locations import find_locations

PYTHON_BACKEND = "python"
_DOOR = "model.py"

# Note [Why Triton's module gets a last line]
# Triton 2.51 runs the stages of Python 3.11 and later in isolated mode: PYTHONUTF8 and PYTHONIOENCODING are ignored,
# standard output is ASCII, and printing a caller's text is a UnicodeEncodeError that fails the request. It is also
# written in blocks, so a print shows minutes later. This module is the first that every stage imports.
# On SIGUSR1 a stage writes the stacks of its threads, even while they wait for each other; see `stalling.py`.
_LAST_LINES = """

# Added by Vireo, see vireo_server/launching/backends.py.
import sys

sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

import faulthandler
import signal

faulthandler.register(signal.SIGUSR1, file=2)
"""


def assemble_backends(folder: Path, *, triton: Triton | None = None, doors: Path | None = None) -> Path:
    """Make a folder that serves as Triton's `--backend-directory`.

    `python/` holds Triton's Python backend, the stub of the running Python and its libpython; every other folder is a
    link to a door. Done again on the same folder, it brings it up to date.

    Args:
        folder: made if it does not exist; otherwise it must be empty or have been made by this function.
        triton: the server to take the Python backend from; found if None.
        doors: folder with a folder for each backend, `model.py` in it; the shipped ones if None.

    Returns:
        The folder, absolute.

    Raises:
        TritonNotFoundError: no Triton to take the Python backend from.
        LaunchError: the folder holds other things, or there are no doors.
    """
    triton = find_triton() if triton is None else triton
    doors = find_locations().doors if doors is None else doors
    found = {path.parent.name: path.parent.resolve() for path in sorted(doors.glob(f"*/{_DOOR}"))}
    if not found:
        raise LaunchError(
            f"serve: no backend found in {str(doors)!r}; each is a folder with a {_DOOR!r}; install Vireo again"
        )
    folder = folder.absolute()
    _make_empty(folder)
    python = folder / PYTHON_BACKEND
    python.mkdir(parents=True)
    # Note [Why the Python backend is copied]
    # Triton resolves the backend's library and refuses one that lies outside the backend directory ("escapes backend
    # directory"), so these 3 MB cannot be links. Folders of doors may be links: Triton resolves these first.
    shutil.copy2(triton.python_backend / BACKEND_LIBRARY, python / BACKEND_LIBRARY)
    module = (triton.python_backend / BACKEND_MODULE).read_text(encoding="utf-8")
    (python / BACKEND_MODULE).write_text(module + _LAST_LINES, encoding="utf-8")
    shutil.copy2(triton.stub, python / STUB)
    (python / STUB).chmod(0o755)
    # libpython alone and not its folder goes on LD_LIBRARY_PATH (through this one): conda keeps its own libstdc++,
    # libz and libssl beside it, and these must not be put before the ones Triton was built with.
    (python / triton.libpython.name).symlink_to(triton.libpython.resolve())
    for name, door in found.items():
        (folder / name).symlink_to(door, target_is_directory=True)
    return folder


def _make_empty(folder: Path) -> None:
    if not folder.exists():
        return
    entries = list(folder.iterdir()) if folder.is_dir() else [folder]
    ours = [entry for entry in entries if entry.is_symlink() or (entry / STUB).is_file()]
    if len(ours) < len(entries):
        strange = next(entry.name for entry in entries if entry not in ours)
        raise LaunchError(
            f"serve: {str(folder)!r} cannot become a backend directory: {strange!r} is in it; it must be new, empty, "
            f"or made by Vireo; give another folder"
        )
    for entry in ours:
        if entry.is_symlink():
            entry.unlink()
        else:
            shutil.rmtree(entry)
