# SPDX-License-Identifier: MIT
"""Where each millisecond of a frame goes, and each copy: per stage, and per border between two stages.

    python -m perf.frame_profile --picture profile.png

One stream sends one chunk at a time, so that nothing overlaps and a chunk's way from request to reply falls apart into
work and borders without a rest. A border is everything between the end of one stage's work and the start of the next:

- *hand-over*: the outputs are copied into the stage's shared memory and the reply is sent;
- *Triton*: copies them out of there, schedules the next step, copies them into its shared memory, wakes its process;
- *waking*: the next stage's process has the request, its worker thread begins.

A second part looks at four streams at full load: processor time a frame by process, against one process that does
everything. What `tritonserver` itself uses there is border, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vireo_server.launching import RunningServer, running_server
from vireo_server.locations import find_locations

from perf.clips import NETWORK, Clip, full_hd_clip, sample_clip
from perf.ladder.pipelined import Pipelined
from perf.load import StreamRun, run_streams
from perf.measure import Measurement, Measurements
from perf.passthrough import plain
from perf.processes import watched

STAGES = ("decode", "preprocess", "network", "encode")
"""In the order of the way. A service whose decode stage preprocesses too has no stage of its own for that."""
_PROBE = Path(__file__).with_name("probe.py")
_VARIABLE = "VIREO_PERF_PROBE"

Kind = Literal["work", "border"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A part of a frame's way.

    Attributes:
        where: a stage, or two with an arrow between them.
        what: what happens.
        kind: a stage's work, or a border.
        milliseconds: a frame.
        megabytes: that change hands there, a frame; 0 where nothing is copied.
    """

    where: str
    what: str
    kind: Kind
    milliseconds: float
    megabytes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Of one service: the steps of a frame, parts of the stages' work, and processor time.

    Attributes:
        steps: in the order of the way; together they are the time from request to reply.
        parts: of the stages' work: (stage, what, milliseconds a frame).
        cpu: milliseconds of processor time a frame at full load, by process.
        cpu_in_process: the same for one process that does everything.
    """

    service: str
    steps: tuple[Step, ...]
    parts: tuple[tuple[str, str, float], ...]
    cpu: dict[str, float]
    cpu_in_process: float | None

    @property
    def milliseconds(self) -> float:
        """A frame's whole way."""
        return sum(step.milliseconds for step in self.steps)

    @property
    def border_share(self) -> float:
        """How much of it is borders."""
        return sum(step.milliseconds for step in self.steps if step.kind == "border") / self.milliseconds

    def to_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Profile:
        """What `to_json` gave."""
        steps = tuple(Step(**step) for step in value["steps"])
        return cls(**{**value, "steps": steps, "parts": tuple(map(tuple, value["parts"]))})

    def measurements(self) -> Measurements:
        """What can be compared with another run."""
        of_service = f"profile.{self.service}"
        found = {
            f"{of_service}.border_share": Measurement(values=(self.border_share,), unit="ratio", better="lower"),
            f"{of_service}.cpu": Measurement(values=(sum(self.cpu.values()),), unit="ms", better="lower"),
        }
        if self.cpu_in_process is not None:
            over = sum(self.cpu.values()) / self.cpu_in_process
            found[f"{of_service}.cpu/in_process"] = Measurement(values=(over,), unit="ratio", better="lower")
        return found

    def table(self) -> str:
        """As text for people."""
        lines = [f"{self.service}: {self.milliseconds:.1f} ms a frame, borders {100 * self.border_share:.1f} %", ""]
        lines += [f"{'where':24} {'what':34} {'ms/frame':>9} {'MB/frame':>9}"]
        for step in self.steps:
            size = f"{step.megabytes:9.2f}" if step.megabytes else ""
            lines.append(f"{step.where:24} {step.what:34} {step.milliseconds:9.2f} {size}".rstrip())
            if step.kind == "work":
                lines += [f"{'':24}   {what:32} {ms:9.2f}" for stage, what, ms in self.parts if stage == step.where]
        lines += ["", "processor time at full load, ms a frame: " + _listed(self.cpu)]
        if self.cpu_in_process is not None:
            total = sum(self.cpu.values())
            lines.append(f"  together {total:.1f}; one process that does everything: {self.cpu_in_process:.1f}")
        return "\n".join(lines)


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


def profile(service: str, clip: Clip, *, chunk: int = 8, streams: int = 4) -> Profile:
    """Start a server whose stages are watched, send `clip` through `service`, and say where its time went."""
    with tempfile.TemporaryDirectory() as folder, probed_server(service, Path(folder)) as server:
        run_streams(server.grpc_url, service, clip.first(16), chunk=chunk)
        _forget(Path(folder))
        load = run_streams(server.grpc_url, service, clip, chunk=chunk, window=1)
        steps, parts = _read(Path(folder), load.streams[0], chunk=chunk)
        with watched(server) as usage:
            full = run_streams(server.grpc_url, service, clip, streams=streams)
    cpu = {name.removeprefix(f"{service}_"): 1000 * used / full.frames for name, used in sorted(usage.cpu.items())}
    return Profile(service=service, steps=steps, parts=parts, cpu=cpu, cpu_in_process=_cpu_in_process(service, clip))


