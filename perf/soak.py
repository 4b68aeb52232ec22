# SPDX-License-Identifier: MIT
"""What must hold for hours: `python -m perf.soak`, or `make soak`.

    --cases 2000     mutated packets and files (at least half must reach a decoded frame)
    --clips 500      short clips: memory, file descriptors and /dev/shm must stay flat
    --abandoned 300  callers who go away in the middle of a stream
    --minutes 10     one long video
    --kills 20       kill -9 of stages, server and client at random moments of a job

0 leaves a part out. The result is one JSON object on standard output, and in the file that --output names; the exit
code is 1 where something that must hold did not, which `failures` names.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
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
    found: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version()}
    if given.cases:
        found["fuzz"] = fuzzing.fuzz(cases=given.cases, seed=given.seed)
    if given.clips:
        found["clips"] = leaks.clips(count=given.clips)
    if given.abandoned:
        found["abandoned"] = leaks.abandoned(count=given.abandoned)
    if given.minutes:
        found["long_video"] = leaks.long_video(minutes=given.minutes)
    if given.kills:
        found["kills"] = killing.kills(count=given.kills, seed=given.seed, frames=given.frames)
    found["failures"] = failures(found)
    text = json.dumps(found, indent=2)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")
    return 1 if found["failures"] else 0


def failures(found: dict[str, Any]) -> list[str]:
    """What must hold and did not, in words."""
    failed = []
    if fuzz := found.get("fuzz"):
        if fuzz["reached_a_frame"] * 2 < fuzz["cases"]:
            failed.append(f"only {fuzz['reached_a_frame']} of {fuzz['cases']} fuzzed cases reached a decoded frame")
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
    return not kill["same_bytes"] or bool(kill["exit_code"]) or bool(kill["left_over"])


if __name__ == "__main__":
    sys.exit(main())
