# SPDX-License-Identifier: MIT
"""`python -m perf.ladder`: every rung in turn."""

from __future__ import annotations

import argparse

from vireo_server.launching import running_server

from perf.clips import sample_clip
from perf.ladder.rungs import measure


def main() -> None:
    """Climb the ladder and print it."""
    parser = argparse.ArgumentParser(description="Every rung of the ladder of baselines, in turn.")
    parser.add_argument("--frames", type=int, default=100, help="of the sample clip, a stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    with running_server(services=["super_resolution"]) as server:
        found = measure(server, sample_clip(), frames=options.frames, rounds=options.rounds, streams=options.streams)
    for name, measurement in found.items():
        print(f"{name:44} {measurement}")


if __name__ == "__main__":
    main()
