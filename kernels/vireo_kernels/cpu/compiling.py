# SPDX-License-Identifier: MIT
"""How the CPU kernels are compiled: without the GIL, in the calling thread, kept in numba's cache."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

log = logging.getLogger(__name__)


@cache
def sources_stamp() -> str:
    """A digest of every source a kernel may take a function or a number from."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("*.py"), *package.glob("cpu/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _warn_once(reason: str) -> None:
    log.warning("kernels are compiled anew in each process, which takes about half a minute: %s", reason)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call with each kind of arguments.

    # Note [Why the cache is stamped by all sources]
    # numba looks only at the file of a function to see whether its cached code is out of date, while the code holds
    # what it calls and the numbers it uses from other files too. An update of one file would go on running the old
    # kernels.
    """
    try:
        kernel = njit(nogil=True, cache=True)(function)
    except RuntimeError as error:  # neither the package's folder nor the user's can be written to
        _warn_once(str(error))
        return njit(nogil=True)(function)
    kernel._cache._cache_file._source_stamp = sources_stamp()
    return kernel