@contextmanager
def probed_server(service: str, folder: Path) -> Iterator[RunningServer]:
    """A server whose doors watch themselves and write into `folder`."""
    doors = folder / "doors"
    for door in find_locations().doors.glob("*/model.py"):
        (doors / door.parent.name).mkdir(parents=True)
        text = door.read_text(encoding="utf-8") + "\n\n" + _PROBE.read_text(encoding="utf-8")
        (doors / door.parent.name / "model.py").write_text(text, encoding="utf-8")
    os.environ[_VARIABLE] = str(folder)
    try:
        with running_server(services=[service], doors=doors) as server:
            yield server
    finally:
        del os.environ[_VARIABLE]


def _forget(folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        os.truncate(path, 0)


def _read(folder: Path, run: StreamRun, *, chunk: int) -> tuple[tuple[Step, ...], tuple[tuple[str, str, float], ...]]:
    """The median over all full chunks but the first, which opens the codecs."""
    visits: dict[tuple[str, int], dict[str, Any]] = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            visit = json.loads(line)
            visits[visit["stage"], visit["number"]] = visit
    stages = [stage for stage in STAGES if (stage, 0) in visits]
    whole = [number for number, packets in enumerate(run.packets) if packets == chunk and number > 0]
    chunks = [
        _steps_of([visits[stage, number] for stage in stages], sent=run.sent[number], received=run.received[number])
        for number in whole
    ]
    steps = tuple(
        Step(
            where=same[0].where,
            what=same[0].what,
            kind=same[0].kind,
            milliseconds=statistics.median(step.milliseconds for step in same) / chunk,
            megabytes=statistics.median(step.megabytes for step in same) / chunk,
        )
        for same in zip(*chunks, strict=True)
    )
    parts = []
    for stage in stages:
        for name in dict.fromkeys(name for number in whole for name in visits[stage, number]["parts"]):
            times = [visits[stage, number]["parts"].get(name, 0) for number in whole]
            parts.append((stage, name, statistics.median(times) / 1e6 / chunk))
    return steps, tuple(parts)


def _steps_of(visits: Sequence[dict[str, Any]], *, sent: float, received: float) -> list[Step]:
    """One chunk's way, in milliseconds and megabytes of the whole chunk."""
    steps = [_border("client -> decode", "gRPC, Triton", 1e9 * sent, visits[0]["arrived"])]
    for here, then in zip(visits, [*visits[1:], None], strict=True):
        steps.append(_border(steps[-1].where, "waking", here["arrived"], here["begun"]))
        steps.append(_step(here["stage"], "work", "work", here["begun"], here["ended"]))
        where = f"{here['stage']} -> {then['stage'] if then else 'client'}"
        megabytes = sum(here["bytes"].values()) / 1e6
        end = then["arrived"] if then else 1e9 * received
        # The next stage may have it before the sender is back.
        answered = min(here["answered"], end)
        steps.append(_border(where, "hand-over", here["ended"], answered, megabytes))
        steps.append(_border(where, "Triton" if then else "Triton, gRPC", answered, end, megabytes))
    return steps


def _border(where: str, what: str, begin: float, end: float, megabytes: float = 0.0) -> Step:
    return _step(where, what, "border", begin, end, megabytes)


def _step(where: str, what: str, kind: Kind, begin: float, end: float, megabytes: float = 0.0) -> Step:
    return Step(where=where, what=what, kind=kind, milliseconds=(end - begin) / 1e6, megabytes=megabytes)


def _cpu_in_process(service: str, clip: Clip) -> float | None:
    """Milliseconds of processor time a frame where one process does it: the ladder's rung (d), or plain PyAV."""
    run: Callable[[Clip], object]
    if service == "super_resolution":
        run = Pipelined(clip, network=NETWORK).run
    elif service == "passthrough":
        run = plain
    else:
        return None
    run(clip.first(16))
    started = time.process_time()
    run(clip)
    return 1000 * (time.process_time() - started) / clip.frames


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description="Where each millisecond of a frame goes.")
    parser.add_argument("--service", default="super_resolution")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--full-hd", action="store_true", help="1920x1080 instead of the sample's 640x360")
    parser.add_argument("--picture", type=Path, help="a PNG to draw")
    options = parser.parse_args()
    clip = full_hd_clip() if options.full_hd else sample_clip()
    found = profile(options.service, clip.first(options.frames), chunk=options.chunk)
    print(found.table())
    if options.picture:
        from perf.plots import draw_profile

        draw_profile(found, options.picture)


if __name__ == "__main__":
    main()
