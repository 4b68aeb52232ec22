# SPDX-License-Identifier: MIT
"""What the subcommands share: options in pairs, and one message with an exit code where something is wrong."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import typer

__all__ = ["errors", "fail", "read_options"]


def read_options(pairs: list[str]) -> dict[str, Any]:
    """What `--set KEY=VALUE` says. Raises typer.BadParameter."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise typer.BadParameter(f"{pair!r} is no KEY=VALUE; write for example --set crf=18", param_hint="--set")
        options[key] = value
    return options


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """The border to the user: every error of ours becomes one message and exit code 1."""
    from vireo_media.errors import VireoError

    try:
        yield
    except VireoError as error:
        fail(str(error))
    except KeyboardInterrupt as stopped:
        fail(f"stopped; {stopped}" if str(stopped) else "stopped", code=130)


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Say it and end."""
    print(f"vireo: {message}", file=sys.stderr)
    sys.exit(code)
