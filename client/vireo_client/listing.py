# SPDX-License-Identifier: MIT
"""What a server serves, as text for people and as JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from vireo_media.description import DECODER_DEFAULTS, ENCODER_DEFAULTS
from vireo_media.services import allowed_values
from vireo_media.versions import split_version

from vireo_client.service import ServedService
from vireo_client.transport import Tensor

__all__ = ["as_json", "as_text"]

_INDENT = " " * 10


def as_text(services: Sequence[ServedService]) -> str:
    """A block for each service: what it makes of a video, its versions, tensors and options."""
    if not services:
        return "this server serves no video service; load one with: vireo load NAME"
    decoder = ", ".join(DECODER_DEFAULTS)
    common = ", ".join([*ENCODER_DEFAULTS, *(name for name in DECODER_DEFAULTS if name != "sample")])
    blocks = [_block(service, services) for service in services]
    return "\n\n".join(blocks) + f"\n\nEvery transformation also takes {common}; every extraction {decoder}."


def as_json(services: Sequence[ServedService]) -> str:
    """A list of objects: name, service, version, kind, shares of new runs, revision, inputs, outputs, options."""
    found = []
    for one in services:
        service, version = split_version(one.name)
        found.append(
            {
                "name": one.name,
                "service": service,
                "version": version,
                "share": _share(one, services),
                "kind": one.description.kind,
                "revision": one.description.revision,
                "inputs": [asdict(tensor) for tensor in one.inputs],
                "outputs": [asdict(tensor) for tensor in one.outputs],
                "options": one.description.options,
            }
        )
    return json.dumps(found, indent=2)


def _block(one: ServedService, services: Sequence[ServedService]) -> str:
    gives = "video -> video" if one.description.kind == "transformation" else "video -> numbers"
    service, version = split_version(one.name)
    title = f"{one.name}  {gives}"
    if version > 1 or dict(one.shares.of) != {1: 1.0}:
        title += f"  version {version} of {service}: {_share(one, services):.0%} of new runs"
    properties = one.description.options.get("properties", {})
    options = [f"{name}: {allowed_values(schema)}" for name, schema in properties.items()] or ["none of its own"]
    return "\n".join(
        [
            title,
            f"  inputs  {_tensors(one.inputs)}",
            f"  outputs {_tensors(one.outputs)}",
            "  options " + f"\n{_INDENT}".join(options),
        ]
    )


def _share(one: ServedService, services: Sequence[ServedService]) -> float:
    """The share of its service's new runs, 0..1, that this version has."""
    service, version = split_version(one.name)
    first = next((other for other in services if other.name == service), one)
    return first.shares.of.get(version, 0.0)


def _tensors(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.dims)}" for tensor in tensors)
