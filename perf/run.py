# SPDX-License-Identifier: MIT
"""Everything, one after the other: `python -m perf.run`.

Writes perf/results/<date>-<machine>.json with plots beside it, and the README's table where the README has markers for
it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vireo_server.launching import running_server

from perf import analyzer, extraction, frame_profile, latency, memory, passthrough, plots
from perf.clips import Clip, full_hd_clip, live_clip, sample_clip, saved, tiny_clip
from perf.ladder import rungs
from perf.machine import RESULTS, ROOT
from perf.measure import say
from perf.results import Results, new_results
from perf.table import BEGIN, table, written_into

_BUSY = 0.25


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of each part is measured: frames of a stream, rounds, and so on."""

    ladder: Callable[[], Clip] = sample_clip
    ladder_frames: int
    ladder_rounds: int
    streams: tuple[int, ...] = (1, 2, 4, 8)
    large: Callable[[], Clip] = full_hd_clip
    passthrough_frames: int
    passthrough_rounds: int
    presets: tuple[str, ...] = passthrough.PRESETS
    memory_frames: int
    memory_streams: tuple[int, ...] = (1, 2, 4)
    client_frames: int = 1500
    live: Callable[[], Clip] = live_clip
    latency_frames: int
    latency_rounds: int
    start_rounds: int
    profile_frames: int
    profiled: tuple[str, ...] = ("super_resolution", "passthrough")
    analyzer_frames: int
    analyzed: tuple[str, ...] | None = None
    concurrencies: tuple[int, ...] = (1, 2, 4)
    chunks: tuple[int, ...] = (1, 4, 8)
    analyzer_requests: int
    short_clips: int
    short_clip_rounds: int
    short_clip_frames: int = 100
    short_clip_size: tuple[int, int] = (1280, 720)
    short_clip_samples: tuple[str, ...] = extraction.SAMPLES


PLANS = {
    "quick": Plan(
        ladder_frames=100, ladder_rounds=3, passthrough_frames=75, passthrough_rounds=5, memory_frames=50,
        latency_frames=50, latency_rounds=3, start_rounds=3, profile_frames=100, analyzer_frames=48,
        analyzed=("super_resolution", "passthrough", "grade"), concurrencies=(1, 4), analyzer_requests=12,
        short_clips=16, short_clip_rounds=3,
    ),
    "full": Plan(
        ladder_frames=250, ladder_rounds=7, passthrough_frames=150, passthrough_rounds=7, memory_frames=100,
        memory_streams=(1, 2, 4, 8), latency_frames=100, latency_rounds=7, start_rounds=5, profile_frames=250,
        analyzer_frames=96, concurrencies=(1, 2, 4, 8), analyzer_requests=48,
        short_clips=100, short_clip_rounds=5,
    ),
    # For tests: every program once, on next to nothing.
    "tiny": Plan(
        ladder=tiny_clip, ladder_frames=16, ladder_rounds=1, streams=(1, 2), large=tiny_clip, passthrough_frames=16,
        passthrough_rounds=1, presets=("ultrafast",), memory_frames=8, memory_streams=(1, 2), client_frames=24,
        live=tiny_clip,
        latency_frames=24, latency_rounds=1, start_rounds=1, profile_frames=48, profiled=("super_resolution",),
        analyzed=("super_resolution",), analyzer_frames=16, concurrencies=(2,), chunks=(8,), analyzer_requests=4,
        short_clips=2, short_clip_rounds=1, short_clip_frames=20, short_clip_size=(160, 96),
        short_clip_samples=("key",),
    ),
}  # fmt: skip

PARTS = ("ladder", "latency", "passthrough", "memory", "start", "profile", "analyzer", "extraction")


def run(results: Results, *, parts: tuple[str, ...] = PARTS) -> None:
    """Measure these parts, as much of each as the mode says, and add what came to the results."""
    plan = PLANS[results.mode]
    if results.load > _BUSY:
        say(f"other programs keep this machine {100 * results.load:.0f} % busy; the figures will say little")
    began = time.monotonic()

    def begins(part: str) -> bool:
        if part in parts:
            say(f"{time.monotonic() - began:4.0f} s  {part}")
        return part in parts

    if {"ladder", "latency", "analyzer"} & set(parts):
        with running_server(services=plan.analyzed) as server:
            if begins("ladder"):
                results.measurements |= rungs.measure(
                    server,
                    plan.ladder(),
                    frames=plan.ladder_frames,
                    rounds=plan.ladder_rounds,
                    streams=plan.streams,
                )
            if begins("latency"):
                clip = plan.live().first(plan.latency_frames)
                results.measurements |= latency.measure_streams(server.grpc_url, clip, rounds=plan.latency_rounds)
            if begins("analyzer"):
                clip = saved(plan.ladder().first(plan.analyzer_frames))
                results.analyzer = analyzer.sweep(
                    server.grpc_url,
                    clip,
                    concurrencies=plan.concurrencies,
                    chunks=plan.chunks,
                    count=plan.analyzer_requests,
                    services=plan.analyzed,
                )
    if {"memory", "passthrough"} & set(parts):
        with running_server(services=["passthrough"]) as server:
            large = plan.large()
            # Memory first: shared memory, once grown, stays.
            if begins("memory"):
                clip = large.first(plan.memory_frames)
                results.measurements |= memory.measure(server, clip, streams=plan.memory_streams)
                results.measurements |= memory.measure_client(server, frames=plan.client_frames)
            if begins("passthrough"):
                clip = saved(large.first(plan.passthrough_frames))
                results.measurements |= passthrough.measure(
                    server.grpc_url, clip, presets=plan.presets, rounds=plan.passthrough_rounds
                )
    if begins("profile"):
        clips = {"super_resolution": plan.ladder, "passthrough": plan.large}
        results.profiles = [
            frame_profile.profile(service, clips[service]().first(plan.profile_frames)) for service in plan.profiled
        ]
        for profile in results.profiles:
            results.measurements |= profile.measurements()
    if begins("extraction"):
        results.measurements |= extraction.measure(
            clips=plan.short_clips,
            rounds=plan.short_clip_rounds,
            frames=plan.short_clip_frames,
            size=plan.short_clip_size,
            samples=plan.short_clip_samples,
        )
    if begins("start"):
        results.measurements |= latency.measure_start(rounds=plan.start_rounds)
    say(f"{time.monotonic() - began:4.0f} s  done")


def main() -> int:
    """Measure, write, and say what came of it."""
    parser = argparse.ArgumentParser(description="Measure everything.")
    parser.add_argument("--mode", choices=PLANS, default="quick", help="quick: about 15 minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some parts")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder for results and plots")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="gets the table, if it has the markers")
    options = parser.parse_args()
    results = new_results(options.mode)
    try:
        run(results, parts=tuple(options.only))
    finally:
        # What a part that failed came after is not lost.
        file = results.save(options.output)
        say(f"wrote {file}")
    # As the file has them, rounded: whoever makes the table from the file gets the same.
    results = Results.load_file(file)
    for path in plots.draw_all(results, options.output):
        say(f"wrote {path}")
    for profile in results.profiles:
        print(profile.table(), end="\n\n")
    print(table(results))
    readme = options.readme.read_text(encoding="utf-8")
    # A part of the measurements, or few frames, are no table for everybody.
    if BEGIN in readme and set(options.only) == set(PARTS) and options.mode != "tiny":
        options.readme.write_text(written_into(readme, results), encoding="utf-8")
        say(f"wrote the table into {options.readme}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
