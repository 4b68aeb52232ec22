# SPDX-License-Identifier: MIT
"""Scripts of users as stages of services, and the same engine in a developer's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vireo_server.scripting.local import FileRun, run_file

__all__ = ["FileRun", "run_file"]


def __getattr__(name: str) -> Any:
    # libav and the pixel kernels are loaded when a file is run, not when a stage imports its engine.
    if name in __all__:
        from vireo_server.scripting import local

        return getattr(local, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
