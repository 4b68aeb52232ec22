# SPDX-License-Identifier: MIT
"""The runtime folder of a server: its backends, its heartbeats, its lock; and what dead servers left behind."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vireo_server.heartbeat import DRAINING_FILE, RUNTIME_DIR_VARIABLE
from vireo_server.launching.errors import LaunchError

SHARED_MEMORY = Path("/dev/shm")

_LOCK = "lock"
_REGION_PREFIX = "vireo-"


class RuntimeFolder:
    """A folder that lives as long as a server does.

    Its name is also the prefix of the server's shared memory regions, and its path is in the environment of every
    process of the server: so everything that belongs to it can be found, and taken away, after any kind of death.
    A lock, which the kernel lets go of when its holder dies, tells whether the server still runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise

    @property
    def region_prefix(self) -> str:
        """How the names of the server's shared memory regions begin."""
        return f"{_REGION_PREFIX}{self.path.name}-"

    @property
    def backends(self) -> Path:
        """Where the backend directory is assembled."""
        return self.path / "backends"

    @property
    def repository(self) -> Path:
        """Where the repository that is served is made."""
        return self.path / "repository"

    @property
    def is_draining(self) -> bool:
        """Whether stages were told to open no more streams."""
        return (self.path / DRAINING_FILE).exists()

    def drain(self) -> None:
        """Tell every stage to open no more streams."""
        (self.path / DRAINING_FILE).touch()

    def close(self) -> None:
        """Kill what is left of the server, and remove its shared memory and the folder; may be called twice."""
        if self._lock < 0:
            return
        _remove(self.path)
        os.close(self._lock)
        self._lock = -1


def make_runtime_folder() -> RuntimeFolder:
    """Make the runtime folder of a new server.

    Raises:
        LaunchError: the folder above it belongs to somebody else.
    """
    name = secrets.token_hex(4)
    hidden = _folder_of_user() / f".{name}"
    hidden.mkdir(mode=0o700)
    folder = RuntimeFolder(hidden)
    # Under its name only once it is locked, so nobody takes it for a dead server's.
    folder.path = hidden.rename(hidden.with_name(name))
    return folder


def clean_leftovers() -> list[str]:
    """Take away what servers that were killed left: processes, shared memory and folders.

    Returns:
        The names of the servers that were cleaned up after.
    """
    cleaned = []
    for path in sorted(_folder_of_user().iterdir()):
        if path.name.startswith("."):
            continue
        try:
            folder = RuntimeFolder(path)
        except (BlockingIOError, FileNotFoundError):
            continue  # it runs, or another process cleans up just now
        folder.close()
        cleaned.append(path.name)
    return cleaned


def locked_folders() -> list[Path]:
    """Give the runtime folders of this user's servers that run now."""
    found = []
    for path in sorted(_folder_of_user().iterdir()):
        if path.name.startswith(".") or not (path / _LOCK).is_file():
            continue
        with open(path / _LOCK, "rb") as file:
            try:
                # Shared: two who look at once do not take each other for the server.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(path)
    return found


def cache_folder() -> Path:
    """Give a folder of the user for things that may be made again."""
    given = os.environ.get("XDG_CACHE_HOME")
    home = Path(given) if given else Path("~/.cache").expanduser()
    return home / "vireo"


def processes_of(path: Path) -> Iterator[int]:
    """Find the processes that were started with this runtime folder, whoever their parent is now."""
    needle = f"{RUNTIME_DIR_VARIABLE}={path}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # ended meanwhile, or another user's
        if needle in environment.split(b"\0"):
            yield int(entry.name)


def _remove(path: Path) -> None:
    for pid in processes_of(path):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for region in SHARED_MEMORY.glob(f"{_REGION_PREFIX}{path.name}-*"):
        region.unlink(missing_ok=True)
    # A stage that is just being killed may still write its heartbeat while the folder is emptied.
    shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


def _folder_of_user() -> Path:
    for base in (Path(tempfile.gettempdir()) / f"vireo-{os.getuid()}", cache_folder() / "run"):
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = base.lstat()
        if status.st_uid != os.getuid() or base.is_symlink():
            raise LaunchError(
                f"serve: {str(base)!r} belongs to user {status.st_uid}, not to you ({os.getuid()}); "
                f"it must be yours, for programs are started from it; remove it, or set TMPDIR to another folder"
            )
        # The Python backend and the stub lie in it and must be executable.
        if not os.statvfs(base).f_flag & os.ST_NOEXEC:
            return base
    raise LaunchError(
        f"serve: programs cannot be started from {tempfile.gettempdir()!r} nor from {str(cache_folder())!r} (mounted "
        f"noexec); set TMPDIR to a folder that allows it"
    )
