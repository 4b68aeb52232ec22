# SPDX-License-Identifier: MIT
"""Our own load client: many streams through a service at once, and what perf_analyzer cannot count.

    python -m perf.load --service super_resolution --streams 1 2 4 8
    python -m perf.load --service passthrough --chunk 1 --window 1 --set latency=low

Frames/s, the first packet's latency, how evenly replies come, fairness, memory, and processor time by stage.
"""

from __future__ import annotations

import argparse
import hashlib
import queue
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import np_to_triton_dtype
from vireo_client import Client
from vireo_media.exchange import Exchange, Request
from vireo_media.services import ServiceDescription
from vireo_server.launching import running_server

from perf.clips import Clip, load_clip, sample_clip
from perf.processes import Usage, watched

WINDOW = 3
"""Requests of a stream under way, as the client has them."""
_REPLY_SECONDS = 300.0


@dataclass
class StreamRun:
    """One stream's course; times are seconds of `time.monotonic()`.

    Attributes:
        sent: when each request went out.
        received: when each reply came.
        packets: how many packets each reply brought.
        digest: of all packets.
    """

    sent: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    digest: str = ""

    @property
    def frames(self) -> int:
        """Pictures that came back."""
        return sum(self.packets)

    @property
    def frames_a_second(self) -> float:
        """From its first request to its last reply."""
        return self.frames / (self.received[-1] - self.sent[0])

    @property
    def first_packet_seconds(self) -> float:
        """From its first request to the first reply that brought a packet."""
        first = next(time for time, packets in zip(self.received, self.packets, strict=True) if packets)
        return first - self.sent[0]

    @property
    def gaps_seconds(self) -> list[float]:
        """Between replies that brought packets."""
        times = [time for time, packets in zip(self.received, self.packets, strict=True) if packets]
        return [after - before for before, after in pairwise(times)]

    @property
    def latencies_seconds(self) -> list[float]:
        """From each request to its reply."""
        return [after - before for before, after in zip(self.sent, self.received, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What many streams at once came to."""

    streams: tuple[StreamRun, ...]
    seconds: float

    @property
    def frames(self) -> int:
        """Of all streams."""
        return sum(stream.frames for stream in self.streams)

    @property
    def frames_a_second(self) -> float:
        """Of all streams, from the first request to the last reply."""
        return self.frames / self.seconds

    @property
    def fairness(self) -> float:
        """The slowest stream's speed over the mean of all."""
        speeds = [stream.frames_a_second for stream in self.streams]
        return min(speeds) / statistics.mean(speeds)

    @property
    def first_packet_seconds(self) -> float:
        """The median over the streams."""
        return statistics.median(stream.first_packet_seconds for stream in self.streams)

    def gap_seconds(self, percent: float) -> float:
        """A percentile of the time between replies that brought packets, over all streams; 0 where one brought all."""
        return percentile([gap for stream in self.streams for gap in stream.gaps_seconds] or [0.0], percent)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def run_streams(
    url: str, service: str, clip: Clip, *, streams: int = 1, chunk: int | None = None, window: int = WINDOW
) -> Load:
    """Send a clip through a service, `streams` times at once, each as a sequence with a connection of its own.

    Args:
        url: the server's gRPC address.
        service: its name.
        clip: what each stream sends.
        streams: how many.
        chunk: packets a request; what the service's description suggests if None.
        window: requests under way, a stream.
    """
    with Client(url) as client:
        (description,) = (one.description for one in client.services() if one.name == service)
    together = threading.Barrier(streams)

    def run(_: int) -> StreamRun:
        with closing(_Caller(url, service)) as caller:
            together.wait()
            return _run_stream(caller, description, clip, chunk=chunk, window=window)

    with ThreadPoolExecutor(streams) as pool:
        runs = tuple(pool.map(run, range(streams)))
    begun, ended = min(run.sent[0] for run in runs), max(run.received[-1] for run in runs)
    return Load(streams=runs, seconds=ended - begun)


class _Caller:
    """One sequence over a gRPC stream of its own, by nothing but tritonclient: what any program would do."""

    def __init__(self, url: str, service: str) -> None:
        self._service, self._id = service, str(uuid.uuid4())
        self._replies: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        self._client = grpcclient.InferenceServerClient(url)
        self._client.start_stream(lambda result, error: self._replies.put((result, error)))
        self._unanswered = 0

    def send(self, request: Request) -> None:
        """Send a request; does not wait for its reply."""
        packets = np.empty(len(request.packets), np.object_)
        packets[:] = request.packets
        tensors = {
            "STREAM": np.array([request.stream.encode()], np.object_),
            "PACKETS": packets,
            "PACKET_TIMING": request.timing,
            "CHUNK": np.array([request.chunk], np.int64),
        }
        inputs = []
        for name, array in tensors.items():
            inputs.append(grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        self._client.async_stream_infer(
            self._service, inputs, sequence_id=self._id, sequence_start=request.start, sequence_end=request.end
        )
        self._unanswered += 1

    def receive(self) -> tuple[list[bytes], Any, bytes]:
        """The next reply: OUTPUT_PACKETS, OUTPUT_TIMING, REPORT. Raises InferenceServerException, queue.Empty."""
        result, error = self._replies.get(timeout=_REPLY_SECONDS)
        self._unanswered -= 1
        if error is not None:
            raise error
        packets, timing, report = (result.as_numpy(name) for name in ("OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"))
        return list(packets.reshape(-1)), timing, bytes(report[0])

    def close(self) -> None:
        """Close the connection: at once where replies are missing, for nobody waits for them any more."""
        # Triton 2.51 has died of a cancelled stream, so one that is done is never cancelled.
        self._client.stop_stream(cancel_requests=self._unanswered > 0)
        self._client.close()


def _run_stream(
    caller: _Caller, service: ServiceDescription, clip: Clip, *, chunk: int | None, window: int
) -> StreamRun:
    exchange = Exchange(clip.segment(), clip.stream, service, chunk_packets=chunk)
    run, digest = StreamRun(), hashlib.sha256()
    while not exchange.is_done:
        while exchange.outstanding < window and (request := exchange.next_request()) is not None:
            run.sent.append(time.monotonic())
            caller.send(request)
        answer = caller.receive()
        run.received.append(time.monotonic())
        reply = exchange.receive(*answer)
        run.packets.append(len(reply.packets))
        for data in reply.packets:
            digest.update(data)
    exchange.check_frames()
    run.digest = digest.hexdigest()
    return run


def describe(load: Load, usage: Usage) -> str:
    """A few lines for people."""
    lines = [
        f"{len(load.streams)} streams: {load.frames_a_second:.1f} frames/s, slowest/mean {load.fairness:.2f}, first "
        f"packet after {1000 * load.first_packet_seconds:.0f} ms, then every {1000 * load.gap_seconds(50):.0f} ms "
        f"(95 %: {1000 * load.gap_seconds(95):.0f}, most {1000 * load.gap_seconds(100):.0f})",
        f"  processor {1000 * usage.cpu_total / load.frames:.1f} ms a frame: "
        + ", ".join(f"{name} {1000 * seconds / load.frames:.1f}" for name, seconds in sorted(usage.cpu.items())),
    ]
    if usage.peak_bytes:
        lines.append(
            f"  memory {usage.peak_bytes / 1e6:.0f} MB, of it {usage.peak_shared_bytes / 1e6:.0f} MB in /dev/shm: "
            + ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sorted(usage.peak_by_stage.items()))
        )
    return "\n".join(lines)


def main() -> None:
    """Load a server of our own and print what came of it."""
    parser = argparse.ArgumentParser(description="Send many streams through a service and count.")
    parser.add_argument("--service", default="super_resolution")
    parser.add_argument("--clip", type=Path, help="a video; the demo's sample if not given")
    parser.add_argument("--frames", type=int, default=100, help="how many of the clip's frames")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--chunk", type=int, help="packets a request")
    parser.add_argument("--window", type=int, default=WINDOW, help="requests under way, a stream")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="encoder options, e.g. preset=medium")
    parser.add_argument("--memory", action="store_true", help="measure memory too, which slows a little")
    options = parser.parse_args()
    clip = (load_clip(options.clip) if options.clip else sample_clip()).first(options.frames)
    clip = clip.encoded_with(dict(pair.split("=", 1) for pair in options.set))
    with running_server(services=[options.service]) as server:
        run_streams(server.grpc_url, options.service, clip.first(16))
        for streams in options.streams:
            with watched(server, memory=options.memory) as usage:
                load = run_streams(
                    server.grpc_url,
                    options.service,
                    clip,
                    streams=streams,
                    chunk=options.chunk,
                    window=options.window,
                )
            print(describe(load, usage))


if __name__ == "__main__":
    main()
