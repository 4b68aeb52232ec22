# SPDX-License-Identifier: MIT
"""What must hold for hours: `python -m perf.soak`, or `make soak`.

    --cases 2000     mutated packets and files (at least half must reach a decoded frame)
    --clips 500      short clips: memory, file descriptors and /dev/shm must stay flat
    --abandoned 300  callers who go away in the middle of a stream
    --minutes 10     one long video
    --kills 20       kill -9 of stages, server and client at random moments of a job

0 leaves a part out. The result is one JSON object on standard output, and in the file that --output names, which grows
part by part: with the same command again, parts that are in it are not done again. The exit code is 1 where something
that must hold did not, which `failures` names.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from perf import fuzzing, killing, leaks

_GROWTH = 1.10
_GROWTH_MB = 24


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that were asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="perf.soak", description=__doc__.partition("\n")[0] if __doc__ else None)
    for name, default in (("cases", 2000), ("clips", 500), ("abandoned", 300), ("kills", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--frames", type=int, default=1500, help="of the clip that is being worked on at each kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    parts: dict[str, tuple[float, Callable[[], dict[str, Any]]]] = {
        "fuzz": (given.cases, partial(fuzzing.fuzz, cases=given.cases, seed=given.seed)),
        "clips": (given.clips, partial(leaks.clips, count=given.clips)),
        "abandoned": (given.abandoned, partial(leaks.abandoned, count=given.abandoned)),
        "long_video": (given.minutes, partial(leaks.long_video, minutes=given.minutes)),
        "kills": (given.kills, partial(killing.kills, count=given.kills, seed=given.seed, frames=given.frames)),
    }
    found = _before(given.output) | {"machine": platform.machine(), "python": platform.python_version()}
    for name, (amount, run) in parts.items():
        asked = {"seed": given.seed, "amount": amount, "frames": given.frames if name == "kills" else None}
        if not amount or found.get(name, {}).get("asked") == asked:
            continue
        found[name] = {"asked": asked} | run()
        found["failures"] = failures(found)
        if given.output is not None:
            given.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    found["failures"] = failures(found)
    print(json.dumps(found, indent=2))
    return 1 if found["failures"] else 0


def _before(output: Path | None) -> dict[str, Any]:
    """What a run that was broken off had found."""
    if output is None or not output.exists():
        return {}
    values: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return values


def failures(found: dict[str, Any]) -> list[str]:
    """What must hold and did not, in words."""
    failed = []
    if fuzz := found.get("fuzz"):
        if fuzz["reached_a_frame"] * 2 < fuzz["cases"]:
            failed.append(f"only {fuzz['reached_a_frame']} of {fuzz['cases']} fuzzed cases reached a decoded frame")
        if fuzz["open_streams_at_the_end"]:
            failed.append(f"{fuzz['open_streams_at_the_end']} streams of fuzzed cases were never freed")
        if fuzz["hangs"] or fuzz["given_up"]:
            failed.append(f"{fuzz['hangs']} fuzzed cases hung; given up: {fuzz['given_up']}")
    if clips := found.get("clips"):
        before, after = clips["after_a_fifth"], clips["at_the_end"]
        if after["resident_mb"] > before["resident_mb"] * _GROWTH + _GROWTH_MB:
            failed.append(f"memory grew from {before['resident_mb']} to {after['resident_mb']} MB")
        for name in ("shared_mb", "open_streams"):
            if after[name] > before[name]:
                failed.append(f"{name} grew from {before[name]} to {after[name]}")
        if after["file_descriptors"] > before["file_descriptors"] + 8:
            failed.append(f"descriptors grew from {before['file_descriptors']} to {after['file_descriptors']}")
    if (abandoned := found.get("abandoned")) and abandoned["left_open"]:
        failed.append(f"{abandoned['left_open']} abandoned streams were never freed")
    if (video := found.get("long_video")) and video["frames"] != video["frames_out"]:
        failed.append(f"{video['frames_out']} of {video['frames']} frames of the long video came back")
    if kills := found.get("kills"):
        failed += [f"kill of {kill['victim']} at {kill['moment']} s: {kill}" for kill in kills["each"] if _bad(kill)]
    return failed


def _bad(kill: dict[str, Any]) -> bool:
    return not kill["same_bytes"] or kill["exit_code"] != 0 or bool(kill["left_over"])


if __name__ == "__main__":
    sys.exit(main())
