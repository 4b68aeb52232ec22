# SPDX-License-Identifier: MIT
"""Comparisons as a table, as JSON, and as one picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vireo_server.parity.compare import Comparison

_COLUMNS = ("max", "mean", "bias", "psnr", "share_over_2")


def table(comparisons: Sequence[Comparison]) -> str:
    """A table for people: a row a video and pipeline; a second row for the network's output, if it was asked."""
    rows: list[tuple[str, ...]] = [("video", "training", "", "frames", "max", "mean", "bias", "PSNR dB", "over 2")]
    for one in comparisons:
        first = (Path(one.video).name, one.pipeline, "input", str(one.frames))
        rows.append((*first, *_cells(one.pixels.to_json())))
        if one.outputs is not None:
            rows.append(("", "", "output", "", *_cells(one.outputs.to_json())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = 3  # names to the left, numbers to the right
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _cells(measured: dict[str, Any]) -> tuple[str, ...]:
    psnr = "equal" if measured["psnr"] is None else f"{measured['psnr']:.2f}"
    return (
        str(measured["max"]),
        f"{measured['mean']:.3f}",
        f"{measured['bias']:+.3f}",
        psnr,
        f"{measured['share_over_2']:.1%}",
    )


def write_json(path: Path, comparisons: Sequence[Comparison]) -> None:
    """All numbers, those of every score included."""
    path.write_text(json.dumps([one.to_json() for one in comparisons], indent=2) + "\n", encoding="utf-8")


def draw(path: Path, comparisons: Sequence[Comparison]) -> None:
    """One picture: where the frames differ, a heat map a comparison, and the network's answers against each other."""
    from matplotlib.figure import Figure

    shown = [one for one in comparisons if one.heat is not None]
    scored = [one for one in shown if one.scores]
    panels = len(shown) + bool(scored)
    figure = Figure(figsize=(4.2 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    top = max(max(float(one.heat.max()) for one in shown if one.heat is not None), 1.0)
    for axis, one in zip(axes, shown, strict=False):
        image = axis.imshow(one.heat, cmap="inferno", vmin=0, vmax=top)
        axis.set_title(f"{one.pipeline}, {Path(one.video).name}", fontsize=9)
        axis.set_axis_off()
    figure.colorbar(image, ax=list(axes[: len(shown)]), label="mean difference, levels", shrink=0.8)
    if scored:
        axis = axes[-1]
        for one in scored:
            served, trained = zip(*one.scores, strict=True)
            axis.scatter(served, trained, s=8, label=one.pipeline)
        low, high = min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.plot([low, high], [low, high], color="gray", linewidth=0.8)
        axis.set(xlabel="network on serving's frames", ylabel="network on training's frames", title="scores")
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
