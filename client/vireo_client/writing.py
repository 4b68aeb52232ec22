# SPDX-License-Identifier: MIT
"""What `vireo run` does where a service gives numbers: into a file that appears when it is whole, or to the screen."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from vireo_media.addresses import is_address
from vireo_media.errors import OutputError, OutputExistsError
from vireo_media.results import ResultFormat, result_format, write_results

from vireo_client.client import Client
from vireo_client.progress import ProgressCallback

__all__ = ["wants_numbers", "write_numbers"]


def wants_numbers(output: str, *, format: str | None) -> bool:
    """Whether an output's name, or a format, asks for numbers."""
    return format is not None or output == "-" or output.rpartition(".")[2].lower() in get_args(ResultFormat)


def write_numbers(
    client: Client,
    service: str,
    input: str,  # noqa: A002 - as in Client.run
    output: str,
    *,
    format: str | None,
    options: Mapping[str, Any],
    version: int | None,
    overwrite: bool,
    progress: ProgressCallback | None,
    request_id: str | None,
) -> tuple[str, ...]:
    """Run a video through an extraction and write what it found; gives the notes for people. Raises VireoError."""
    chosen = result_format(output, wanted=format)
    if output != "-":
        _check(output, input, overwrite=overwrite)
    extraction = client.extract(
        service, input, options=options, version=version, progress=progress, request_id=request_id
    )
    text = write_results(extraction, chosen)
    if output == "-":
        sys.stdout.write(text)
        return extraction.warnings
    path = Path(output)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"writing {output!r} failed: {error.strerror or error}; check that folder, its permissions and its disk"
        ) from error
    return extraction.warnings


def _check(output: str, source: str, *, overwrite: bool) -> None:
    """Refuse, before a byte is sent, what could not be written."""
    if is_address(output):
        raise OutputError(f"output {output!r}: numbers are written to a file or to standard output; name one, or -")
    path = Path(output)
    if not path.parent.is_dir():
        raise OutputError(
            f"output {output!r}: there is no folder {str(path.parent)!r}; make it, or choose another name"
        )
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise OutputError(f"output {output!r} is the input itself; choose another name")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"output {output!r} is there already; choose another name or allow overwriting it")
