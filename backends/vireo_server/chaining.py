# SPDX-License-Identifier: MIT
"""Services one after another in one service: pictures go from network to network and are encoded once, at the end.

A chain is configuration only. It shares the networks' models with the services it is made of, so nothing is loaded
twice and streams of both share batches; only preprocess is its own.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vireo_server.errors import SettingError
from vireo_server.services import read_parameter
from vireo_server.templates import ensemble, preprocess

_SMALLEST = ("max_packets", "max_rows", "chunk_pixels", "max_pixels")


@dataclass(frozen=True)
class _Link:
    """One service of a chain: its network, what that is told, and the service's description."""

    network: str
    condition: str
    description: Mapping[str, Any]


def chain(name: str, services: Sequence[str], *, repository: Path) -> dict[str, str]:
    """The configurations of a chain: model's name -> text of its `config.pbtxt`.

    Raises:
        SettingError: fewer than two services, one that is not there or not made of a network, or two that cannot be
            told apart by their options.
    """
    if len(services) < 2:
        raise SettingError(f"a chain of {list(services)!r} is none; name two services or more, as --chain first,second")
    links = [_link(service, repository=repository) for service in services]
    told = [link for link in links if link.condition]
    if len(told) > 1:
        raise SettingError(
            f"{' and '.join(link.network for link in told)} are both told something beside the picture; a chain can "
            "have one such network"
        )
    condition = told[0].condition if told else ""
    text = ensemble(
        name,
        _description(links),
        second="network",
        networks=[link.network for link in links],
        told=told[0].network if told else None,
    )
    return {name: text, f"{name}_preprocess": preprocess(name, second="network", condition=condition)}


def _link(service: str, *, repository: Path) -> _Link:
    configs = [
        repository / model / "config.pbtxt" for model in (service, f"{service}_preprocess", f"{service}_network")
    ]
    missing = next((path for path in configs if not path.is_file()), None)
    if missing is not None:
        raise SettingError(
            f"{service!r} cannot be part of a chain: there is no {str(missing)!r}; a chain is made of services with a "
            "network (vireo new --onnx)"
        )
    parameters = [read_parameter(configs[0], "vireo"), read_parameter(configs[1], "condition")]
    return _Link(f"{service}_network", parameters[1] or "", json.loads(parameters[0] or "{}"))


def _description(links: Sequence[_Link]) -> dict[str, Any]:
    """What all of them allow, with the options of each."""
    descriptions = [link.description for link in links]
    properties: dict[str, Any] = {}
    for link in links:
        for option, schema in link.description["options"]["properties"].items():
            if properties.setdefault(option, schema) != schema:
                raise SettingError(
                    f"{link.network} has an option {option!r} of another meaning than a service before it; give it "
                    "another name there"
                )
    return {
        "contract": 1,
        "kind": "transformation",
        "segments": all(description["segments"] for description in descriptions),
        "lookahead_frames": sum(description["lookahead_frames"] for description in descriptions),
        "lookback_frames": sum(description["lookback_frames"] for description in descriptions),
        **{key: min(description[key] for description in descriptions) for key in _SMALLEST},
        **{key: descriptions[0][key] for key in ("picture_size",) if key in descriptions[0]},
        "revision": "",
        "options": {"type": "object", "properties": properties, "additionalProperties": False},
        "decoder": dict(ChainMap(*(description.get("decoder", {}) for description in descriptions))),
    }
