# SPDX-License-Identifier: MIT
"""What a server's processes use: processor time and memory, by stage, from /proc.

Memory is PSS: a page that three processes share counts a third in each, so a sum over processes counts every page once,
shared memory included.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from vireo_server.heartbeat import read_beats
from vireo_server.launching import RunningServer

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.25

SERVER = "tritonserver"
CLIENT = "client"


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end while it is looked at.
            with suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, all its threads, in seconds."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def pss_bytes(pid: int) -> int:
    """A process's proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line 'Pss:'")


def shared_memory_bytes(server: RunningServer) -> int:
    """What the server's regions in /dev/shm hold; it is part of the PSS of whoever maps them."""
    regions = Path("/dev/shm").glob(f"*{server.runtime.name}*")
    return sum(region.stat().st_blocks * 512 for region in regions)


def stages(server: RunningServer) -> dict[int, str]:
    """Process id to model, for each stage; tritonserver itself under its own name."""
    models = {beat.pid: beat.model for beat in read_beats(server.runtime)}
    return {pid: models.get(pid, SERVER) for pid in family(server.pid)}


@dataclass
class Usage:
    """What a server's processes used while something ran.

    Attributes:
        cpu: processor time by model, in seconds; this process is "client".
        peak_bytes: the largest sum of all PSS seen, this process not among them.
        peak_by_stage: PSS by model at that moment.
        peak_shared_bytes: of it, what lies in /dev/shm.
    """

    cpu: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    peak_by_stage: dict[str, int] = field(default_factory=dict)
    peak_shared_bytes: int = 0

    @property
    def cpu_total(self) -> float:
        """All processor time, the client's included, in seconds."""
        return sum(self.cpu.values())


@contextmanager
def watched(server: RunningServer, *, memory: bool = False) -> Iterator[Usage]:
    """Watch a server's processes as long as the block lasts; the result is complete after it.

    Args:
        server: whose.
        memory: look at memory too, which costs some percent of a core: the kernel goes through all pages.
    """
    usage, names = Usage(), stages(server)
    done = threading.Event()

    def sample() -> None:
        while True:
            _look(usage, server, names)
            if done.wait(_SAMPLE_SECONDS):
                return

    before = {pid: cpu_seconds(pid) for pid in names} | {os.getpid(): cpu_seconds(os.getpid())}
    sampler = threading.Thread(target=sample, name="watched", daemon=True)
    if memory:
        sampler.start()
    try:
        yield usage
    finally:
        after = {pid: cpu_seconds(pid) for pid in before}
        done.set()
        if memory:
            sampler.join()
        for pid, seconds in after.items():
            name = names.get(pid, CLIENT)
            usage.cpu[name] = usage.cpu.get(name, 0.0) + seconds - before[pid]


def _look(usage: Usage, server: RunningServer, names: dict[int, str]) -> None:
    memory: dict[str, int] = {}
    for pid, name in names.items():
        memory[name] = memory.get(name, 0) + pss_bytes(pid)
    if sum(memory.values()) > usage.peak_bytes:
        usage.peak_bytes, usage.peak_by_stage = sum(memory.values()), memory
        usage.peak_shared_bytes = shared_memory_bytes(server)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state, parent, ... The second, in brackets, may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
