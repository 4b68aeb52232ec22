# SPDX-License-Identifier: MIT
"""Finding libpython, the shared library that Triton's Python stub is linked with."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from vireo_server.launching.errors import LibpythonNotFoundError


def find_libpython(version: tuple[int, int], *, folders: Iterable[Path] | None = None) -> Path:
    """Find `libpython<major>.<minor>.so.1.0`.

    The running Python's own comes first; many Pythons (Debian's, pyenv's) are linked without one, and then the system's
    of the same version serves as well.

    Args:
        version: major and minor version.
        folders: where to look; the running Python's folders and the dynamic linker's if None.

    Raises:
        LibpythonNotFoundError: it is in none of them.
    """
    name = f"libpython{version[0]}.{version[1]}.so.1.0"
    looked = []
    for folder in _folders(name) if folders is None else folders:
        if (folder / name).is_file():
            return folder / name
        looked.append(str(folder))
    raise LibpythonNotFoundError(
        f"serve: Triton's Python stub needs {name!r}, which is in none of {', '.join(dict.fromkeys(looked))}; "
        f"{_remedy(version)}"
    )


def _folders(name: str) -> Iterator[Path]:
    if library_folder := sysconfig.get_config_var("LIBDIR"):
        yield Path(library_folder)
    # Relocated builds (uv's, conda's) report the folder they were built in; the real one is beside their `bin`.
    yield Path(sys.base_prefix) / "lib"
    # Not always on PATH of ordinary users on Debian.
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    if Path(ldconfig).is_file():
        listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, timeout=30, check=False).stdout
        for match in re.finditer(rf"^\s*{re.escape(name)} .*=> (.+)$", listing, flags=re.MULTILINE):
            yield Path(match[1]).parent


def _remedy(version: tuple[int, int]) -> str:
    dotted = f"{version[0]}.{version[1]}"
    if "pyenv" in sys.base_prefix:
        return (
            f"build this Python with it (PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {dotted}), or "
            f"install the system's: apt install libpython{dotted}"
        )
    return f"install it: apt install libpython{dotted} (Debian, Ubuntu), dnf install python{dotted}-libs (Fedora)"
