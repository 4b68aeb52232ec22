# SPDX-License-Identifier: MIT
"""The description that a service's `config.pbtxt` carries, read from the repository on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vireo_media.services import ServiceDescription

from vireo_server.errors import BadInput


def read_description(repository: Path, service: str) -> ServiceDescription:
    """The description of `service`.

    Raises:
        BadInput: there is no such service in the repository; the message lists those there are.
    """
    descriptions = {
        path.parent.name: found
        for path in repository.glob("*/config.pbtxt")
        if (found := read_parameter(path, "vireo"))
    }
    if service not in descriptions:
        raise BadInput(
            f"there is no service {service!r}; there are {', '.join(sorted(descriptions)) or 'none'}; ask for one",
            stage="file",
        )
    return ServiceDescription.from_json(service, descriptions[service])


def read_stages(repository: Path, service: str) -> tuple[str, ...]:
    """The models that the ensemble `service` is made of, the first stage first; none where there is no such service."""
    config = repository / service / "config.pbtxt"
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    return tuple(re.findall(r'model_name\s*:\s*"([^"]+)"', text))


def read_parameter(config: Path, name: str) -> str | None:
    """The string value of one parameter of a `config.pbtxt`; None when it has no such parameter."""
    found = re.search(_pattern(name), config.read_text(encoding="utf-8", errors="replace"))
    # The text format escapes as JSON does, in what a description holds.
    return str(json.loads(found["text"])) if found else None


def without_parameter(config: str, name: str) -> str:
    """The text of a configuration without one parameter that stands in a line of its own."""
    return re.sub(rf"(?m)^parameters\s*\{{\s*{_pattern(name)}\s*\}}\s*\}}[^\n]*\n?", "", config)


def with_parameter(config: str, name: str, value: str) -> str:
    """The text of a configuration with one parameter as its last line, or without it where `value` is empty."""
    config = without_parameter(config, name)
    if not value:
        return config
    gap = "" if config.endswith("\n") else "\n"
    return f'{config}{gap}parameters {{ key: "{name}" value {{ string_value: {json.dumps(value)} }} }}\n'


def _pattern(name: str) -> str:
    # A protobuf parser would need tritonclient, which a server does not have; single parameters are all we ask.
    return rf'key\s*:\s*"{re.escape(name)}"\s*,?\s*value\s*:?\s*\{{\s*string_value\s*:\s*(?P<text>"(?:\\.|[^"\\])*")'
