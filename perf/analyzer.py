# SPDX-License-Identifier: MIT
"""perf_analyzer, Triton's own load generator, for every service.

    python -m perf.analyzer                                  every service: concurrency and chunk sweeps
    python -m perf.analyzer --input super_resolution.json    only write an input file, to use by hand

Requests are packets of the sample clip: as sequences of chunks, as a whole clip in one request of the model `file`, and
pictures for a network alone. perf_analyzer sends as many sequences at once as the concurrency says, one request of each
under way; that is less than the client's three, so frames/s are below those of `perf.load`.

# Note [No system packages]
The program in tritonclient's wheel misses libb64 and libcudart. The server's wheel carries both under longer names; a
temporary folder of links on LD_LIBRARY_PATH is all it takes.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpcclient
from vireo_client import Client
from vireo_media.errors import InputError, OptionError
from vireo_media.segments import with_emit
from vireo_media.services import ServiceDescription
from vireo_server.launching import running_server
from vireo_server.launching.triton import find_triton

from perf.clips import Clip, sample_clip, saved
from perf.load import percentile
from perf.measure import say

_PROGRAM = Path(sys.executable).with_name("perf_analyzer")
_LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
_LIMIT_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """What Triton's statistics say of one model of an ensemble, milliseconds a request.

    `compute` is the time inside the model's `execute`; decode, preprocess and encode hand requests to threads there
    and answer later, so their work is not in it.
    """

    model: str
    queue: float
    compute: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run of perf_analyzer.

    Attributes:
        model: what was asked.
        requests: "chunks of 8", "whole clip", "pictures".
        concurrency: sequences or requests at once.
        frames_a_second: of all together.
        latency_ms: of a request: "50", "90", "95", "99" percent.
        stages: of an ensemble, in its order.
    """

    model: str
    requests: str
    concurrency: int
    frames_a_second: float
    latency_ms: dict[str, float]
    stages: tuple[StageTimes, ...]

    def __str__(self) -> str:
        latencies = ", ".join(f"{percent} %: {value:.0f}" for percent, value in self.latency_ms.items())
        stages = ", ".join(f"{one.model} {one.queue:.1f} + {one.compute:.1f}" for one in self.stages)
        return (
            f"{self.model}, {self.requests}, {self.concurrency} at once: {self.frames_a_second:.1f} frames/s; "
            f"ms a request: {latencies}" + (f"; queue + compute: {stages}" if stages else "")
        )


def chunk_requests(clip: Clip, *, chunk: int) -> dict[str, Any]:
    """perf_analyzer's input for a service: one sequence, `chunk` packets a request, the last one with END.

    perf_analyzer repeats it under new sequence ids.
    """
    stream = with_emit(clip.stream, clip.segment()).to_json()
    steps = []
    for number, (packets, timing) in enumerate(clip.segment().chunks(chunk)):
        steps.append(
            {
                "STREAM": {"content": [stream if number == 0 else ""], "shape": [1]},
                "PACKETS": {"b64": _prefixed(packets), "shape": [len(packets)]},
                "PACKET_TIMING": {"content": timing.reshape(-1).tolist(), "shape": list(timing.shape)},
                "CHUNK": {"content": [number], "shape": [1]},
            }
        )
    return {"data": [steps]}


def whole_clip_request(path: Path, *, service: str) -> dict[str, Any]:
    """perf_analyzer's input for the model `file`: a whole media file in one request."""
    request = {
        "SERVICE": {"content": [service], "shape": [1]},
        "MEDIA": {"b64": _prefixed([path.read_bytes()]), "shape": [1]},
        "OPTIONS": {"content": [""], "shape": [1]},
    }
    return {"data": [request]}


def _prefixed(elements: Sequence[bytes]) -> str:
    """BYTES as perf_analyzer wants them: each element behind its length, all in base64."""
    return base64.b64encode(b"".join(struct.pack("<I", len(data)) + data for data in elements)).decode("ascii")


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """Variables with which perf_analyzer finds its libraries."""
    (wheel,) = find_triton().library_folders
    with tempfile.TemporaryDirectory() as folder:
        for name in _LIBRARIES:
            stem, _, version = name.partition(".so.")
            (found,) = wheel.glob(f"{stem}-*.so.{version}*")
            (Path(folder) / name).symlink_to(found)
        yield os.environ | {"LD_LIBRARY_PATH": os.pathsep.join([folder, os.environ.get("LD_LIBRARY_PATH", "")])}


def analyze(
    url: str,
    model: str,
    data: dict[str, Any] | None,
    *,
    requests: str,
    frames_a_request: float,
    concurrency: int,
    arguments: Sequence[str] = (),
    count: int = 40,
) -> Report:
    """Run perf_analyzer once.

    Args:
        url: the server's gRPC address.
        model: an ensemble, or any model.
        data: its input; what `arguments` say if None.
        requests: what a request is, for the report.
        frames_a_request: on average.
        concurrency: sequences or requests at once.
        arguments: more of perf_analyzer's.
        count: requests that are measured.
    """
    models = _models(url, model)
    with _environment() as environment, tempfile.TemporaryDirectory() as folder:
        report, given = Path(folder) / "report.json", Path(folder) / "input.json"
        command = [
            str(_PROGRAM), "-m", model, "-i", "grpc", "-u", url, "--profile-export-file", str(report),
            "--concurrency-range", str(concurrency), "--request-count", str(count), *arguments,
        ]  # fmt: skip
        if data is not None:
            given.write_text(json.dumps(data), encoding="ascii")
            command += ["--input-data", str(given)]
        before = _statistics(url, models)
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_SECONDS
        )
        if done.returncode != 0 or not report.exists():
            raise RuntimeError(f"perf_analyzer on {model!r} failed ({done.returncode}): {done.stdout}{done.stderr}")
        after = _statistics(url, models)
        # The record holds the inputs too, as raw bytes.
        (experiment,) = json.loads(report.read_text(encoding="latin-1"), strict=False)["experiments"]
    # perf_analyzer's own throughput counts whole seconds; its record of every request is exact.
    times = [(one["timestamp"], one["response_timestamps"][-1]) for one in experiment["requests"]]
    seconds = (max(end for _, end in times) - min(begin for begin, _ in times)) / 1e9
    latencies = [(end - begin) / 1e6 for begin, end in times]
    return Report(
        model=model,
        requests=requests,
        concurrency=concurrency,
        frames_a_second=len(times) * frames_a_request / seconds,
        latency_ms={str(percent): percentile(latencies, percent) for percent in (50, 90, 95, 99)},
        stages=tuple(_stage_times(name, before[name], after[name]) for name in models if len(models) > 1),
    )


