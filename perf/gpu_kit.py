# SPDX-License-Identifier: MIT
"""What the GPU of this machine does with each part of Vireo's path: one call, answers as JSON.

    python perf/gpu_kit.py                  every question; about three minutes with a GPU, one without
    python perf/gpu_kit.py --json FILE      and the answers in a file
    python perf/gpu_kit.py --only decode    one of them

Each question is a program of its own with a time limit, so that one that crashes or hangs takes nothing with it. Each
is answered with numbers, or with why it could not be run ("not_run"), or with how it failed ("failed"). The exit code
is 0 when all were asked, whatever the answers.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Answer = dict[str, Any]

_SECONDS = 240
_WIDTH, _HEIGHT, _BATCH = 1920, 1080, 16
_MARK = "vireo-gpu-kit: "
_PACKAGES = ("vireo", "av", "cupy-cuda12x", "tensorrt-rtx-cu12", "tensorrt-cu12", "torch", "numpy", "nvidia-pytriton")


class NotRunError(Exception):
    """A question that this machine cannot answer, and why."""


def libraries() -> Answer:
    """Which of the driver's libraries load: libnvcuvid needs the container capability `video`."""
    found = {}
    for name in ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1"):
        try:
            ctypes.CDLL(name)
            found[name] = "loads"
        except OSError as error:
            found[name] = str(error)
    return found


def copies() -> Answer:
    """GB/s between host and device, pinned and pageable, and within the device."""
    cupy = _cupy()
    size = 256 << 20
    device, other = cupy.empty(size, np.uint8), cupy.empty(size, np.uint8)
    pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(size), np.uint8, size)
    pageable = np.zeros(size, np.uint8)
    return {
        "host_to_device_pinned_gb_s": _rate(cupy, size, lambda: device.set(pinned)),
        "host_to_device_pageable_gb_s": _rate(cupy, size, lambda: device.set(pageable)),
        "device_to_host_pinned_gb_s": _rate(cupy, size, lambda: device.get(out=pinned)),
        "device_to_host_pageable_gb_s": _rate(cupy, size, lambda: device.get(out=pageable)),
        "within_device_gb_s": _rate(cupy, 2 * size, lambda: cupy.copyto(other, device)),
    }


def kernels() -> Answer:
    """Whether the CUDA kernels equal the reference bit for bit, and at what share of the device's copy bandwidth."""
    cupy = _cupy()
    from vireo_kernels import ColorSpec, fit_exact, frames_shape, frames_to_rgb, resize_image, rgb_to_frames

    color = ColorSpec(matrix="bt709", color_range="limited")
    shape = frames_shape(_BATCH, width=_WIDTH, height=_HEIGHT, pixel_format="nv12")
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = frames_to_rgb(frames, width=_WIDTH, height=_HEIGHT, pixel_format="nv12", color=color)
    half = fit_exact(width=_WIDTH // 2, height=_HEIGHT // 2)
    work: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "frames_to_rgb": (
            frames,
            lambda x: frames_to_rgb(x, width=_WIDTH, height=_HEIGHT, pixel_format="nv12", color=color),
        ),
        "rgb_to_frames": (rgb, lambda x: rgb_to_frames(x, pixel_format="nv12", color=color)),
        "resize_image": (rgb, lambda x: resize_image(x, fit=half, filter_name="bicubic", antialias=True)),
    }
    size = 1 << 28
    a, b = cupy.empty(size, np.uint8), cupy.empty(size, np.uint8)
    copy = _rate(cupy, 2 * size, lambda: cupy.copyto(b, a))
    found: Answer = {"copy_gb_s": copy}
    for name, (source, run) in work.items():
        expected, given = run(source), cupy.asarray(source)
        result = run(given)
        rate = _rate(cupy, given.nbytes + result.nbytes, lambda run=run, given=given: run(given))
        equal = bool((cupy.asnumpy(result) == expected).all())
        found[name] = {"equals_the_cpu": equal, "gb_s": rate, "share_of_copy": round(rate / copy, 3)}
    return found


