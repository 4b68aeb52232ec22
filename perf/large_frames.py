# SPDX-License-Identifier: MIT
"""Memory at 3840x2160: PSS of all processes of a server, at its peak, while `vireo run` sends it a 4K video.

    python -m perf.large_frames --services super_resolution restoration

What `super_resolution` makes of it is 7680x4320. The client and its memory are as every user has them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vireo_client import Client
from vireo_server.launching import running_server

from perf.clips import Clip, ultra_hd_clip
from perf.measure import Measurement, Measurements, say
from perf.processes import watched


def measure(service: str, clip: Clip, *, options: Mapping[str, Any], segments_in_flight: int | None) -> Measurements:
    """A fresh server that serves nothing else, whose shared memory has not grown yet, and one run of the client.

    Args:
        service: which transformation.
        clip: what it is sent.
        options: of the run.
        segments_in_flight: as in `Client.run`.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(services=[service]) as server,
        Client(server.grpc_url) as client,
        watched(server, memory=True) as usage,
    ):
        output = Path(folder) / "output.mp4"
        run = client.run(service, clip.path, output, options=options, segments_in_flight=segments_in_flight)
    if run.frames_out != clip.frames:
        raise RuntimeError(f"{service}: {run.frames_out} frames came back of {clip.frames}")
    say(f"  {service}: {usage.peak_bytes / 1e6:.0f} MB, {run.frames_out / run.seconds:.2f} frames/s")
    sizes = {"": usage.peak_bytes, ".shared": usage.peak_shared_bytes}
    sizes |= {f".{stage}": size for stage, size in sorted(usage.peak_by_stage.items())}
    return {
        f"large_frames.{service}{name}": Measurement(values=(size / 1e6,), unit="MB", better="lower")
        for name, size in sizes.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Memory of services at 3840x2160.")
    parser.add_argument("--services", nargs="+", default=["super_resolution", "restoration"])
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="of the runs")
    parser.add_argument("--segments", type=int, help="in flight at once; the client's choice if left out")
    options = parser.parse_args()
    clip = ultra_hd_clip(options.frames)
    found: Measurements = {}
    for service in options.services:
        found |= measure(service, clip, options=options.options, segments_in_flight=options.segments)
    for name, measurement in found.items():
        print(f"{name:50} {measurement}")


if __name__ == "__main__":
    main()
