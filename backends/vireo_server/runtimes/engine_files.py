# SPDX-License-Identifier: MIT
"""Engines on disk: named by all that they depend on, built once, found again; and what makes the next one quicker."""

from __future__ import annotations

import fcntl
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from vireo_server.runtimes.engines import EngineSettings, Library, replace_file

_SUFFIX = ".engine"


def engine_key(model: bytes, settings: EngineSettings, *, library: Library) -> str:
    """What an engine depends on beside the GPU: the network, the settings, the library and its version."""
    digest = hashlib.sha256(model)
    digest.update(repr((library.name, library.version, sorted(asdict(settings).items()))).encode())
    return digest.hexdigest()[:16]


def engine_file(folder: Path, key: str, capabilities: Sequence[str], *, gpu: str = "") -> Path:
    """The name of an engine's file: `<key>.sm89-sm120.engine`, and the GPU's own name where it was measured on one."""
    targets = "-".join(f"sm{capability.replace('.', '')}" for capability in capabilities)
    measured = f"_{re.sub('[^0-9A-Za-z]+', '_', gpu)}" if gpu else ""
    return folder / f"{key}.{targets}{measured}{_SUFFIX}"


def find_engine(folder: Path, key: str, capability: str) -> Path | None:
    """An engine that was built before for a GPU of this capability, by `vireo build`."""
    wanted = f"sm{capability.replace('.', '')}"
    for path in sorted(folder.glob(f"{key}.*{_SUFFIX}")):
        if wanted in path.name.split(".")[1].split("-"):
            return path
    return None


def kept_engine(path: Path, build: Callable[[], bytes], *, note: Callable[[str], None]) -> bytes:
    """The engine in `path`, built first where it is not there, by one process at a time.

    Args:
        path: its file; it appears whole.
        build: makes it.
        note: is told that it is being built, which may take minutes with TensorRT, and how long it took.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock"), note=note):
        if not path.is_file():
            note(f"building the engine {path.name}")
            began = time.monotonic()
            replace_file(path, build())
            note(f"built the engine {path.name} in {time.monotonic() - began:.1f} s")
    return path.read_bytes()


@contextmanager
def _locked(path: Path, *, note: Callable[[str], None]) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process builds {path.stem}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