def decode() -> Answer:
    """Frames/s of NVDEC at 1, 7 and 28 streams, frames staying on the device, and in software beside it."""
    _cupy()
    clip = _clip()
    found: Answer = {"codec": "h264", "size": f"{_WIDTH}x{_HEIGHT}"}
    for streams in (1, 7, 28):
        found[f"cuda_{streams}_frames_s"] = _decode_rate(clip, streams, cuda=True)
    found["software_1_frames_s"] = _decode_rate(clip, 1, cuda=False)
    return found


def dlpack_out() -> Answer:
    """Whether decoded CUDA frames go to CuPy through DLPack without a copy, and equal those decoded in software."""
    cupy = _cupy()
    from vireo_kernels import frames_shape, surface_to_frames
    from vireo_server.decoder import write_row

    clip = _clip()
    shape = frames_shape(1, width=_WIDTH, height=_HEIGHT, pixel_format="nv12")[1:]
    row, expected = cupy.empty(shape, np.uint8), np.empty(shape, np.uint8)
    found: Answer = {"frames": 0, "different": 0}
    with _opened(clip, cuda=True) as container, _opened(clip, cuda=False) as software:
        for frame, other in zip(container.decode(video=0), software.decode(video=0), strict=True):
            luma, chroma = (cupy.from_dlpack(plane) for plane in frame.planes)
            flat = cupy.lib.stride_tricks.as_strided(chroma, (_HEIGHT // 2, _WIDTH), (chroma.strides[0], 1))
            surface_to_frames(luma, flat, out=row)
            write_row(other, expected)
            found["frames"] += 1
            found["different"] += not np.array_equal(cupy.asnumpy(row), expected)
            found["format"], found["pitch"] = frame.format.name, int(luma.strides[0])
            found["dlpack_device"] = [int(part) for part in frame.planes[0].__dlpack_device__()]
    return found


def nvenc() -> Answer:
    """Which NVENC encoders take frames of the device through DLPack."""
    cupy = _cupy()
    import av
    from av.video.frame import CudaContext

    found: Answer = {}
    for name in ("h264_nvenc", "hevc_nvenc", "av1_nvenc"):
        luma = cupy.full((_HEIGHT, _WIDTH), 100, np.uint8)
        chroma = cupy.full((_HEIGHT // 2, _WIDTH // 2, 2), 128, np.uint8)
        cupy.cuda.Stream.null.synchronize()
        try:
            frame = av.VideoFrame.from_dlpack((luma, chroma), format="nv12", cuda_context=CudaContext(0))
            with av.open(io.BytesIO(), "w", format="matroska") as container:
                stream = container.add_stream(name, rate=25)
                stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "cuda"  # type: ignore[union-attr]
                frame.pts, frame.time_base = 0, Fraction(1, 25)
                packets = [*stream.encode(frame), *stream.encode(None)]  # type: ignore[union-attr]
            found[name] = f"{sum(packet.size for packet in packets)} bytes"
        except (av.FFmpegError, ValueError, RuntimeError, TypeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def tensorrt() -> Answer:
    """Whether each TensorRT library builds and runs the shipped network, how far from OpenVINO's, and how fast."""
    cupy = _cupy()
    from vireo_server.errors import SettingError
    from vireo_server.locations import find_locations
    from vireo_server.runtimes import load_runtime
    from vireo_server.runtimes.engines import EngineSettings

    path = find_locations().model_repository / "super_resolution_network" / "1" / "model.onnx"
    batch = np.random.default_rng(0).integers(0, 256, (6, 3, 360, 640), dtype=np.uint8)
    expected = next(load_runtime("openvino", path, threads=0).run([batch])).astype(int)
    found: Answer = {}
    for library in ("tensorrt", "tensorrt_rtx"):
        for precision in ("fp32", "tf32", "fp16"):
            try:
                began = time.monotonic()
                settings = EngineSettings(precision=precision)
                runtime = load_runtime(library, path, threads=0, engine=settings)
                ready = time.monotonic() - began
                (output,) = runtime.run([batch])
                given = cupy.asarray(batch)
                rate = _rate(cupy, len(batch) * 1e9, lambda runtime=runtime, given=given: list(runtime.run([given])))
                found[f"{library}_{precision}"] = {
                    "ready_s": round(ready, 2),
                    "largest_difference": int(np.abs(output - expected).max()),
                    "frames_s_360p": rate,
                }
            except (SettingError, RuntimeError) as error:
                found[f"{library}_{precision}"] = str(error)
    return found


_GIVER = """
import cupy, numpy as np, triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        cupy.cuda.Stream.null.synchronize()
        tensor = pb_utils.Tensor.from_dlpack("DATA", cupy.arange(1 << 24, dtype=cupy.uint8))
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]
"""
_TAKER = """
import numpy as np, triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "DATA") for request in requests]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("HOST", np.array([tensor.is_cpu()], np.int64))])
            for tensor in tensors
        ]
"""
_MODEL = """
backend: "python"
max_batch_size: 0
input [{{ name: "{i}" data_type: {it} dims: [-1] }}]
output [{{ name: "{o}" data_type: {ot} dims: [-1] }}]
instance_group [{{ kind: KIND_GPU count: 1 }}]
parameters {{ key: "FORCE_CPU_ONLY_INPUT_TENSORS" value {{ string_value: "no" }} }}
"""
_PAIR = """
platform: "ensemble"
max_batch_size: 0
input [{ name: "GO" data_type: TYPE_INT64 dims: [-1] }]
output [{ name: "HOST" data_type: TYPE_INT64 dims: [-1] }]
ensemble_scheduling { step [
  { model_name: "giver" model_version: -1
    input_map { key: "GO" value: "GO" } output_map { key: "DATA" value: "data" } },
  { model_name: "taker" model_version: -1
    input_map { key: "DATA" value: "data" } output_map { key: "HOST" value: "HOST" } }
] }
"""


def hand_over() -> Answer:
    """Whether a device array goes from one Python model of an ensemble to the next on the device."""
    _cupy()
    import tritonclient.http as http
    from vireo_server.launching import running_server

    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        types = {"GO": "TYPE_INT64", "DATA": "TYPE_UINT8", "HOST": "TYPE_INT64"}
        for name, code, i, o in (("giver", _GIVER, "GO", "DATA"), ("taker", _TAKER, "DATA", "HOST")):
            (repository / name / "1").mkdir(parents=True)
            (repository / name / "1" / "model.py").write_text(code)
            (repository / name / "config.pbtxt").write_text(_MODEL.format(i=i, it=types[i], o=o, ot=types[o]))
        (repository / "pair" / "1").mkdir(parents=True)
        (repository / "pair" / "config.pbtxt").write_text(_PAIR)
        with running_server(repository=repository) as server, http.InferenceServerClient(server.http_url) as client:
            go = http.InferInput("GO", [1], "INT64")
            go.set_data_from_numpy(np.zeros(1, np.int64))
            on_host = bool(client.infer("pair", [go]).as_numpy("HOST")[0])
    return {"arrives_on": "host" if on_host else "device", "copied_bytes": (1 << 24) if on_host else 0}


_TORCH = """
import torch
def configure(options):
    return {}
def process(data):
    for frame in data["frames"]:
        picture = torch.as_tensor(frame).to("cuda")
        frame[...] = (255 - picture).cpu().numpy()
"""


def torch_script() -> Answer:
    """Whether the whole ensemble runs with a PyTorch script as its network, and how fast."""
    _cupy()
    try:
        importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError as error:
        raise NotRunError("PyTorch is not installed: pip install torch") from error
    from vireo_client import Client
    from vireo_media.testing import numbered_clip
    from vireo_server.launching import running_server
    from vireo_server.new_service import new_service

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "negative.py").write_text(_TORCH)
        numbered_clip(str(folder / "in.mp4"), frames=96, size=(640, 360))
        new_service("negative", repository=folder / "models", script=folder / "negative.py")
        with running_server(repository=folder / "models") as server, Client(server.grpc_url) as client:
            run = client.run("negative", folder / "in.mp4", folder / "out.mp4")
    return {"frames": run.frames_out, "frames_s_360p": round(run.frames_out / run.seconds, 1)}


QUESTIONS: dict[str, Callable[[], Answer]] = {
    "libraries": libraries,
    "copies": copies,
    "kernels": kernels,
    "decode": decode,
    "dlpack_out": dlpack_out,
    "nvenc": nvenc,
    "tensorrt": tensorrt,
    "hand_over": hand_over,
    "torch_script": torch_script,
}


def machine() -> Answer:
    """The GPUs by `nvidia-smi`, the driver, cores, and the versions of what takes part."""
    fields = "name,driver_version,compute_cap,memory.total,pcie.link.gen.max,pcie.link.width.max"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        names = fields.split(",")
        gpus = [dict(zip(names, line.split(", "), strict=True)) for line in done.stdout.splitlines()]
        seen: Answer = {"gpus": gpus}
    except (OSError, subprocess.SubprocessError) as error:
        seen = {"gpus": [], "why": f"nvidia-smi: {error}"}
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {**seen, "cores": len(os.sched_getaffinity(0)), "versions": versions}


def ask(name: str) -> Answer:
    """The answer of a question, from a process of its own."""
    began = time.monotonic()
    command = [sys.executable, __file__, "--child", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer within {_SECONDS} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        return {"failed": f"ended with code {done.returncode}: {done.stderr.strip()[-400:]}"}
    return {**json.loads(lines[-1].removeprefix(_MARK)), "seconds": round(time.monotonic() - began, 1)}


def answer(name: str) -> Answer:
    """The answer of a question, in this process."""
    try:
        return {"answer": QUESTIONS[name]()}
    except NotRunError as error:
        return {"not_run": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a part of the path raises is the answer
        return {"failed": f"{type(error).__name__}: {error}", "where": traceback.format_exc().splitlines()[-4:]}


def main() -> int:
    """Ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the answers here")
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="ask only this; repeatable")
    parser.add_argument("--child", choices=QUESTIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(_MARK + json.dumps(answer(arguments.child)), flush=True)
        return 0
    found: Answer = {"machine": machine()}
    for name in arguments.only or QUESTIONS:
        found[name] = ask(name)
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    unanswered = [name for name, one in found.items() if "not_run" in one or "failed" in one]
    print(f"not answered: {', '.join(unanswered) or 'none'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise NotRunError("CuPy is not installed: pip install cupy-cuda12x==13.6.0") from error
    try:
        if cupy.cuda.runtime.getDeviceCount() < 1:
            raise NotRunError("there is no CUDA device")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NotRunError(f"there is no CUDA device: {error}") from error
    return cupy


def _rate(cupy: Any, amount: float, run: Callable[[], Any]) -> float:
    """`amount` in units of 1e9 a second; the best of five, after one that warms up."""
    best = float("inf")
    for _ in range(6):
        cupy.cuda.Device().synchronize()
        began = time.perf_counter()
        run()
        cupy.cuda.Device().synchronize()
        best = min(best, time.perf_counter() - began)
    return round(amount / best / 1e9, 2)


def _clip() -> bytes:
    """240 frames of 1080p noise and motion, H.264 8 bit, which every NVDEC takes."""
    import av

    buffer = io.BytesIO()
    background = np.random.default_rng(1).integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for number in range(240):
            picture = np.roll(background, 8 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def _opened(clip: bytes, *, cuda: bool) -> Any:
    import av
    from av.codec.hwaccel import HWAccel

    hwaccel = HWAccel("cuda", device="0", allow_software_fallback=False, is_hw_owned=True) if cuda else None
    container = av.open(io.BytesIO(clip), hwaccel=hwaccel)
    # Frame threads would each hold surfaces, of which NVDEC has fewer than 32.
    container.streams.video[0].thread_count = 1
    return container


def _decode_rate(clip: bytes, streams: int, *, cuda: bool) -> float:
    def run(_: int) -> int:
        with _opened(clip, cuda=cuda) as container:
            return sum(1 for _ in container.decode(video=0))

    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        frames = sum(pool.map(run, range(streams)))
    return round(frames / (time.perf_counter() - began), 1)


if __name__ == "__main__":
    sys.exit(main())
