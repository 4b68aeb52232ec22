# SPDX-License-Identifier: MIT
"""Which GPU a server has, and how large Triton's memory pool must be there for what it serves.

# Note [Why the pool is computed]
A tensor that goes from stage to stage on a GPU lies in Triton's CUDA pool, 64 MB by default; what finds no room there
goes to the host's memory, and every frame crosses twice. So the pool must hold all tensors of all chunks that are under
way. How large these are the services say themselves: `chunk_pixels` source pixels a chunk, of which there are FRAMES (3
bytes a pixel at 10 bit), INPUT (3 or, at 16 bit, 6) and OUTPUT, as large as INPUT or, where a network enlarges, up to
the 64 MB that `chunk_pixels` is chosen for. Frames on a GPU do not go through shared memory; its regions stay as they
are on a host.

# Note [Why there is no pinned pool]
What finds no room in the CUDA pool Triton puts into its pinned pool first. To there its Python backend does not copy
from a GPU: the copy fails ("failed to copy data: invalid argument", seen in its source and in others' reports)
and the next stage gets what lay there. Without that pool it takes plain memory, which it does copy to. Nothing is lost:
between two stages the host's tensors go through shared memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vireo_server.launching.errors import LaunchError
from vireo_server.launching.repository import Repository
from vireo_server.services import read_parameter

if TYPE_CHECKING:
    from vireo_server.machine import Gpu

VISIBLE = "CUDA_VISIBLE_DEVICES"

_STREAMS, _CHUNKS = 8, 3
"""Chunks under way: a client's three a stream, of so many streams at once."""
_FRAME_BYTES, _PICTURE_BYTES = 3, 6
_LARGEST_OUTPUT = 64 << 20
_MOST_OF_MEMORY = 0.2
NO_PINNED_POOL = "--pinned-memory-pool-byte-size=0"
"""For every `tritonserver`; see the note."""
_MB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ServedGpu:
    """The GPU of a server: which of the machine's, by `nvidia-smi`'s number, out of how many, and what it is."""

    number: int
    count: int
    gpu: Gpu

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes it the only one that the server and its stages see. By its name: what a number means to CUDA
        depends on CUDA_DEVICE_ORDER."""
        return {VISIBLE: self.gpu.uuid}

    def __str__(self) -> str:
        rest = "" if self.count == 1 else f" (of {self.count}: start a server for each, --gpu 0, --gpu 1, ...)"
        return f"GPU {self.number}, {self.gpu.name}{rest}"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Triton's memory for frames on the GPU, in bytes."""

    size: int

    @property
    def options(self) -> list[str]:
        """For `tritonserver`, which sees one GPU."""
        return [f"--cuda-memory-pool-byte-size=0:{self.size}"]

    def __str__(self) -> str:
        return f"{self.size // _MB} MB on the GPU for frames between stages; what finds no room goes over the host"


def choose_gpu(wanted: int | None, environment: Mapping[str, str] = os.environ) -> ServedGpu | None:
    """The GPU that a server is to use: the one that is `wanted`, else the first that CUDA_VISIBLE_DEVICES lets it see;
    None where there is none.

    Numbers are `nvidia-smi`'s, by place on the bus. CUDA's own default, the fastest first, is another order only where
    a machine's GPUs differ.

    Raises:
        LaunchError: the wanted one is not there.
    """
    from vireo_server.machine import find_gpus

    gpus, why_none = find_gpus()
    if wanted is not None and wanted not in range(len(gpus)):
        have = f"there are {', '.join(map(str, range(len(gpus))))}" if gpus else why_none
        raise LaunchError(f"serve: --gpu {wanted!r} is not there ({have}); name one that is, or leave it out")
    named = str(wanted) if wanted is not None else environment.get(VISIBLE, "0").split(",")[0].strip()
    for number, gpu in enumerate(gpus):
        if named == str(number) or (named.startswith("GPU-") and gpu.uuid.startswith(named)):
            return ServedGpu(number=number, count=len(gpus), gpu=gpu)
    if gpus and named.startswith("MIG-"):  # A part of a GPU: nvidia-smi does not say how large; a seventh is the least.
        part = replace(gpus[0], uuid=named, memory_mb=gpus[0].memory_mb // 7)
        return ServedGpu(number=0, count=len(gpus), gpu=part)
    return None  # "" and -1 hide them all, and so does what is not there


def pool_for(repository: Repository, services: Iterable[str], gpu: Gpu) -> Pool:
    """The pool for services of a repository on a GPU."""
    largest = max((_chunk_pixels(repository, service) for service in services), default=0)
    chunk = largest * (_FRAME_BYTES + _PICTURE_BYTES) + max(largest * _PICTURE_BYTES, _LARGEST_OUTPUT)
    return Pool(size=min(_STREAMS * _CHUNKS * chunk, int(gpu.memory_mb * _MB * _MOST_OF_MEMORY)))


def _chunk_pixels(repository: Repository, service: str) -> int:
    text = read_parameter(repository.folder / service / "config.pbtxt", "vireo")
    pixels = json.loads(text).get("chunk_pixels") if text else None
    return pixels if isinstance(pixels, int) else 0
