# SPDX-License-Identifier: MIT
"""The processes of the stages: Triton's Python stubs, as the kernel sees them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vireo_server.launching.triton import STUB


@dataclass(frozen=True)
class Stage:
    """The process of one instance of a model.

    Note [Whose process id]
    Triton does not reap its stubs, so a dead one stays as a zombie; but when Triton itself is gone its id is free, and
    the next process or thread with that id may be anybody's. So a stage is known by id and start, and signals go
    through a descriptor that was opened before the start was compared.

    Attributes:
        pid: its process id.
        model: the Triton model's name.
        region: the name of its shared memory region in /dev/shm.
        started: when it started, in clock ticks since the machine did.
    """

    pid: int
    model: str
    region: str
    started: int

    def is_dead(self) -> bool:
        """Say whether it ended."""
        return self._state() in ("Z", "X", None)

    def is_stopped(self) -> bool:
        """Say whether a signal (SIGSTOP) or a debugger stopped it."""
        return self._state() in ("T", "t")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to nobody if it is gone."""
        with suppress(OSError):  # gone, or a thread's id by now
            descriptor = os.pidfd_open(self.pid)
            try:
                if not self.is_dead():
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)

    def ending(self) -> str:
        """Say how it ended, in words."""
        fields = self._fields()
        # proc(5): field 52 is exit_code in the form of waitpid(2); zero as well where the kernel does not tell.
        status = int(fields[49]) if fields is not None and len(fields) > 49 else 0
        if number := status & 0x7F:
            try:
                return f"signal {number}, {signal.Signals(number).name}"
            except ValueError:
                return f"signal {number}"
        return f"exit code {status >> 8}"

    def _state(self) -> str | None:
        fields = self._fields()
        return None if fields is None else fields[0]

    def _fields(self) -> list[str] | None:
        fields = _fields(self.pid)
        return fields if fields is not None and _started(fields) == self.started else None


def running_stages(server_pid: int) -> list[Stage]:
    """Give the stages of a server that run now.

    Args:
        server_pid: process id of `tritonserver`.
    """
    stages = []
    for pid in _children(server_pid):
        fields = _fields(pid)
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # triton_python_backend_stub <repository>/<model>/<version>/model.py <region> ...; a zombie has no arguments.
        if fields is not None and len(arguments) > 2 and Path(arguments[0]).name == STUB:
            model = Path(arguments[1]).parent.parent.name
            stages.append(Stage(pid=pid, model=model, region=arguments[2], started=_started(fields)))
    return stages


def descendants(pid: int) -> list[int]:
    """Give the children of a process that run now, theirs, and so on."""
    children = _children(pid)
    return [*children, *(found for child in children for found in descendants(child))]


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread of the server ends between the listing and the reading.
        try:
            found += [int(child) for child in path.read_text(encoding="ascii").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; the second may hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _started(fields: Sequence[str]) -> int:
    """Field 22 of proc(5), starttime."""
    return int(fields[19])
