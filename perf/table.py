# SPDX-License-Identifier: MIT
"""The README's table, generated from a results' file.

python -m perf.table                        print it, from the newest results
python -m perf.table --write README.md      put it between the markers there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from perf.ladder.rungs import RUNGS, limit_of
from perf.measure import Measurement
from perf.results import Results, newest
from perf.targets import checked

BEGIN, END = "<!-- perf:begin -->", "<!-- perf:end -->"


def table(results: Results) -> str:
    """Markdown: the ladder, the targets, and where the numbers come from."""
    machine, versions = results.machine, results.versions
    return "\n".join(
        [
            "Super-resolution of the sample clip, 640x360 to 1280x720, network and x264 included; processor time is of "
            "client and server together:",
            "",
            *_ladder(results),
            "",
            "What the project wants to reach, medians of alternating runs:",
            "",
            *_targets(results),
            "",
            f"{results.day}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['system']}; Python {versions['python']}, nvidia-pytriton {versions['nvidia-pytriton']}, "
            f"OpenVINO {versions['openvino']}, PyAV {versions['av']}; commit {results.commit}; mode {results.mode}.",
        ]
    )


def _ladder(results: Results) -> list[str]:
    lines = ["| | frames/s | of (d) | processor, ms a frame |", "|---|---:|---:|---:|"]
    for name, words in RUNGS.items():
        limit = results.measurements.get(f"ladder.{limit_of(name)}")
        measured = results.measurements.get(f"ladder.{name}")
        cpu = results.measurements.get(f"ladder.{name}.cpu")
        if measured is not None and limit is not None and cpu is not None:
            # Both were measured in turn, so the ratio is a median of rounds.
            paired = zip(measured.values, limit.values, strict=True)
            ratio = Measurement(values=tuple(one / of for one, of in paired), unit="ratio", better="higher")
            lines.append(f"| {words} | {measured.median:.1f} | {ratio.median:.2f} | {cpu.median:.1f} |")
    return lines


def _targets(results: Results) -> list[str]:
    lines = ["| | wanted | measured | |", "|---|---|---|---|"]
    for target, median, is_met in checked(results.measurements):
        low, high = results.measurements[target.measurement].quartiles
        spread = f" ({low:.3g} to {high:.3g})" if high > low else ""
        verdict = "yes" if is_met else "**no**"
        lines.append(f"| {target.what} | {target.bound} {target.value:.3g} | {median:.3g}{spread} | {verdict} |")
    return lines


def written_into(text: str, results: Results) -> str:
    """A README's text with the table between its markers.

    Raises ValueError where the markers are missing or in the wrong order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} followed by {END}; put both lines where the table belongs")
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


def main() -> int:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description="The README's table of speeds.")
    parser.add_argument("results", type=Path, nargs="?", help="the newest file of perf/results if not given")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put it between the markers of this file")
    options = parser.parse_args()
    path = options.results or newest()
    if path is None:
        print("perf.table: there are no results yet; run: python -m perf.run", file=sys.stderr)
        return 1
    results = Results.load_file(path)
    if options.write:
        options.write.write_text(written_into(options.write.read_text(encoding="utf-8"), results), encoding="utf-8")
    else:
        print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
