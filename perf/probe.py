# SPDX-License-Identifier: MIT
# mypy: ignore-errors
"""Watches a stage from inside its process. `frame_profile` puts this text behind each door's `model.py`.

It writes a line of JSON for each answered request to the folder that VIREO_PERF_PROBE names. Times are nanoseconds of
CLOCK_MONOTONIC, one clock for all processes of a machine.
"""

import json
import os
import threading
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path

from vireo_server import sequences, wire

#: What is timed inside a stage's work: (module, object within it, name in the profile).
_PARTS = (
    ("vireo_server.decoding", "Decoder.decode", "libav decodes"),
    ("vireo_server.decoding", "Decoder.flush", "libav decodes"),
    ("vireo_server.decoding", "write_row", "copy into FRAMES"),
    ("vireo_server.pictures", "frames_to_rgb", "YUV to RGB"),
    ("vireo_server.runtimes.openvino", "OpenVINO._infer", "network (all threads together)"),
    ("vireo_server.encoding", "rgb_to_frames", "RGB to YUV"),
    ("vireo_server.encoding", "Encoder.encode", "libav encodes"),
    ("vireo_server.encoding", "Encoder.finish", "libav encodes"),
)


class _Probe:
    """The measurements of this process."""

    def __init__(self, folder):
        self._file = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1)
        self._lock = threading.Lock()
        self._parts = defaultdict(int)
        self._numbers = defaultdict(int)

    def timed(self, function, name):
        """`function`, its time added up under `name`."""

        def run(*arguments, **keywords):
            started = time.monotonic_ns()
            try:
                return function(*arguments, **keywords)
            finally:
                with self._lock:
                    self._parts[name] += time.monotonic_ns() - started

        return run

    def arriving(self, init):
        """`Request.__init__`: Triton hands a request over."""

        def run(request, raw, *, stage):
            request.times = {"arrived": time.monotonic_ns()}
            init(request, raw, stage=stage)
            with self._lock:
                request.times |= {"stage": stage, "stream": request.stream, "number": self._numbers[request.stream]}
                self._numbers[request.stream] = 0 if request.end else self._numbers[request.stream] + 1

        return run

    def working(self, step):
        """`_Stream._step`: the stage's own work; what is not a stream's stage begins as it arrives."""

        def run(stream, request):
            request.times["begun"] = time.monotonic_ns()
            try:
                return step(stream, request)
            finally:
                request.times["ended"] = time.monotonic_ns()

        return run

    def answering(self, answer):
        """`Request.answer`: the outputs go into shared memory."""

        def run(request, tensors):
            times, started = request.times, time.monotonic_ns()
            answer(request, tensors)
            times |= {"answering": started, "answered": time.monotonic_ns()}
            times.setdefault("begun", times["arrived"])
            times.setdefault("ended", started)
            times["bytes"] = {name: value.nbytes for name, value in tensors.items() if hasattr(value, "nbytes")}
            with self._lock:
                times["parts"], self._parts = dict(self._parts), defaultdict(int)
                self._file.write(json.dumps(times) + "\n")

        return run


def _install(folder):
    probe = _Probe(folder)
    for module, path, name in _PARTS:
        *outer, last = path.split(".")
        owner = import_module(module)
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, last, probe.timed(getattr(owner, last), name))
    wire.Request.__init__ = probe.arriving(wire.Request.__init__)
    wire.Request.answer = probe.answering(wire.Request.answer)
    sequences._Stream._step = probe.working(sequences._Stream._step)


_install(Path(os.environ["VIREO_PERF_PROBE"]))
