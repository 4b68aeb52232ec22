# SPDX-License-Identifier: MIT
"""`vireo build`: TensorRT-RTX engines ahead of time, for GPUs that need not be in this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vireo_server.errors import SettingError
from vireo_server.inference import read_network_settings
from vireo_server.launching.errors import LaunchError
from vireo_server.launching.repository import read_repository
from vireo_server.locations import find_locations
from vireo_server.runtimes import NetworkFile
from vireo_server.runtimes.engine_files import engine_file, engine_key
from vireo_server.runtimes.engines import build_engine, load_library, replace_file


def build_service(
    service: str, *, repository: Path, capabilities: Sequence[str], note: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """Build an engine for each network of a service, into its version folder, where the runtime looks first; those that
    it shares with other services too.

    Args:
        service: its name in the repository.
        repository: the model repository.
        capabilities: of the GPUs, as '8.9'; one engine serves all of them.
        note: is told what is being built, which may take half a minute.

    Returns:
        The files that were written.

    Raises:
        SettingError: there is no such service, it has no network, or no engine can be built.
        LaunchError: there is no such repository.
    """
    networks = _networks(repository)
    folders = networks.get(service, [])
    if not folders:
        raise SettingError(
            f"{str(repository)!r} has no network of a service {service!r}; it has networks of "
            f"{', '.join(networks) or 'none'}; name one of these, or another --repository"
        )
    library = load_library("tensorrt_rtx")
    for capability in capabilities:
        library.target(capability)
    written = []
    for folder in folders:
        settings = read_network_settings(folder / "config.pbtxt")
        for version in sorted(path for path in folder.iterdir() if path.name.isdecimal()):
            network = NetworkFile(
                version / settings.file, 1, settings.bits, settings.interface, settings.convention, settings.engine
            )
            model, engine, _ = network.prepared(library.name)
            path = engine_file(version, engine_key(model, engine, library=library), capabilities)
            note(f"building {path}")
            replace_file(path, build_engine(model, engine, library=library, capabilities=capabilities, note=note))
            written.append(path)
    return written


def build_command(
    service: str, *, repository: Path | None, compute_capability: str, say: Callable[[str], None] = print
) -> int:
    """`vireo build`: see `build_service`; the shipped repository if it is None. Returns the exit code."""
    capabilities = [part.strip() for part in compute_capability.split(",") if part.strip()]
    try:
        if not capabilities:
            raise SettingError("--compute-capability is empty; give one or more, as in 8.9,12.0")
        repository = repository or find_locations().model_repository
        written = build_service(service, repository=repository, capabilities=capabilities, note=say)
    except (SettingError, LaunchError, OSError) as error:
        print(f"vireo: build: {error}", file=sys.stderr)
        return 1
    for path in written:
        say(f"wrote {path.name} ({path.stat().st_size / 1e6:.1f} MB)")
    say("networks with runtime auto or tensorrt_rtx load it on such a GPU instead of building one")
    return 0


def _networks(repository: Path) -> dict[str, list[Path]]:
    """The folders of each service's networks, for services that have any."""
    found = read_repository(repository)
    steps = {
        service: [found.folder / step for step in found.steps_by_ensemble.get(service, ())]
        for service in found.services
    }
    networks = {service: [folder for folder in folders if _is_network(folder)] for service, folders in steps.items()}
    return {service: folders for service, folders in networks.items() if folders}


def _is_network(folder: Path) -> bool:
    config = folder / "config.pbtxt"
    return config.is_file() and 'backend: "network"' in config.read_text(encoding="utf-8")
