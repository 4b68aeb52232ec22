# SPDX-License-Identifier: MIT
"""Files in, files out: the client of Vireo's services and its command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vireo_media.errors import VireoError

    from vireo_client.client import Client, RunResult
    from vireo_client.running import Patience

__all__ = ["Client", "Patience", "RunResult", "VireoError"]


def __getattr__(name: str) -> Any:
    # Late, so that `vireo --help` and `vireo serve` need neither PyAV nor gRPC.
    if name in ("Client", "RunResult"):
        from vireo_client import client

        return getattr(client, name)
    if name == "Patience":
        from vireo_client.running import Patience

        return Patience
    if name == "VireoError":
        from vireo_media.errors import VireoError

        return VireoError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
