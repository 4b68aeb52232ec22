# SPDX-License-Identifier: MIT
"""Pictures of the results, as PNG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perf.frame_profile import Profile
from perf.ladder.rungs import RUNGS
from perf.results import Results

_OURS, _OTHERS, _BORDER, _FLOOR = "#1f77b4", "#8c8c8c", "#d62728", "#c7c7c7"


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Everything that there is a picture of; the files."""
    drawn = []
    if "ladder.pipelined" in results.measurements:
        drawn.append(folder / f"{results.name}-ladder.png")
        draw_ladder(results, drawn[-1])
    for profile in results.profiles:
        drawn.append(folder / f"{results.name}-{profile.service}.png")
        draw_profile(profile, drawn[-1])
    if results.analyzer:
        drawn.append(folder / f"{results.name}-analyzer.png")
        draw_analyzer(results, drawn[-1])
    return drawn


def draw_ladder(results: Results, path: Path) -> None:
    """A bar a rung, with the quartiles."""
    names = [name for name in RUNGS if f"ladder.{name}" in results.measurements]
    with _axes(path, height=0.38 * len(names) + 1.1) as axes:
        for place, name in enumerate(names):
            measured = results.measurements[f"ladder.{name}"]
            low, high = measured.quartiles
            color = _FLOOR if name == "network_alone" else _OURS if name.startswith(("served", "one_file")) else _OTHERS
            error = [[measured.median - low], [high - measured.median]]
            axes.barh(place, measured.median, xerr=error, color=color, ecolor="#333333", capsize=3)
            axes.text(high, place, f"  {measured.median:.1f}", va="center")
        axes.set_yticks(range(len(names)), [RUNGS[name] for name in names])
        axes.invert_yaxis()
        axes.set_xlabel("frames/s, 640x360 to 1280x720")
        axes.margins(x=0.1)


def draw_profile(profile: Profile, path: Path) -> None:
    """A frame's way through the stages: work in one colour, borders in the other, one line a step."""
    with _axes(path, height=0.3 * len(profile.steps) + 1.1) as axes:
        begin = 0.0
        for place, step in enumerate(profile.steps):
            axes.barh(place, step.milliseconds, left=begin, color=_OURS if step.kind == "work" else _BORDER)
            copied = f", {step.megabytes:.1f} MB" if step.megabytes >= 0.05 else ""
            axes.text(begin + step.milliseconds, place, f"  {step.milliseconds:.2f} ms{copied}", va="center")
            begin += step.milliseconds
        axes.set_yticks(range(len(profile.steps)), [f"{step.where}: {step.what}" for step in profile.steps])
        axes.invert_yaxis()
        axes.set_xlabel("ms a frame, one chunk at a time")
        axes.set_title(f"{profile.service}: {profile.milliseconds:.1f} ms, borders {100 * profile.border_share:.0f} %")
        axes.margins(x=0.15)


def draw_analyzer(results: Results, path: Path) -> None:
    """frames/s over the number of sequences at once, as perf_analyzer counts."""
    with _axes(path, height=3.5) as axes:
        for service in dict.fromkeys(report.model for report in results.analyzer if report.stages):
            reports = [report for report in results.analyzer if report.model == service]
            largest = reports[0].requests
            points = [(r.concurrency, r.frames_a_second) for r in reports if r.requests == largest]
            axes.plot(*zip(*points, strict=True), marker="o", label=f"{service}, {largest}")
        axes.set_xlabel("sequences at once, one request of each under way")
        axes.set_ylabel("frames/s (perf_analyzer)")
        axes.set_ylim(bottom=0)
        axes.legend()


@contextmanager
def _axes(path: Path, *, height: float) -> Iterator[Any]:
    """Axes to draw on; the file is written at the end of the block."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    figure.savefig(path, dpi=110)
