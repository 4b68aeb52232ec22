# SPDX-License-Identifier: MIT
"""Triton's log: kept, judged, and said again in one readable line each."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["info", "warning", "error"]

_LEVELS: dict[str, Level] = {"I": "info", "W": "warning", "E": "error", "F": "error"}
_HEADER = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ ([\w./+-]+):\d+\]\s*(.*)", flags=re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "", '"': '"', "\\": "\\"}
_LOAD_FAILED = re.compile(r"failed to load '([^']+)' version -?\d+: (.*)", flags=re.DOTALL)
_STATUS_PREFIX = re.compile(r"^(Internal|Invalid argument|Unavailable|Not found|Unsupported|Unknown): ")
_KEPT_LINES = 5000

# What Triton prints without a level, and is no model's.
_OWN_PRINTS = ("Signal (",)

# What Triton says on every machine without a GPU. Where there is one it means something.
_NO_GPU = (
    "Unable to allocate pinned system memory",
    "CudaDriverHelper has not been initialized",
    "unable to create stream for",
    "DCGM unable to start",
    "Failed to initialize NVML",
    "Cannot get CUDA device count",
)


@dataclass(frozen=True)
class Entry:
    """One entry of the log.

    Attributes:
        level: how bad it is; None for what a model printed, or a table of Triton's.
        source: the source file that said it, "" if none is named.
        message: may have several lines.
    """

    level: Level | None
    source: str
    message: str

    @property
    def from_model(self) -> bool:
        """Whether a model said it, by its logger or by printing."""
        return self.source.endswith(".py") or (self.level is None and not self.message.startswith(("+", "|")))


def parse(line: str) -> Entry:
    """Read one line of Triton's output."""
    match = _HEADER.fullmatch(line)
    if match is None:
        return Entry(level=None, source="", message=line)
    letter, source, message = match.groups()
    if len(message) >= 2 and message[0] == message[-1] == '"':
        message = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), message[1:-1])
    return Entry(level=_LEVELS[letter], source=source, message=message.strip("\n"))


def readable(entry: Entry, *, has_gpu: bool) -> str | None:
    """Say an entry in our words, or nothing where it is of no interest to whoever runs the server.

    Args:
        entry: what was said.
        has_gpu: whether the machine has one; without, Triton's complaints about its absence are left out.
    """
    if not entry.message.strip() or (not has_gpu and any(known in entry.message for known in _NO_GPU)):
        return None
    if entry.level is None and entry.message.startswith(_OWN_PRINTS):
        return None
    if entry.level in ("warning", "error"):
        text = f"{entry.level}: {entry.message}"
    elif entry.from_model:
        text = entry.message
    else:
        return None
    return "vireo: " + text.replace("\n", "\n  ")


def load_failure(entry: Entry) -> tuple[str, str] | None:
    """Give the model and the reason if an entry says that a model could not be loaded."""
    match = _LOAD_FAILED.match(entry.message) if entry.level == "error" else None
    if match is None:
        return None
    return match[1], _STATUS_PREFIX.sub("", match[2]).strip()


class ServerLog:
    """The output of one server: the last lines as they came, and a readable form of each as it comes.

    Args:
        say: called with each line worth saying, from the thread that reads; nothing is said if None.
        verbose: say every line as it came.
    """

    def __init__(self, *, say: Callable[[str], None] | None = None, verbose: bool = False) -> None:
        self._say = say
        self._verbose = verbose
        self._has_gpu = any(Path("/dev").glob("nvidia[0-9]*"))
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._grown = threading.Condition()
        self._seen: set[str] = set()
        self.load_failures: dict[str, str] = {}

    def add(self, line: str) -> None:
        """Take one line, without its end."""
        entry = parse(line)
        failure = load_failure(entry)
        with self._grown:
            self._lines.append(line)
            if failure is not None:
                self.load_failures.setdefault(*failure)
            self._grown.notify_all()
        if self._say is None:
            return
        if self._verbose:
            self._say(line)
        elif (text := readable(entry, has_gpu=self._has_gpu)) is not None:
            self._say(text)

    def note(self, text: str) -> None:
        """Say something of our own, and keep it in its place among the server's lines."""
        with self._grown:
            self._lines.append(f"vireo: {text}")
        if self._say is not None:
            self._say(f"vireo: {text}")

    def has(self, *texts: str) -> bool:
        """Say whether each of the texts is in some line that is still kept."""
        with self._grown:
            return all(any(text in line for line in self._lines) for text in texts)

    def wait(self, seconds: float) -> None:
        """Wait until a line comes, at most so long."""
        with self._grown:
            self._grown.wait(seconds)

    def text(self) -> str:
        """Give the kept lines, the oldest first."""
        with self._grown:
            return "\n".join(self._lines)

    def last_errors(self, *, count: int = 5) -> list[str]:
        """Give the messages of the last errors; the last lines where there are none."""
        with self._grown:
            entries = [parse(line) for line in self._lines]
        errors = [
            entry.message
            for entry in entries
            if (entry.level == "error" or entry.message.startswith("error: "))
            and not any(known in entry.message for known in _NO_GPU)
        ]
        return (errors or [entry.message for entry in entries if entry.message])[-count:]
