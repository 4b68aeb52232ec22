# SPDX-License-Identifier: MIT
"""`vireo script`: run a script on a file, say where the time went, and do it again whenever the script is saved."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vireo_media.errors import VireoError

from vireo_server.errors import SettingError, StageError

_LOOK_SECONDS = 0.3


def script_command(
    script: Path,
    input: Path,  # noqa: A002 - the word every tool of this field uses
    output: Path | None,
    *,
    config: str = "{}",
    stream: str = "{}",
    encoder: str = "{}",
    profile: bool = False,
    watch: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Run a file through a script, as a service would.

    Args:
        script: the Python file.
        input: the video.
        output: the video to write, or a `.npz` for numbers; None: only run.
        config: JSON text for `setup`.
        stream: JSON text for `configure`.
        encoder: JSON text, the encoder's options.
        profile: call `process` with profiling=True and say where the time went.
        watch: run again when the script was saved, until Ctrl-C; the output is then overwritten.
        overwrite: replace the output if it is there.
        say: takes lines for people.

    Returns:
        The exit code: 0 done, 1 failed (standard error says why).
    """
    for name, text in (("--config", config), ("--stream", stream), ("--encoder", encoder)):
        if problem := _json_problem(text):
            print(f"vireo: script: {name} is {text!r}; allowed: a JSON object ({problem})", file=sys.stderr)
            return 1
    arguments = {"config": config, "stream": stream, "encoder": json.loads(encoder), "profile": profile}
    code = _run(script, input, output, overwrite=overwrite or watch, say=say, **arguments)
    if not watch:
        return code
    seen = _changed(script)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            say(f"watching {script}; Ctrl-C ends")
            while (now := _changed(script)) == seen:
                time.sleep(_LOOK_SECONDS)
            seen = now
            code = _run(script, input, output, overwrite=True, say=say, **arguments)
    return code


def _run(
    script: Path,
    input: Path,  # noqa: A002
    output: Path | None,
    *,
    overwrite: bool,
    say: Callable[[str], None],
    **arguments: object,
) -> int:
    from vireo_server.scripting.local import run_file

    try:
        run = run_file(script, input, output, overwrite=overwrite, **arguments)  # type: ignore[arg-type]
    except (VireoError, SettingError, StageError) as error:
        print(f"vireo: {error}", file=sys.stderr)
        return 1
    for warning in run.warnings:
        print(f"vireo: note: {warning}", file=sys.stderr)
    speed = run.frames_in / run.profile.total if run.profile.total else 0.0
    what = f"{output}: " if output is not None else ""
    say(f"{what}{run.frames_in} frames in {run.profile.total:.2f} s ({speed:.1f} frames/s)")
    if arguments["profile"]:
        say(run.profile.table(frames=run.frames_in))
    return 0


def _json_problem(text: str) -> str | None:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    return None if isinstance(value, dict) else f"it is {type(value).__name__}"


def _changed(script: Path) -> dict[Path, int]:
    """When the script and the modules beside it were written."""
    times = {}
    for path in script.absolute().parent.glob("*.py"):
        # An editor may replace a file between the listing and the look at it.
        with contextlib.suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime_ns
    return times
