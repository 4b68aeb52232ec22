# SPDX-License-Identifier: MIT
"""How soon: until a server is ready, until a stream's first packet, and a frame at a time for live use.

python -m perf.latency
"""

from __future__ import annotations

import argparse
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from vireo_kernels.color import frames_to_rgb
from vireo_server.launching import running_server

from perf.clips import NETWORK, Clip, live_clip
from perf.ladder.codecs import color_of, frames_of, pictures
from perf.ladder.network import Network
from perf.load import percentile, run_streams
from perf.measure import Measurement, Measurements, in_turn

_VIREO = Path(sys.executable).with_name("vireo")
_START_SECONDS = 120.0
_SERVICE = "super_resolution"


def measure_start(*, rounds: int) -> Measurements:
    """Seconds from `vireo serve` to its line that says ready: with one service, and what another one adds."""
    programs = {
        "one": partial(start_seconds, [_SERVICE]),
        "two": partial(start_seconds, [_SERVICE, "passthrough"]),
    }
    if rounds > 1:
        start_seconds([_SERVICE])  # The first start after an update compiles kernels.
    values = in_turn(programs, rounds=rounds)
    further = tuple(two - one for one, two in zip(values["one"], values["two"], strict=True))
    return {
        "start.ready": Measurement(values=tuple(values["one"]), unit="s", better="lower"),
        "start.further_service": Measurement(values=further, unit="s", better="lower"),
    }


def start_seconds(services: Sequence[str]) -> float:
    """Start `vireo serve` with these services, wait until it says ready, and stop it again."""
    chosen = [argument for service in services for argument in ("--service", service)]
    ports = [argument for port in ("http", "grpc", "metrics", "health") for argument in (f"--{port}-port", "0")]
    command = [str(_VIREO), "serve", *ports, *chosen]
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as vireo:
            assert vireo.stdout is not None
            try:
                select.select([vireo.stdout], [], [], _START_SECONDS)
                seconds = time.monotonic() - started
            finally:
                # Not SIGINT: a shell has its background programs ignore that one.
                vireo.terminate()
                said, _ = vireo.communicate()
        log.seek(0)
        if not said:
            words = log.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)} was not ready after {seconds:.1f} s; it said: {words}")
    return seconds


def measure_streams(url: str, clip: Clip, *, rounds: int) -> Measurements:
    """First packet and one-frame chunks, with `latency=low`, on a source without B-frames.

    `first_packet/chunk` is a stream's first packet in units of what one chunk of 8 costs this machine when the stream
    is in full flow. `frame_beyond_network` is what a frame sent alone takes longer than the network on one picture,
    which has all cores for itself.
    """
    low = clip.encoded_with({"latency": "low"})
    network = Network(NETWORK, clip)
    picture = frames_to_rgb(
        frames_of(list(islice(pictures(clip), 1))),
        width=clip.stream.width,
        height=clip.stream.height,
        pixel_format="nv12",
        color=color_of(clip),
    )
    first, frame, worst = [], [], []

    def alone() -> float:
        seconds = []
        for _ in range(12):
            started = time.perf_counter()
            network(picture)
            seconds.append(time.perf_counter() - started)
        return 1000 * percentile(seconds[2:], 50)

    def flow() -> float:
        load = run_streams(url, _SERVICE, low, chunk=8)
        first.append(1000 * load.first_packet_seconds)
        return 1000 * 8 / load.frames_a_second

    def one_by_one() -> float:
        load = run_streams(url, _SERVICE, low, chunk=1, window=1)
        # The last request brings no frame; the first opens the codecs.
        latencies = load.streams[0].latencies_seconds[1:-1]
        worst.append(1000 * percentile(latencies, 95))
        frame.append(1000 * percentile(latencies, 50))
        return frame[-1]

    run_streams(url, _SERVICE, low.first(8))
    values = in_turn({"network": alone, "chunk": flow, "frame": one_by_one}, rounds=rounds)
    beyond = tuple(one - other for one, other in zip(frame, values["network"], strict=True))
    in_chunks = tuple(one / other for one, other in zip(first, values["chunk"], strict=True))
    return {
        "latency.network_of_a_frame": Measurement(values=tuple(values["network"]), unit="ms", better="lower"),
        "latency.chunk_of_8": Measurement(values=tuple(values["chunk"]), unit="ms", better="lower"),
        "latency.first_packet": Measurement(values=tuple(first), unit="ms", better="lower"),
        "latency.first_packet/chunk": Measurement(values=in_chunks, unit="ratio", better="lower"),
        "latency.frame": Measurement(values=tuple(frame), unit="ms", better="lower"),
        "latency.frame_95_percent": Measurement(values=tuple(worst), unit="ms", better="lower"),
        "latency.frame_beyond_network": Measurement(values=beyond, unit="ms", better="lower"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Ready time, first packet, one-frame chunks.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=75)
    options = parser.parse_args()
    with running_server(services=[_SERVICE]) as server:
        found = measure_streams(server.grpc_url, live_clip(options.frames), rounds=options.rounds)
    found |= measure_start(rounds=options.rounds)
    for name, measurement in found.items():
        print(f"{name:40} {measurement}")


if __name__ == "__main__":
    main()
