# SPDX-License-Identifier: MIT
"""Starting a Triton server on Vireo's model repository, and stopping it without losing anything."""

from vireo_server.launching.backends import assemble_backends
from vireo_server.launching.command import PlainCommand, plain_command
from vireo_server.launching.errors import (
    LaunchError,
    LibpythonNotFoundError,
    ModelLoadError,
    PlatformError,
    PortError,
    RepositoryError,
    ServerDiedError,
    StartTimeoutError,
    StubNotFoundError,
    TritonNotFoundError,
    UnknownServiceError,
)
from vireo_server.launching.loading import Loaded, Unloaded, load_service, unload_service
from vireo_server.launching.serve import serve
from vireo_server.launching.server import RunningServer
from vireo_server.launching.starting import running_server
from vireo_server.launching.triton import Triton, find_triton

__all__ = [
    "LaunchError",
    "LibpythonNotFoundError",
    "Loaded",
    "ModelLoadError",
    "PlainCommand",
    "PlatformError",
    "PortError",
    "RepositoryError",
    "RunningServer",
    "ServerDiedError",
    "StartTimeoutError",
    "StubNotFoundError",
    "Triton",
    "TritonNotFoundError",
    "UnknownServiceError",
    "Unloaded",
    "assemble_backends",
    "find_triton",
    "load_service",
    "plain_command",
    "running_server",
    "serve",
    "unload_service",
]
