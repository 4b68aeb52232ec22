# SPDX-License-Identifier: MIT
"""Triton's log: kept, and said again in readable lines."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vireo_server.launching import failures
from vireo_server.launching.json_lines import json_line

Level = Literal["info", "warning", "error"]
LogFormat = Literal["text", "json"]

_LEVELS: dict[str, Level] = {"I": "info", "W": "warning", "E": "error", "F": "error"}
_HEADER = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ ([\w./+-]+):\d+\]\s*(.*)")
_PROTOBUF = re.compile(r"\[libprotobuf (?:ERROR|WARNING|FATAL) \S*?([\w.]+):\d+\] (.*)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "", '"': '"', "\\": "\\"}
_INSTANCE = re.compile(r"TRITONBACKEND_ModelInstanceInitialize: (?P<model>.+)_\d+_\d+ \(")
_KEPT_LINES = 5000
# Triton's own handler of SIGABRT and SIGSEGV; on other signals it stops in order.
_CRASH = re.compile(r"Signal \((6|11)\) received")
_LOADED = re.compile(r"successfully (?P<un>un)?loaded '(?P<model>[^']+)'")

# What Triton says on every machine without a GPU. Where there is one it means something.
_NO_GPU = (
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
    "CudaDriverHelper has not been initialized",
    "unable to create stream for",
    "DCGM unable to start",
    "Failed to initialize NVML",
    "Cannot get CUDA device count",
)
# What Triton prints without a level, and is no model's; the last is said better by whoever started the server.
_TRITON_PRINTS = ("+", "|", "Signal (", " Non-graceful termination detected", "error: creating server")
# What Triton and its HTTP library call errors when a caller hangs up, and when we stop it with requests under way.
# An abort begins a sequence anew, to end it.
_NO_ERRORS = (
    "HandleCancellation called even when",
    "ODDITY, resuming when not paused",
    "failed to stop server: Internal - Exit timeout expired",
    "has a conflict. The previous sequence did not end before this sequence start",
)


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Attributes:
        raw: as it came.
        level: how bad it is; None for what a model printed, or a table of Triton's.
        source: the source file that said it, "" if none is named.
        message: without its header and escapes; may have several lines.
    """

    raw: str
    level: Level | None
    source: str
    message: str

    @property
    def from_model(self) -> bool:
        """Whether a model said it, by its logger or by printing."""
        return self.source.endswith(".py") or (self.level is None and not self.message.startswith(_TRITON_PRINTS))


def parse(line: str) -> Entry:
    """Read one line of the server's output."""
    if match := _HEADER.fullmatch(line):
        letter, source, message = match.groups()
        if len(message) >= 2 and message[0] == message[-1] == '"':
            message = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), message[1:-1])
        return Entry(raw=line, level=_LEVELS[letter], source=source, message=message.strip("\n"))
    if match := _PROTOBUF.fullmatch(line):
        return Entry(raw=line, level="error", source=match[1], message=match[2])
    return Entry(raw=line, level=None, source="", message=line)


def readable(entry: Entry, *, has_gpu: bool) -> str | None:
    """Say an entry in our words, or nothing where it is of no interest to whoever runs the server.

    Args:
        entry: what was said.
        has_gpu: whether the machine has one; without, Triton's complaints about its absence are left out.
    """
    unwanted = _NO_ERRORS if has_gpu else _NO_ERRORS + _NO_GPU
    if not entry.message.strip() or any(known in entry.message for known in unwanted):
        return None
    if entry.from_model:
        text = entry.message if entry.level in (None, "info") else f"{entry.level}: {entry.message}"
    elif entry.level in ("warning", "error") and not failures.is_about_loading(entry):
        text = f"{entry.level}: {entry.message}"
    else:
        return None
    return "vireo: " + text.replace("\n", "\n  ")


