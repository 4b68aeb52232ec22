# SPDX-License-Identifier: MIT
"""How fast Vireo is on this machine's GPU, whole and in parts, and against the same work through host copies.

    python -m perf.gpu                  every question, to perf/results/gpu/<day>-<GPU>.json; some minutes
    python -m perf.gpu --json FILE      to that file
    python -m perf.gpu --only network   one of them

"device" is the service as it is shipped. "host_copies" has its decode, preprocess and encode stages on the CPU, so that
every picture crosses to the GPU for the network and back. Utilisation is NVML's, the share of time in which any kernel
ran; achieved work is beside it, since a GPU can be fully busy with little work.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perf.clips import NETWORK, load_clip
from perf.gpu_kernels import kernel_shares
from perf.gpu_parts import decode_rates, find_cupy, noise_clip, rate
from perf.gpu_watch import crossed_bytes, watched_gpu
from perf.machine import RESULTS
from perf.questions import Answer, Program

#: Segments in flight -> frames of each: more work for more of them, but not so much more.
_SEGMENTS = {1: 240, 7: 120, 28: 60}
_NETWORK_SECONDS = 5.0
_ROWS = 16


def network() -> Answer:
    """Frames/s of super_resolution's network by each runtime and precision that works, the work that it achieves, and
    how busy the GPU was."""
    cupy = find_cupy()
    from vireo_server.choosing import GPU_RUNTIMES
    from vireo_server.errors import SettingError
    from vireo_server.runtimes import load_runtime
    from vireo_server.runtimes.engines import EngineSettings

    found: Answer = {}
    for width, height in ((1280, 720), (1920, 1080)):
        batch = cupy.asarray(np.random.default_rng(0).integers(0, 256, (_ROWS, 3, height, width), dtype=np.uint8))
        work = multiply_adds(NETWORK, width=width, height=height)
        for name in GPU_RUNTIMES:
            for precision in ("fp32", "tf32", "fp16"):
                key = f"{name} {precision} {height}p"
                try:
                    settings = EngineSettings(precision=precision)
                    runtime = load_runtime(name, NETWORK, threads=0, engine=settings)
                    with watched_gpu() as watched:
                        speed = 1e9 * rate(cupy, _ROWS, partial(_run, runtime, batch), seconds=_NETWORK_SECONDS)
                except (SettingError, RuntimeError) as error:
                    found[key] = {"not_run": str(error)}
                else:
                    teraflops = round(2 * work * speed / 1e12, 2)
                    found[key] = {"frames_s": round(speed, 1), "achieved_tflop_s": teraflops, "gpu": watched}
    return found


def _run(runtime: Any, batch: Any) -> None:
    for _ in runtime.run([batch]):
        pass


def end_to_end(service: str) -> Answer:
    """Frames/s of a whole service at 1, 7 and 28 segments in flight, by way of the device and by way of the host; the
    bytes that stages say they copied, what went over PCIe, and how busy the GPU was."""
    find_cupy()
    found: Answer = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clip.mkv").write_bytes(noise_clip())
        for way, repository in (("device", None), ("host_copies", _on_the_host(folder / "models"))):
            found.update(_served(service, way, repository, folder / "clip.mkv"))
    for segments in _SEGMENTS:
        device, host = (found[f"{way} {segments}"]["frames_s"] for way in ("device", "host_copies"))
        found[f"device/host_copies {segments}"] = round(device / host, 2)
    return found


def multiply_adds(path: Path, *, width: int, height: int) -> int:
    """Multiplications with addition of a network's convolutions for one picture."""
    import onnx

    model = onnx.load(str(path))
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
            dim.dim_value = size
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(weights[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
    return total


def _served(
    service: str,
    way: str,
    repository: Path | None,
    path: Path,
    *,
    segments: Mapping[int, int] = _SEGMENTS,
) -> Answer:
    from vireo_server.launching import running_server

    from perf.load import run_streams

    clip, found = load_clip(path), {}
    with running_server(repository=repository, services=[service]) as server:
        run_streams(server.grpc_url, service, clip.first(32))
        for count, frames in segments.items():
            before = crossed_bytes(server.metrics_url)
            with watched_gpu() as watched:
                load = run_streams(server.grpc_url, service, clip.first(frames), streams=count)
            after = crossed_bytes(server.metrics_url)
            found[f"{way} {count}"] = {
                "frames_s": round(load.frames_a_second, 1),
                "copied_bytes_a_frame": {
                    name: round((value - before.get(name, 0)) / load.frames) for name, value in after.items()
                },
                "gpu": watched,
            }
    return found


def _on_the_host(folder: Path) -> Path:
    """The shipped repository, with every stage but the networks on the CPU."""
    from vireo_server.locations import find_locations

    shutil.copytree(find_locations().model_repository, folder)
    for config in folder.glob("*/config.pbtxt"):
        text = config.read_text(encoding="utf-8")
        if 'backend: "network"' not in text:
            config.write_text(text.replace("KIND_AUTO", "KIND_CPU"), encoding="utf-8")
    return folder


def results_file(found: Answer) -> Path | None:
    """Where answers go by themselves: a file a day and GPU; nowhere without one."""
    gpus = found["machine"]["gpus"]
    if not gpus:
        return None
    name = re.sub(r"[^a-z0-9]+", "-", gpus[0]["name"].lower()).strip("-")
    return RESULTS / "gpu" / f"{date.today().isoformat()}-{name}.json"


QUESTIONS: dict[str, Any] = {
    "decode": decode_rates,
    "kernels": kernel_shares,
    "network": network,
    "passthrough": partial(end_to_end, "passthrough"),
    "super_resolution": partial(end_to_end, "super_resolution"),
}
PROGRAM = Program(name="perf.gpu", about=__doc__, questions=QUESTIONS, seconds=900)

if __name__ == "__main__":
    sys.exit(PROGRAM.main(results_file))
