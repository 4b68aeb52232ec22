# SPDX-License-Identifier: MIT
"""The log as JSON, one object a line: what a line is about stands in fields of its own."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

__all__ = ["json_line"]

_STREAM = re.compile(r"\bstream (?P<stream>[^\s,;]+)")
_CHUNK = re.compile(r"\bchunk (?P<chunk>\d+)")
_MODEL = re.compile(r"^(?P<model>[\w.-]+)(?: \(process (?P<process>\d+)\)|(?=: stream | is back | is given up))")
_LEVEL = re.compile(r"^(?:vireo(?: serve)?: )?(?:(?P<level>error|warning): )?")


def json_line(text: str, *, source: str, level: str | None = None) -> str:
    """One line of the log.

    Args:
        text: as it would be said to people; its level and who it is about are taken from it.
        source: "vireo" or "triton".
        level: "info", "warning" or "error", where it is known.

    Returns:
        time (UTC, ISO 8601), level, source, message, and where the text names them: model, process, stream, chunk,
        and for streams of Vireo's own clients service, request (the caller's name of the run) and segment.
    """
    match = _LEVEL.match(text)
    assert match is not None
    message = text[match.end() :]
    values: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": match["level"] or level or ("error" if text.startswith("vireo serve: ") else "info"),
        "source": source,
        "message": message,
    }
    for pattern in (_MODEL, _STREAM, _CHUNK):
        if found := pattern.search(message):
            values |= {name: value for name, value in found.groupdict().items() if value is not None}
    values |= {name: int(str(values[name])) for name in ("process", "chunk") if name in values}
    parts = str(values.get("stream", "")).split(":")
    if parts[0] == "vireo" and len(parts) >= 5:
        values |= {"service": parts[1], "request": ":".join(parts[2:-2])}
        if parts[-2].isdecimal():
            values["segment"] = int(parts[-2])
    return json.dumps(values, ensure_ascii=False)