class ServerLog:
    """The output of one server: the last lines as they came, and a readable form of each as it comes.

    Args:
        say: called with each line worth saying, from the thread that reads; nothing is said if None.
        verbose: say every line as it came.
        format: "text" for people, "json" for one object a line; see `json_lines`.
    """

    def __init__(
        self, *, say: Callable[[str], None] | None = None, verbose: bool = False, format: LogFormat = "text"
    ) -> None:
        self._say = say
        self._verbose = verbose
        self._format = format
        self._has_gpu = any(Path("/dev").glob("nvidia[0-9]*"))
        self._entries: deque[Entry] = deque(maxlen=_KEPT_LINES)
        self._lines = self._begun = 0
        self._grown = threading.Condition()
        self._live: set[str] = set()
        self._with_process: set[str] = set()
        self._crashed = False

    def add(self, line: str) -> None:
        """Take one line of the server's, without its end."""
        entry = parse(line)
        self._keep(entry)
        text = readable(entry, has_gpu=self._has_gpu)
        if self._verbose and self._format == "text":
            self._tell(line)
        elif self._verbose or text is not None:
            source = "vireo" if entry.from_model else "triton"
            self._tell(text or entry.message, source=source, level=entry.level)

    def note(self, text: str) -> None:
        """Say something of our own, and keep it in its place among the server's lines."""
        line = f"vireo: {text}"
        self._keep(Entry(raw=line, level="info", source="", message=line))
        self._tell(line)

    def begin_anew(self) -> None:
        """Forget what is known of a server that ended: the next lines are another's."""
        with self._grown:
            self._begun = self._lines
            self._live.clear()
            self._with_process.clear()
            self._crashed = False

    @property
    def lines(self) -> int:
        """How many lines came so far."""
        return self._lines

    @property
    def crashed(self) -> bool:
        """Whether Triton said that it crashed, whether or not its process has ended."""
        return self._crashed

    def entries(self) -> list[Entry]:
        """Give what is kept of the server that runs, the oldest first."""
        with self._grown:
            entries = list(self._entries)
        return entries[-own:] if (own := self._lines - self._begun) else []

    def has(self, *texts: str) -> bool:
        """Say whether each of the texts is in some line that is kept."""
        entries = self.entries()
        return all(any(text in entry.raw for entry in entries) for text in texts)

    def live_models(self) -> set[str]:
        """Give the models that are loaded."""
        with self._grown:
            return set(self._live)

    def models_with_process(self) -> set[str]:
        """Give the models that had a Python process of their own at some time."""
        with self._grown:
            return set(self._with_process)

    def wait(self, seconds: float) -> None:
        """Wait until a line comes, at most so long."""
        with self._grown:
            self._grown.wait(seconds)

    def text(self) -> str:
        """Give all kept lines as they came, the oldest first."""
        with self._grown:
            return "\n".join(entry.raw for entry in self._entries)

    def last_words(self, *, count: int) -> list[str]:
        """Give the messages of the last errors; the last lines where there are none."""
        entries = [entry for entry in self.entries() if entry.message.strip()]
        errors = [
            entry.message
            for entry in entries
            if (entry.level == "error" or entry.message.startswith("error: "))
            and not any(known in entry.message for known in _NO_GPU)
        ]
        return (errors or [entry.message for entry in entries])[-count:]

    def _tell(self, text: str, *, source: str = "vireo", level: Level | None = None) -> None:
        if self._say is None:
            return
        if self._format == "json":
            text = json_line(text, source=source, level=level)
        # Whoever listened may be gone (a closed pipe, a closed file): the server must be read all the same.
        try:
            self._say(text)
        except (OSError, ValueError):
            self._say = None

    def _keep(self, entry: Entry) -> None:
        with self._grown:
            self._entries.append(entry)
            self._lines += 1
            if match := _LOADED.match(entry.message):
                (self._live.discard if match["un"] else self._live.add)(match["model"])
            elif match := _INSTANCE.match(entry.message):
                self._with_process.add(match["model"])
            elif _CRASH.match(entry.message):
                self._crashed = True
            self._grown.notify_all()
