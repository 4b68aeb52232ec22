# SPDX-License-Identifier: MIT
"""Where the model repository and the doors are, in a source checkout and in an installed wheel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import vireo_server


@dataclass(frozen=True)
class Locations:
    """Where the files lie that Triton is pointed at.

    Attributes:
        model_repository: folder with a folder for each model (`config.pbtxt` in it).
        doors: folder with a folder for each Python-based backend (`model.py` in it).
    """

    model_repository: Path
    doors: Path

    def __post_init__(self) -> None:
        for what, folder in (("model repository", self.model_repository), ("backends", self.doors)):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"locations: the {what} folder {str(folder)!r} does not exist; Vireo looks in the source checkout "
                    f"and in the installed package (vireo_server/_data); install Vireo again, or name a model "
                    f"repository with --repository"
                )


def find_locations(package: Path | None = None) -> Locations:
    """Give the shipped model repository and doors.

    A wheel carries both as data in `vireo_server/_data`; in a source checkout they are `model_repository/` and
    `backends/`, where the package itself lies.

    Args:
        package: the folder of the package `vireo_server`; the imported one if None.

    Raises:
        FileNotFoundError: neither place has them.
    """
    folder = Path(vireo_server.__file__).resolve().parent if package is None else package
    data = folder / "_data"
    if data.is_dir():
        return Locations(model_repository=data / "model_repository", doors=data / "backends")
    return Locations(model_repository=folder.parent.parent / "model_repository", doors=folder.parent)
