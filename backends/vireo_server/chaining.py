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
from vireo_server.network_settings import NetworkSettings
from vireo_server.services import read_parameter
from vireo_server.settings import PreprocessSettings
from vireo_server.templates import preprocess, transformation

_PLAIN = {
    "preprocess": (PreprocessSettings(), ("bits", "slots", "gives", "size", "window", "channels", "rotation")),
    "network": (NetworkSettings(), ("bits", "interface")),
}
"""What must be as it is by default, since the pictures of one network are the input of the next."""
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
    links = [_link(service.strip(), repository=repository) for service in services]
    only = next((link for link in links[1:] if link.description.get("picture_size")), None)
    if only is not None:
        raise SettingError(
            f"{only.network} takes pictures of one size alone and can only be the first of a chain; export it with "
            "free height and width"
        )
    told = [link for link in links if link.condition]
    if len(told) > 1:
        raise SettingError(
            f"{' and '.join(link.network for link in told)} are both told something beside the picture; a chain can "
            "have one such network"
        )
    condition = told[0].condition if told else ""
    text = transformation(
        name,
        _description(links),
        second="network",
        networks=[link.network for link in links],
        told=told[0].network if told else None,
    )
    return {name: text, f"{name}_preprocess": preprocess(name, second="network", condition=condition)}


def _link(service: str, *, repository: Path) -> _Link:
    # Where the frames are needed for nothing else, decode and preprocess are one stage.
    own = f"{service}_decode" if (repository / f"{service}_decode").is_dir() else f"{service}_preprocess"
    configs = [repository / model / "config.pbtxt" for model in (service, own, f"{service}_network")]
    reason = _why_not(*configs)
    if reason is not None:
        raise SettingError(
            f"{service!r} cannot be part of a chain: {reason}; a chain is made of services with a network that takes a "
            "picture and gives one (vireo new --onnx)"
        )
    parameters = [read_parameter(configs[0], "vireo"), read_parameter(configs[1], "condition")]
    return _Link(f"{service}_network", parameters[1] or "", json.loads(parameters[0] or "{}"))


def _why_not(service: Path, preprocess: Path, network: Path) -> str | None:
    """What keeps a service, by its configurations, from being part of a chain."""
    if service.is_file() and json.loads(read_parameter(service, "vireo") or "{}").get("kind") == "extraction":
        return "it gives numbers"
    missing = next((path for path in (service, preprocess, network) if not path.is_file()), None)
    if missing is not None:
        return f"there is no {str(missing)!r}"
    if 'backend: "network"' not in network.read_text(encoding="utf-8"):
        return f"{network.parent.name!r} is no network's model"
    for (stage, (default, keys)), config in zip(_PLAIN.items(), (preprocess, network), strict=True):
        for key in keys:
            value, plain = read_parameter(config, key), str(getattr(default, key))
            if value not in (None, plain):
                return f"parameter {key} of its {stage} is {value!r}, not {plain!r}"
    return None


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
