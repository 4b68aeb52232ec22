# SPDX-License-Identifier: MIT
"""The description that a service's `config.pbtxt` carries, read from the repository on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vireo_media.services import ServiceDescription

from vireo_server.errors import BadInput

# A protobuf parser would need tritonclient, which a server does not have; this one parameter is all we ask.
_DESCRIPTION = re.compile(
    r"""key\s*:\s*"vireo"\s*,?\s*value\s*:?\s*\{\s*string_value\s*:\s*(?P<text>"(?:\\.|[^"\\])*")""", re.DOTALL
)


def read_description(repository: Path, service: str) -> ServiceDescription:
    """The description of `service`.

    Raises:
        BadInput: there is no such service in the repository; the message lists those there are.
    """
    descriptions = {path.parent.name: found for path in repository.glob("*/config.pbtxt") if (found := _find(path))}
    if service not in descriptions:
        raise BadInput(
            f"there is no service {service!r}; there are {', '.join(sorted(descriptions)) or 'none'}; ask for one",
            stage="file",
        )
    return ServiceDescription.from_json(service, descriptions[service])


def _find(path: Path) -> str | None:
    found = _DESCRIPTION.search(path.read_text(encoding="utf-8", errors="replace"))
    # The text format escapes as JSON does, in what a description holds.
    return str(json.loads(found["text"])) if found else None
