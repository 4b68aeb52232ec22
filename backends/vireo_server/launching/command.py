# SPDX-License-Identifier: MIT
"""The command line of `tritonserver`, for a server of ours and for plain use."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vireo_server.launching.backends import PYTHON_BACKEND, assemble_backends
from vireo_server.launching.environment import needed_environment
from vireo_server.launching.gpu_memory import NO_PINNED_POOL, Pool, choose_gpu, pool_for
from vireo_server.launching.ports import Endpoints
from vireo_server.launching.repository import read_repository
from vireo_server.launching.triton import Triton, find_triton
from vireo_server.locations import find_locations

CONTROL_HEADER = "vireo-key"

# Each Python instance has a shared memory region, taken from /dev/shm whole when it is made, that grows on demand and
# never shrinks. By default that is 1 MB at a time, hundreds of steps for the tensors of one chunk (up to about 64 MB).
REGION_BYTES = 16 << 20
_REGION_GROWTH_BYTES = 16 << 20
# Triton kills a stage that has not come up after 30 s, and aborts with it where that one held a lock. On a machine with
# much else to do that is no fault, and one that hangs is found otherwise (`stalling`).
_STAGE_START_SECONDS = 600

# Note [Which APIs are closed]
# Explicit model control means that whoever may load a model may run a program of theirs, so `model-repository` needs a
# key that only this process knows. Shared memory lets a caller name regions of other users, trace writes files where
# the caller says, logging switches the log off: no caller of ours needs them. Inference, health, metadata, the model's
# configuration (the service description is in it) and statistics stay open.
_CLOSED = "model-repository,shared-memory,trace,logging"


def server_command(
    triton: Triton,
    *,
    backends: Path,
    repository: Path,
    models: Sequence[str],
    endpoints: Endpoints,
    region_prefix: str,
    key: str,
    exit_seconds: int,
    pool: Pool | None = None,
) -> list[str]:
    """Give the command of a server that Vireo starts and watches.

    Args:
        triton: the server.
        backends: the assembled backend directory.
        repository: the model repository.
        models: what to load; ensembles bring the models of their steps.
        endpoints: where to listen.
        region_prefix: how the names of its shared memory regions begin.
        key: what opens the closed APIs.
        exit_seconds: how long it waits for requests when it is told to stop.
        pool: for frames, on a server with a GPU.
    """
    return [
        *_serving(triton, backends=backends, repository=repository),
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        f"--http-address={endpoints.address}",
        f"--grpc-address={endpoints.address}",
        f"--metrics-address={endpoints.address}",
        f"--http-port={endpoints.http}",
        f"--grpc-port={endpoints.grpc}",
        f"--metrics-port={endpoints.metrics}",
        f"--http-restricted-api={_CLOSED}:{CONTROL_HEADER}={key}",
        f"--grpc-restricted-protocol={_CLOSED}:{CONTROL_HEADER}={key}",
        f"--exit-timeout-secs={exit_seconds}",
        *(pool.options if pool is not None else ()),
    ]


@dataclass(frozen=True)
class PlainCommand:
    """What starts plain `tritonserver` on an assembled backend directory.

    Attributes:
        arguments: the program and its arguments.
        environment: the variables that must be set so.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]

    def shell(self) -> str:
        """Give it as a command for a shell."""
        variables = (f"{name}={shlex.quote(value)}" for name, value in self.environment.items())
        return " \\\n  ".join([*variables, *(shlex.quote(argument) for argument in self.arguments)])


def plain_command(folder: Path, *, repository: Path | None = None, triton: Triton | None = None) -> PlainCommand:
    """Assemble a backend directory and give the command that serves it without `vireo serve`.

    It loads every model of the repository and listens on 127.0.0.1; model control is off. Where this machine has a GPU
    it uses one, as `vireo serve` does.

    Args:
        folder: the backend directory to make.
        repository: the model repository; the shipped one if None.
        triton: the server; found if None.

    Raises:
        LaunchError: no Triton, or the folder cannot be used.
    """
    triton = find_triton() if triton is None else triton
    repository = find_locations().model_repository if repository is None else repository
    backends = assemble_backends(folder, triton=triton)
    environment = needed_environment(triton, backends=backends)
    arguments = [
        *_serving(triton, backends=backends, repository=repository.absolute()),
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
    ]
    if (gpu := choose_gpu(None)) is not None:
        found = read_repository(repository)
        environment |= gpu.environment
        arguments += pool_for(found, found.services, gpu.gpu).options
    return PlainCommand(arguments=tuple(arguments), environment=environment)


def _serving(triton: Triton, *, backends: Path, repository: Path) -> list[str]:
    return [
        str(triton.binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        # Our configurations are complete; completing them would start every stage once more, and cost 2 s.
        "--disable-auto-complete-config",
        f"--backend-config={PYTHON_BACKEND},shm-default-byte-size={REGION_BYTES}",
        f"--backend-config={PYTHON_BACKEND},shm-growth-byte-size={_REGION_GROWTH_BYTES}",
        f"--backend-config={PYTHON_BACKEND},stub-timeout-seconds={_STAGE_START_SECONDS}",
        NO_PINNED_POOL,
    ]