def _models(url: str, model: str) -> list[str]:
    """An ensemble's models in its order; the model itself where it is none."""
    with grpcclient.InferenceServerClient(url) as client:
        config = client.get_model_config(model).config
    return [step.model_name for step in config.ensemble_scheduling.step] or [model]


def _backend(url: str, model: str) -> str:
    with grpcclient.InferenceServerClient(url) as client:
        return str(client.get_model_config(model).config.backend)


def _channels(url: str, network: str) -> int:
    with grpcclient.InferenceServerClient(url) as client:
        (picture,) = (one for one in client.get_model_config(network).config.input if one.name == "INPUT")
        return int(picture.dims[0])


def _statistics(url: str, models: Sequence[str]) -> dict[str, Any]:
    with grpcclient.InferenceServerClient(url) as client:
        return {name: client.get_inference_statistics(name).model_stats[0].inference_stats for name in models}


def _stage_times(model: str, before: Any, after: Any) -> StageTimes:
    count = max(1, after.success.count - before.success.count)

    def milliseconds(*fields: str) -> float:
        grown = sum(getattr(after, field).ns - getattr(before, field).ns for field in fields)
        return float(grown / count / 1e6)

    compute = milliseconds("compute_input", "compute_infer", "compute_output")
    return StageTimes(model=model, queue=milliseconds("queue"), compute=compute)


def sweep(
    url: str,
    clip: Clip,
    *,
    concurrencies: Sequence[int],
    chunks: Sequence[int],
    count: int,
    services: Sequence[str] | None = None,
) -> list[Report]:
    """Every service of a server: each concurrency with chunks of 8, each other chunk size alone; then whole clips and
    the networks alone.

    Args:
        url: the server's gRPC address.
        clip: what the requests are made of, with a file of its own.
        concurrencies: how many sequences at once.
        chunks: packets a request; pictures a request for the networks.
        count: requests that are measured in each run.
        services: which; all that take the clip without options if None.
    """
    with Client(url) as client:
        found = [service for service in client.services() if service.description.kind == "transformation"]
    if services is None:
        services = [service.name for service in found if _takes(service.description, clip)]
    reports = []

    def run(*arguments: Any, **keywords: Any) -> None:
        reports.append(analyze(url, *arguments, **keywords))
        say(f"  {reports[-1]}")

    for service in services:
        plans = [(chunks[-1], at_once) for at_once in concurrencies] + [(chunk, 1) for chunk in chunks[:-1]]
        for chunk, at_once in plans:
            data = chunk_requests(clip, chunk=chunk)
            requests = len(data["data"][0])
            frames = clip.frames / requests
            # Whole sequences: perf_analyzer leaves one that it stops in the middle open, and the next run, whose ids
            # begin at 1 again, would find it there.
            whole = math.ceil(count / (requests * at_once)) * requests * at_once
            run(service, data, requests=f"chunks of {chunk}", frames_a_request=frames, concurrency=at_once, count=whole)
        data = whole_clip_request(clip.path, service=service)
        run("file", data, requests=f"whole clips through {service}", frames_a_request=clip.frames, concurrency=1,
            count=3)  # fmt: skip
        for network in [model for model in _models(url, service) if _backend(url, model) == "network"]:
            shape = f"INPUT:{_channels(url, network)},{clip.stream.height},{clip.stream.width}"
            for batch in chunks:
                run(network, None, requests=f"{batch} pictures", frames_a_request=batch, concurrency=1, count=count,
                    arguments=["-b", str(batch), "--shape", shape])  # fmt: skip
    return reports


def _takes(service: ServiceDescription, clip: Clip) -> bool:
    """Whether a service works on this clip as it is, without options; says why not."""
    if service.options.get("required"):
        say(f"  {service.name} left out: its callers must choose {', '.join(service.options['required'])}")
        return False
    try:
        service.check_stream(clip.stream)
    except (InputError, OptionError) as error:
        say(f"  {service.name} left out: {error}")
        return False
    return True


def main() -> None:
    """Analyze a server of our own, or only write an input file."""
    parser = argparse.ArgumentParser(description="perf_analyzer on every service.")
    parser.add_argument("--service", nargs="+", help="which; all if not given")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 4, 8], help="the last one is the sweep's")
    parser.add_argument("--count", type=int, default=40, help="requests that are measured, a run")
    parser.add_argument("--input", type=Path, metavar="FILE", help="write the sequence of chunks there, and stop")
    options = parser.parse_args()
    clip = saved(sample_clip().first(options.frames))
    if options.input:
        options.input.write_text(json.dumps(chunk_requests(clip, chunk=options.chunks[-1])), encoding="ascii")
        return
    with running_server(services=options.service) as server:
        for report in sweep(
            server.grpc_url, clip, concurrencies=options.concurrency, chunks=options.chunks, count=options.count
        ):
            print(report)


if __name__ == "__main__":
    main()
