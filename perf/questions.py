# SPDX-License-Identifier: MIT
"""Questions to a machine, each asked in a process of its own, answered as JSON.

A question is a function of a program here that returns what it found. One that crashes or hangs takes nothing with it:
each is answered with numbers, or with why it could not be run ("not_run"), or with how it failed ("failed"). The file
is written after each answer, so what is known is kept however the program ends. The exit code is 0 when all were asked,
whatever the answers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.machine import describe_commit, describe_machine

Answer = dict[str, Any]

_MARK = "vireo-answer: "
_LEAST_SECONDS = 1.0
_PACKAGES = re.compile(
    r"vireo|av|numpy|numba|torch|openvino|cupy.*|tensorrt.*|onnxruntime.*|nvidia[-_](pytriton|cuda.*)"
)


class NotRunError(Exception):
    """A question that this machine cannot answer, and why."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that asks: `name` of its module, `about` for its help, `questions` by name, `seconds` for each."""

    name: str
    about: str
    questions: Mapping[str, Callable[[], Answer]]
    seconds: float = 240

    def main(self, default: Callable[[Answer], Path | None] = lambda found: None) -> int:
        """Ask, print, write; to what `default` says where no file is named. Returns the exit code."""
        parser = argparse.ArgumentParser(description=self.about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--json", type=Path, help="write the answers here")
        parser.add_argument("--only", choices=self.questions, action="append", help="ask only this; repeatable")
        parser.add_argument(
            "--within", type=float, default=math.inf, metavar="SECONDS", help="what is not asked by then is left out"
        )
        parser.add_argument("--child", choices=self.questions, help=argparse.SUPPRESS)
        arguments = parser.parse_args()
        if arguments.child:
            print(_MARK + json.dumps(self._answer(arguments.child)), flush=True)
            return 0
        end = time.monotonic() + arguments.within
        found: Answer = {"machine": machine()}
        target = arguments.json or default(found)
        for name in arguments.only or self.questions:
            found[name] = self._ask(name, seconds=min(self.seconds, end - time.monotonic()))
            print(f"{name}: {json.dumps(found[name])}", flush=True)
            if target:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        unanswered = [name for name, one in found.items() if "not_run" in one or "failed" in one]
        print(f"not answered: {', '.join(unanswered) or 'none'}")
        return 0

    def _ask(self, name: str, *, seconds: float) -> Answer:
        """The answer of a question, from a process of its own, which is ended with all that it started."""
        if seconds < _LEAST_SECONDS:
            return {"not_run": "no time was left (--within)"}
        began = time.monotonic()
        command = [sys.executable, "-m", self.name, "--child", name]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return {"failed": f"no answer within {seconds:.3g} s"}
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            errors.seek(0)
            lines = [line for line in output if line.startswith(_MARK)]
            said = errors.read().strip()[-400:]
        if not lines:
            return {"failed": f"ended with code {process.returncode}: {said}"}
        return {**json.loads(lines[-1].removeprefix(_MARK)), "seconds": round(time.monotonic() - began, 1)}

    def _answer(self, name: str) -> Answer:
        """The answer of a question, in this process."""
        try:
            return {"answer": self.questions[name]()}
        except NotRunError as error:
            return {"not_run": str(error)}
        except ModuleNotFoundError as error:
            return {"not_run": f"{error.name} is not installed"}
        except Exception as error:  # noqa: BLE001 - whatever a part of the path raises is the answer
            return {"failed": f"{type(error).__name__}: {error}", "where": traceback.format_exc().splitlines()[-4:]}


def machine() -> Answer:
    """The GPUs by `nvidia-smi`, the driver, cores, and the versions of what takes part."""
    fields = "name,driver_version,compute_cap,memory.total,pcie.link.gen.max,pcie.link.width.max"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        names = fields.split(",")
        gpus = [dict(zip(names, line.split(", "), strict=True)) for line in done.stdout.splitlines()]
        seen: Answer = {"gpus": gpus}
    except (OSError, subprocess.SubprocessError) as error:
        seen = {"gpus": [], "why": f"nvidia-smi: {error}"}
    found = {str(one.metadata["Name"]).lower(): one.version for one in importlib.metadata.distributions()}
    versions = {"python": platform.python_version()}
    versions |= {name: found[name] for name in sorted(found) if _PACKAGES.fullmatch(name)}
    return {**seen, **describe_machine(), "commit": describe_commit(), "versions": versions}
