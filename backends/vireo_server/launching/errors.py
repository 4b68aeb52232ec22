# SPDX-License-Identifier: MIT
"""What can go wrong while a server is started.

    LaunchError
    ├── PlatformError              (NotImplementedError)  no Triton exists for this machine
    ├── TritonNotFoundError        (LookupError)          no Triton on this machine
    │   ├── StubNotFoundError                             none for the running Python
    │   └── LibpythonNotFoundError                        the stub needs a library that is not there
    ├── RepositoryError            (ValueError)           no model repository at that place
    │   └── UnknownServiceError                           none of that name in it
    ├── PortError                  (OSError)              another program listens there
    ├── ModelLoadError             (RuntimeError)         a model failed while it was loaded
    ├── ServerDiedError            (RuntimeError)         Triton ended by itself
    └── StartTimeoutError          (TimeoutError)         Triton took too long
        └── StalledError                                  and did nothing meanwhile

Every message says what failed, what was found, what is allowed, and what to do.
"""

from __future__ import annotations


class LaunchError(Exception):
    """A server could not be started."""


class PlatformError(LaunchError, NotImplementedError):
    """No Triton exists for this machine."""


class TritonNotFoundError(LaunchError, LookupError):
    """No Triton that can be started was found."""


class StubNotFoundError(TritonNotFoundError):
    """Triton has no Python stub for the running Python."""


class LibpythonNotFoundError(TritonNotFoundError):
    """The shared library of the running Python, which the stub is linked with, was not found."""


class RepositoryError(LaunchError, ValueError):
    """The folder is not a model repository."""


class UnknownServiceError(RepositoryError):
    """The model repository has no service of that name."""


class PortError(LaunchError, OSError):
    """A port or address cannot be listened on."""


class ModelLoadError(LaunchError, RuntimeError):
    """A model failed while it was loaded."""


class ServerDiedError(LaunchError, RuntimeError):
    """Triton ended by itself."""


class CrashError(ServerDiedError):
    """A signal ended it."""


class StartTimeoutError(LaunchError, TimeoutError):
    """Triton was not ready within its time."""


class StalledError(StartTimeoutError):
    """Loading stood still."""
