# SPDX-License-Identifier: MIT
"""A file appears under its name only when it is whole and on disk."""

import os
from pathlib import Path

__all__ = ["settle"]


def settle(part: Path, path: Path) -> None:
    """Give `part` the name `path`, when its bytes are on disk: the name never stands for half a file."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
