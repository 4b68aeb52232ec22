# SPDX-License-Identifier: MIT
"""`vireo parity`: compare, print, write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vireo_server.errors import BadInput
from vireo_server.locations import find_locations
from vireo_server.parity.compare import compare
from vireo_server.parity.pipelines import PRESETS, Size, load_pipeline
from vireo_server.parity.report import draw, table, write_json
from vireo_server.parity.serving import Serving


def parity(
    videos: Sequence[Path],
    *,
    service: str | None,
    training: Sequence[str],
    size: str | None,
    antialias: bool,
    frames: int | None,
    repository: Path | None,
    json: Path | None,
    picture: Path | None,
) -> str:
    """Compare each video through each training pipeline (all presets whose library is installed, if none is named).

    Returns:
        The table. JSON and picture are written where their paths are given.

    Raises:
        StageError, ValueError, VireoError: what cannot be compared, and why.
    """
    serving = Serving(size=_size(size), antialias=antialias)
    if service is not None:
        if size is not None:
            raise BadInput(f"service {service!r} does not resize; leave --size out", stage="parity")
        serving = Serving.of_service(repository or find_locations().model_repository, service)
    names = list(training) or list(PRESETS)
    comparisons, missing = [], []
    for video in videos:
        for name in names:
            try:
                comparisons.append(compare(str(video), name, load_pipeline(name), serving, frames=frames))
            except ModuleNotFoundError as error:
                if training:
                    raise BadInput(
                        f"pipeline {name!r} needs {error.name}: pip install {error.name}", stage="parity"
                    ) from error
                missing.append(f"{name}: {error.name} is not installed")
    if json is not None:
        write_json(json, comparisons)
    if picture is not None:
        try:
            draw(picture, comparisons)
        except ModuleNotFoundError as error:
            raise BadInput("the picture needs matplotlib: pip install 'vireo[perf]'", stage="parity") from error
    return "\n".join([table(comparisons), *dict.fromkeys(missing)])


def _size(text: str | None) -> Size | None:
    if text is None:
        return None
    width, cross, height = text.partition("x")
    if not cross or not width.isdigit() or not height.isdigit() or not int(width) or not int(height):
        raise BadInput(f"size is {text!r}; allowed: WIDTHxHEIGHT in pixels, such as 224x224", stage="parity")
    return int(width), int(height)
