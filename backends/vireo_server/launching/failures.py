# SPDX-License-Identifier: MIT
"""Why models did not load, read from Triton's log, which says it in five ways and several times over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vireo_server.launching.log import Entry

_STAGE = re.compile(r"failed to load '(?P<model>[^']+)' version -?\d+: (?P<reason>.*)", flags=re.DOTALL)
_VERSIONS = re.compile(r"failed to load model '(?P<model>[^']+)': (?P<reason>.*)", flags=re.DOTALL)
_CONFIG = re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.*)", flags=re.DOTALL)
_STEPS = re.compile(r"Invalid argument: ensemble (?P<model>\S+) (?P<reason>contains models that are not .*)")
_REASONS = (_STAGE, _VERSIONS, _CONFIG, _STEPS)
_REPEATS = re.compile(r"ERROR: Failed to create instance|ensemble '[^']+' depends on|failed to poll model ")
_STATUS = re.compile(r"^(Internal|Invalid argument|Unavailable|Not found|Unsupported|Unknown): ")
_PROTOBUF_SOURCE = "text_format.cc"
_STUB_DIED = re.compile(r"Stub process '[^']*' is not healthy")


def is_about_loading(entry: Entry) -> bool:
    """Say whether an entry tells that a model did not load; whoever asked for the model says it better."""
    if entry.level != "error":
        return False
    return (
        entry.source == _PROTOBUF_SOURCE
        or _REPEATS.search(entry.message) is not None
        or any(pattern.match(entry.message) for pattern in _REASONS)
    )


def load_failures(entries: Iterable[Entry]) -> dict[str, str]:
    """Give the models that did not load, each with the reason: the last lines of its exception, or Triton's words."""
    found: dict[str, str] = {}
    syntax: list[str] = []
    prints: list[str] = []
    for entry in entries:
        if entry.level is None and entry.from_model and entry.message.strip():
            prints.append(entry.message)
        if entry.level != "error":
            continue
        if entry.source == _PROTOBUF_SOURCE:
            syntax.append(entry.message)
        for pattern in _REASONS:
            if match := pattern.match(entry.message):
                reason = re.sub(r"\n\s*\n", "\n", _STATUS.sub("", match["reason"]).strip())
                if pattern is _CONFIG:
                    reason = "\n".join([reason, *syntax])
                    syntax = []
                elif _STUB_DIED.match(reason):
                    reason = "\n".join([f"its process died while it was loaded ({reason})", *prints[-3:]])
                found.setdefault(match["model"], reason)
    return found
