# SPDX-License-Identifier: MIT
"""`vireo build`: TensorRT-RTX engines ahead of time, for GPUs that need not be in this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vireo_server.errors import SettingError
from vireo_server.inference import read_network_settings
from vireo_server.runtimes import NetworkFile
from vireo_server.runtimes.engine_files import engine_file, engine_key
from vireo_server.runtimes.engines import build_engine, load_library


def build_service(
    service: str, *, repository: Path, capabilities: Sequence[str], note: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """Build an engine for each network of a service, into its version folder, where the runtime looks first.

    Args:
        service: its name in the repository.
        repository: the model repository.
        capabilities: of the GPUs, as '8.9'; one engine serves all of them.
        note: is told what is being built, which may take half a minute.

    Returns:
        The files that were written.

    Raises:
        SettingError: there is no such service, it has no network, or no engine can be built.
    """
    folders = [folder for folder in sorted(repository.glob(f"{service}_*")) if _is_network(folder)]
    if not folders:
        known = sorted({path.name.rpartition("_network")[0] for path in repository.glob("*_network")})
        raise SettingError(
            f"{str(repository)!r} has no network of a service {service!r}; it has networks of "
            f"{', '.join(known) or 'none'}; name one of these, or another --repository"
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
            path.write_bytes(build_engine(model, engine, library=library, capabilities=capabilities, note=note))
            written.append(path)
    return written


def build_command(
    service: str, *, repository: Path, compute_capability: str, say: Callable[[str], None] = print
) -> int:
    """`vireo build`: see `build_service`. Returns the exit code."""
    capabilities = [part.strip() for part in compute_capability.split(",") if part.strip()]
    try:
        if not capabilities:
            raise SettingError("--compute-capability is empty; give one or more, as in 8.9,12.0")
        written = build_service(service, repository=repository, capabilities=capabilities, note=say)
    except (SettingError, OSError) as error:
        print(f"vireo: build: {error}", file=sys.stderr)
        return 1
    for path in written:
        say(f"wrote {path.name} ({path.stat().st_size / 1e6:.1f} MB)")
    say("networks with runtime auto or tensorrt_rtx load it on such a GPU instead of building one")
    return 0


def _is_network(folder: Path) -> bool:
    config = folder / "config.pbtxt"
    return config.is_file() and 'backend: "network"' in config.read_text(encoding="utf-8")
