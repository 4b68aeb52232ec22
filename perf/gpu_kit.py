# SPDX-License-Identifier: MIT
"""What the GPU of this machine does with each part of Vireo's path: one call, answers as JSON.

python -m perf.gpu_kit                  every question; about three minutes with a GPU, one without
python -m perf.gpu_kit --json FILE      and the answers in a file
python -m perf.gpu_kit --only decode    one of them
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from perf.clips import ROOT
from perf.gpu_kernels import kernel_shares
from perf.gpu_parts import HEIGHT, WIDTH, decode_rates, find_cupy, gpu_side, noise_clip, opened, rate
from perf.gpu_watch import crossed_bytes
from perf.questions import Answer, NotRunError, Program


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
    cupy = find_cupy()
    size = 256 << 20
    device, other = cupy.empty(size, np.uint8), cupy.empty(size, np.uint8)
    pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(size), np.uint8, size)
    pageable = np.zeros(size, np.uint8)
    return {
        "host_to_device_pinned_gb_s": rate(cupy, size, lambda: device.set(pinned)),
        "host_to_device_pageable_gb_s": rate(cupy, size, lambda: device.set(pageable)),
        "device_to_host_pinned_gb_s": rate(cupy, size, lambda: device.get(out=pinned)),
        "device_to_host_pageable_gb_s": rate(cupy, size, lambda: device.get(out=pageable)),
        "within_device_gb_s": rate(cupy, 2 * size, lambda: cupy.copyto(other, device)),
    }


def dlpack_out() -> Answer:
    """Whether decoded CUDA frames go to CuPy through DLPack, and equal those decoded in software."""
    cupy = find_cupy()
    from vireo_kernels import frames_shape
    from vireo_server.decoded_picture import write_row
    from vireo_server.nvdec import Nvdec
    from vireo_server.side import Border

    clip, nvdec = noise_clip(), Nvdec(Border(gpu_side(), stage="decode"))
    shape = frames_shape(1, width=WIDTH, height=HEIGHT, pixel_format="nv12")[1:]
    expected = np.empty(shape, np.uint8)
    found: Answer = {"frames": 0, "different": 0}
    with opened(clip, cuda=True) as container, opened(clip, cuda=False) as software:
        for frame, other in zip(container.decode(video=0), software.decode(video=0), strict=True):
            write_row(other, expected)
            found["frames"] += 1
            found["different"] += not np.array_equal(cupy.asnumpy(nvdec.copy(frame).row), expected)
            found["format"], found["pitch"] = frame.format.name, int(frame.planes[0].line_size)
            found["dlpack_device"] = [int(part) for part in frame.planes[0].__dlpack_device__()]
    return found


def nvenc() -> Answer:
    """Which NVENC encoders take frames of the device through DLPack."""
    find_cupy()
    from vireo_server.encoder_options import NVENC
    from vireo_server.nvenc import fault

    return {kind.name: fault(kind.name, kind.device_format, gpu_side()) or "works" for kind in NVENC.values()}


def runtimes() -> Answer:
    """Whether each runtime of a GPU builds and runs the shipped network, how far from OpenVINO's, and how fast."""
    cupy = find_cupy()
    from vireo_server.choosing import GPU_RUNTIMES
    from vireo_server.errors import SettingError
    from vireo_server.locations import find_locations
    from vireo_server.runtimes import load_runtime
    from vireo_server.runtimes.engines import EngineSettings

    path = find_locations().model_repository / "super_resolution_network" / "1" / "model.onnx"
    batch = np.random.default_rng(0).integers(0, 256, (6, 3, 360, 640), dtype=np.uint8)
    expected = next(load_runtime("openvino", path, threads=0).run([batch])).astype(int)
    found: Answer = {}
    for library in GPU_RUNTIMES:
        for precision in ("fp32", "tf32", "fp16"):
            try:
                began = time.monotonic()
                settings = EngineSettings(precision=precision)
                runtime = load_runtime(library, path, threads=0, engine=settings)
                ready = time.monotonic() - began
                given = cupy.asarray(batch)
                (output,) = runtime.run([given])
                speed = rate(cupy, len(batch) * 1e9, lambda runtime=runtime, given=given: list(runtime.run([given])))
                found[f"{library}_{precision}"] = {
                    "ready_s": round(ready, 2),
                    "largest_difference": int(np.abs(cupy.asnumpy(output) - expected).max()),
                    "frames_s_360p": speed,
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
    find_cupy()
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


def torch_script() -> Answer:
    """Whether the whole ensemble runs with demo/torch_network.py as its network, how fast, and what it copied."""
    find_cupy()
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
        numbered_clip(str(folder / "in.mp4"), frames=96, size=(640, 360))
        new_service("sharpen", repository=folder / "models", script=ROOT / "demo" / "torch_network.py")
        with running_server(repository=folder / "models") as server, Client(server.grpc_url) as client:
            run = client.run("sharpen", folder / "in.mp4", folder / "out.mp4")
            copied = crossed_bytes(server.metrics_url)
    speed = round(run.frames_out / run.seconds, 1)
    return {"frames": run.frames_out, "frames_s_360p": speed, "copied_bytes": copied}


QUESTIONS: dict[str, Callable[[], Answer]] = {
    "libraries": libraries,
    "copies": copies,
    "kernels": kernel_shares,
    "decode": decode_rates,
    "dlpack_out": dlpack_out,
    "nvenc": nvenc,
    "runtimes": runtimes,
    "hand_over": hand_over,
    "torch_script": torch_script,
}


PROGRAM = Program(name="perf.gpu_kit", about=__doc__, questions=QUESTIONS)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
