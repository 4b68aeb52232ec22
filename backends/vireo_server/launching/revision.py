# SPDX-License-Identifier: MIT
"""The revision of each service: a digest of all that decides which bytes it gives.

Nobody has to keep it up to date: `vireo serve` serves from a copy of the repository, made of links, in which each
ensemble's description carries the revision that was computed at this start. So it is true whatever was edited, and a
caller's journal knows when it must start anew. Under plain `tritonserver` it is what stands in the configuration.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vireo_media.versions import VERSIONS, Shares

from vireo_server.choosing import CUPY, GPU_RUNTIMES, RUNTIME_PACKAGES
from vireo_server.launching.control import ModelControl
from vireo_server.launching.errors import ModelLoadError
from vireo_server.launching.repository import Repository, read_repository
from vireo_server.services import with_parameter, without_parameter

__all__ = ["RevisingControl", "revision_of", "serve_from"]

_CONFIG = "config.pbtxt"
_DESCRIPTION = re.compile(
    r"""(key\s*:\s*"vireo"\s*,?\s*value\s*:?\s*\{\s*string_value\s*:\s*)(?P<text>"(?:\\.|[^"\\])*")""", re.DOTALL
)
_PACKAGES = ("vireo", "av", "numpy", "numba", "openvino", "onnxruntime")
"""What turns configurations and weights into bytes; those that are not installed do not take part."""
_GPU_PACKAGES = (
    *CUPY,
    "nvidia-cuda-nvrtc-cu12",
    *(package for runtime in GPU_RUNTIMES for package in RUNTIME_PACKAGES[runtime]),
)
"""And where there is a GPU."""
_DIGITS = 16
_BLOCK_BYTES = 1 << 20


def revision_of(repository: Repository, service: str) -> str:
    """A digest of a service: its configuration and its steps', their files (weights, scripts), the packages' versions,
    and the kind of GPU: one computes other bits than another, or a CPU.

    The revision that the configuration carries takes no part, nor how many runs go to which version.
    """
    digest = hashlib.sha256()
    gpus = _gpus()
    digest.update("".join(f"{gpu}\n" for gpu in gpus).encode())
    for package in (*_PACKAGES, *(_GPU_PACKAGES if gpus else ())):
        try:
            digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
        except importlib.metadata.PackageNotFoundError:
            continue
    for model in (service, *repository.steps_by_ensemble.get(service, ())):
        folder = repository.folder / model
        config = _read(folder / _CONFIG)
        digest.update(f"{model}\0{_with_revision(without_parameter(config, VERSIONS), '')}\0".encode())
        for path in sorted(folder.glob("[0-9]*/**/*")):
            if path.is_file() and path.name != ".keep" and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
                with path.open("rb") as file:
                    while block := file.read(_BLOCK_BYTES):
                        digest.update(block)
    return digest.hexdigest()[:_DIGITS]


@cache
def _gpus() -> tuple[str, ...]:
    from vireo_server.machine import find_gpus

    return tuple(sorted({gpu.name for gpu in find_gpus()[0]}))


def serve_from(repository: Repository, folder: Path) -> Path:
    """Make the copy that is served: links, and for each service a configuration with its revision.

    Args:
        repository: the original; Triton reads its files through the links.
        folder: where the copy is made; it must not exist.

    Returns:
        The folder.
    """
    folder.mkdir()
    for model in repository.models:
        _serve_model(repository, model, folder)
    return folder


@dataclass(frozen=True)
class RevisingControl(ModelControl):
    """Model control for `vireo load`: what is loaded is taken from the original as it is now, under a new revision.

    Attributes:
        original: the repository that its user edits.
        served: the copy that Triton reads.
    """

    original: Path = Path()
    served: Path = Path()

    def load(self, model: str) -> None:
        """See `ModelControl.load`."""
        if (self.original / model / _CONFIG).is_file():
            _serve_model(read_repository(self.original), model, self.served)
        super().load(model)

    def share(self, shares: Shares) -> None:
        """Send new runs of a service to its versions by these shares.

        They are written into the service's own configuration, so that they outlive this server, and are the same under
        plain `tritonserver`. The ensemble alone is loaded again.

        Raises:
            ModelLoadError: the configuration cannot be written, or not be loaded.
        """
        path = self.original / shares.service / _CONFIG
        text = path.read_text(encoding="utf-8")
        new = with_parameter(text, VERSIONS, shares.to_json())
        if new == text:
            return
        draft = path.with_suffix(".new")
        try:
            draft.write_text(new, encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise ModelLoadError(
                f"serve: {str(path)!r} cannot be written ({error.strerror}), where the shares of the versions stand; "
                f"change its parameter {VERSIONS!r} to {shares.to_json()!r} yourself and load the service again"
            ) from error
        self.load(shares.service)


def _serve_model(repository: Repository, model: str, folder: Path) -> None:
    source, target = repository.folder / model, folder / model
    text = _read(source / _CONFIG)
    if target.is_symlink():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    if model not in repository.ensembles or not _DESCRIPTION.search(text):
        target.symlink_to(source)
        return
    target.mkdir()
    for entry in source.iterdir():
        if entry.name != _CONFIG:
            (target / entry.name).symlink_to(entry)
    served = _with_revision(text, revision_of(repository, model))
    (target / _CONFIG).write_text(served, encoding="utf-8")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _with_revision(config: str, revision: str) -> str:
    """A configuration whose description, if it has one that is an object, names this revision."""

    def replace(match: re.Match[str]) -> str:
        try:
            # The text format escapes as JSON does, in what a description holds.
            description = json.loads(json.loads(match["text"]))
        except ValueError:
            return match[0]  # Whoever reads it says better what is wrong.
        if not isinstance(description, dict):
            return match[0]
        return match[1] + json.dumps(json.dumps({**description, "revision": revision}))

    return _DESCRIPTION.sub(replace, config)
