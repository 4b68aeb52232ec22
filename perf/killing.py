# SPDX-License-Identifier: MIT
"""kill -9 at seeded random moments: whatever dies, the job ends well, with the bytes of an undisturbed run."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vireo_media.testing import numbered_clip

from perf.serving import VIREO, ServeProcess

VICTIMS = ("decode", "server", "client", "encode", "passthrough_network", "passthrough_preprocess")
_MOST_SECONDS = 180.0


def kills(*, count: int, seed: int, frames: int) -> dict[str, Any]:
    """Kill `count` times, each victim in its turn, each in a run of its own; what happened, as JSON's values."""
    rng = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbered_clip(folder / "in.mp4", frames=frames, gop=25, size=(320, 180), options={"preset": "ultrafast"})
        with ServeProcess() as serve:
            # The first run warms up, the second is measured and compared with.
            _run(serve, folder, "warm.mp4").wait(timeout=_MOST_SECONDS)
            start = time.monotonic()
            code = _run(serve, folder, "expected.mp4").wait(timeout=_MOST_SECONDS)
            span = time.monotonic() - start
            if code:
                raise RuntimeError(f"the undisturbed run ended with code {code}; look at what it said")
            expected = (folder / "expected.mp4").read_bytes()
            done = [_kill(serve, folder, expected, VICTIMS[i % len(VICTIMS)], rng, span, i) for i in range(count)]
    return {
        "kills": count,
        "seed": seed,
        "undisturbed_seconds": round(span, 2),
        "same_bytes": sum(kill["same_bytes"] for kill in done),
        "during_the_run": sum(kill["during_the_run"] for kill in done),
        "slowest_seconds": max((kill["seconds"] for kill in done), default=0.0),
        "each": done,
        "seconds": round(time.monotonic() - began, 1),
    }


def _kill(
    serve: ServeProcess, folder: Path, expected: bytes, victim: str, rng: random.Random, span: float, number: int
) -> dict[str, Any]:
    output = folder / f"out{number}.mp4"
    moment = rng.uniform(0, span)
    start = time.monotonic()
    process = _run(serve, folder, output.name)
    time.sleep(moment)
    during = process.poll() is None
    if victim == "client":
        process.kill()
        process.wait()
    elif victim == "server":
        serve.kill()
        serve.start()
    else:
        serve.kill_stage(victim)
    code = _wait(process)
    tries = 1
    if victim == "client" and during and output.exists():
        # Killed between the last two things it does: the output is written, its journal still there.
        during, code = False, 0
        shutil.rmtree(folder / f"{output.name}.vireo", ignore_errors=True)
    # A client that had not begun when the server went says so at once, and is started again by whoever started it.
    if during and (victim == "client" or (victim == "server" and code == 1 and moment < 1)):
        serve.wait_until_ready()
        tries += 1
        code = _wait(_run(serve, folder, output.name))
    seconds = time.monotonic() - start
    serve.wait_until_ready()
    same = output.is_file() and output.read_bytes() == expected
    left = [path.name for path in folder.glob(f"*{output.name}.*")]
    output.unlink(missing_ok=True)
    record = {
        "victim": victim,
        "moment": round(moment, 2),
        "during_the_run": during,
        "seconds": round(seconds, 2),
        "runs": tries,
        "exit_code": code,
        "same_bytes": same,
        "left_over": left,
        "log": serve.new_deaths(),
    }
    print(json.dumps(record), file=sys.stderr, flush=True)
    return record


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code; None where the run hung."""
    try:
        return process.wait(timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _run(serve: ServeProcess, folder: Path, output: str) -> subprocess.Popen[bytes]:
    arguments = ["run", "passthrough", "in.mp4", output, "--url", serve.grpc_url, "--quiet", "--set", "preset=medium"]
    return subprocess.Popen([*VIREO, *arguments], cwd=folder)
