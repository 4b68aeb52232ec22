# SPDX-License-Identifier: MIT
"""What the GPU of this machine does with each part of Vireo's path: one call, answers as JSON.

python -m perf.gpu_kit                  every question; about three minutes with a GPU, one without
python -m perf.gpu_kit --json FILE      and the answers in a file, written after each
python -m perf.gpu_kit --within 540     and what is not asked after so many seconds is left out
python -m perf.gpu_kit --only decode    one of them

It starts with Python alone; a question whose libraries are missing says which. `python -m perf.carry` makes a folder of
what a machine that cannot install needs for most of them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perf.machine import ROOT
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
    import numpy as np

    from perf.gpu_parts import find_cupy, rate

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


def kernels() -> Answer:
    """Whether the CUDA kernels give the reference's numbers, and at what share of the speed of a copy."""
    from perf.gpu_kernels import kernel_shares

    return kernel_shares()


def decode() -> Answer:
    """Frames/s of NVDEC at 1, 7 and 28 segments in flight."""
    from perf.gpu_parts import decode_rates

    return decode_rates()


def codecs() -> Answer:
    """What NVDEC and NVENC take, as `vireo doctor` tries it, and whether CuPy compiles and runs a kernel."""
    from vireo_server import machine

    return {
        "kernels": machine.try_kernels(),
        "decodes": {name: machine.try_decoder(name) for name in machine.DECODED},
        "encodes": {name: machine.try_encoder(name) for name in machine.ENCODED},
    }


def dlpack_out() -> Answer:
    """Whether decoded CUDA frames go to CuPy through DLPack, and equal those decoded in software."""
    import numpy as np
    from vireo_server.nvdec import Nvdec
    from vireo_server.side import Border

    from perf.gpu_parts import find_cupy, gpu_side, noise_clip, opened

    cupy = find_cupy()
    clip, nvdec = noise_clip(), Nvdec(Border(gpu_side(), stage="decode"))
    found: Answer = {"frames": 0, "different": 0}
    with opened(clip, cuda=True) as container, opened(clip, cuda=False) as software:
        for frame, other in zip(container.decode(video=0), software.decode(video=0), strict=True):
            found["frames"] += 1
            same = np.array_equal(cupy.asnumpy(nvdec.copy(frame).row), other.to_ndarray(format="nv12"))
            found["different"] += not same
            found["format"], found["pitch"] = frame.format.name, int(frame.planes[0].line_size)
            found["dlpack_device"] = [int(part) for part in frame.planes[0].__dlpack_device__()]
    return found


def nvenc() -> Answer:
    """Which NVENC encoders take frames of the device through DLPack."""
    from vireo_server.encoders import NVENC
    from vireo_server.nvenc import fault

    from perf.gpu_parts import find_cupy, gpu_side

    find_cupy()
    return {kind.name: fault(kind.name, kind.device_format, gpu_side()) or "works" for kind in NVENC.values()}


def runtimes() -> Answer:
    """Whether each runtime of a GPU builds and runs the shipped network, how far from a CPU's, and how fast."""
    import numpy as np
    from vireo_server.choosing import GPU_RUNTIMES
    from vireo_server.errors import SettingError
    from vireo_server.runtimes import load_runtime
    from vireo_server.runtimes.engines import EngineSettings

    from perf.gpu_parts import find_cupy, rate

    cupy = find_cupy()
    path = ROOT / "model_repository" / "super_resolution_network" / "1" / "model.onnx"
    batch = np.random.default_rng(0).integers(0, 256, (6, 3, 360, 640), dtype=np.uint8)
    on_cpu = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name) is not None]
    expected = next(load_runtime(on_cpu[0], path, threads=0).run([batch])).astype(int) if on_cpu else None
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
                    "largest_difference": (
                        None if expected is None else int(np.abs(cupy.asnumpy(output) - expected).max())
                    ),
                    "frames_s_360p": speed,
                }
            except (SettingError, RuntimeError) as error:
                found[f"{library}_{precision}"] = str(error)
    return found


_INVERTS = """
DEVICE = "cuda"
def process(data, profiling=False):
    for frame in data["frames"]:
        frame[...] = 255 - frame
"""


def stages() -> Answer:
    """The stages of a service in one process, without Triton: decode, preprocess, a script (CuPy's, and PyTorch's where
    it is installed), encode; how fast, and the bytes that crossed between host and device."""
    from vireo_kernels.devices import Device
    from vireo_server.scripting import run_file
    from vireo_server.side import Side

    from perf.gpu_parts import HEIGHT, WIDTH, find_cupy, noise_clip

    find_cupy()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inverts.py").write_text(_INVERTS)
        scripts = {"cupy": folder / "inverts.py"}
        if importlib.util.find_spec("torch") is not None:
            scripts["torch"] = ROOT / "demo" / "torch_network.py"
        found: Answer = {"nv12_of_a_frame": WIDTH * HEIGHT * 3 // 2}
        clip = noise_clip()
        for script, path in scripts.items():
            crossed = {"to_device": 0, "to_host": 0}

            def count(direction: str, size: int, crossed: dict[str, int] = crossed) -> None:
                crossed[direction] += size

            side = Side(device=Device(0), count=count)
            side.enter()
            began = time.monotonic()
            run = run_file(path, clip, folder / f"{script}.mkv", encoder={"preset": "ultrafast"}, side=side)
            found[script] = {
                "frames": run.frames_out,
                "frames_s_1080p": round(run.frames_out / (time.monotonic() - began), 1),
                "crossed_a_frame": {way: round(size / run.frames_out) for way, size in crossed.items()},
                "seconds": {stage: round(seconds, 2) for stage, seconds in run.profile.stages.items()},
            }
    return found


_GIVER = """
import cupy, triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        data = cupy.arange(1 << 24, dtype=cupy.uint8)
        cupy.cuda.Stream.null.synchronize()
        tensor = pb_utils.Tensor.from_dlpack("DATA", data)
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]
"""
_TAKER = """
import numpy as np, triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, "DATA")
            if tensor.is_cpu():
                array = np.from_dlpack(tensor)
            else:
                import cupy
                array = cupy.from_dlpack(tensor)
            told = np.array([tensor.is_cpu(), int(array[12345]), array.size], np.int64)
            # Through DLPack, for numpy 2 and Triton 2.51 do not take each other's arrays.
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("HOST", told)]))
        return responses
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
    from perf.gpu_parts import find_cupy

    find_cupy()
    from vireo_server.launching import LaunchError, running_server

    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        types = {"GO": "TYPE_INT64", "DATA": "TYPE_UINT8", "HOST": "TYPE_INT64"}
        for name, code, i, o in (("giver", _GIVER, "GO", "DATA"), ("taker", _TAKER, "DATA", "HOST")):
            (repository / name / "1").mkdir(parents=True)
            (repository / name / "1" / "model.py").write_text(code)
            (repository / name / "config.pbtxt").write_text(_MODEL.format(i=i, it=types[i], o=o, ot=types[o]))
        (repository / "pair" / "1").mkdir(parents=True)
        (repository / "pair" / "config.pbtxt").write_text(_PAIR)
        try:
            with running_server(repository=repository, start_seconds=120) as server:
                on_host, value, size = _asked(server.http_url)
        except LaunchError as error:
            raise NotRunError(str(error)) from error
    assert (value, size) == (12345 % 256, 1 << 24), f"the array arrived as {size} bytes with {value} in it"
    return {"arrives_on": "host" if on_host else "device", "copied_bytes": (1 << 24) if on_host else 0}


def _asked(url: str) -> list[int]:
    """HOST of the ensemble `pair`, by HTTP alone."""
    body = {
        "inputs": [{"name": "GO", "shape": [1], "datatype": "INT64", "data": [0]}],
        "outputs": [{"name": "HOST", "parameters": {"binary_data": False}}],
    }
    request = urllib.request.Request(f"http://{url}/v2/models/pair/infer", json.dumps(body).encode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        found: list[int] = json.load(response)["outputs"][0]["data"]
    return found


def torch_script() -> Answer:
    """Whether the whole ensemble runs with demo/torch_network.py as its network, how fast, and what it copied."""
    import numpy as np

    from perf.gpu_parts import find_cupy
    from perf.gpu_watch import crossed_bytes

    find_cupy()
    import torch  # noqa: F401 - its absence is the answer
    from vireo_client import Client
    from vireo_media.testing import numbered_clip
    from vireo_server.launching import running_server
    from vireo_server.new_service import new_service

    if int(np.__version__.split(".")[0]) > 1:
        raise NotRunError(f"Triton 2.51 needs numpy 1.26 for tensors of text, and here is {np.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbered_clip(str(folder / "in.mp4"), frames=96, size=(640, 360))
        new_service("sharpen", repository=folder / "models", script=ROOT / "demo" / "torch_network.py")
        with running_server(repository=folder / "models") as server, Client(server.grpc_url) as client:
            run = client.run("sharpen", folder / "in.mp4", folder / "out.mp4")
            copied = crossed_bytes(server.metrics_url)
    speed = round(run.frames_out / run.seconds, 1)
    return {"frames": run.frames_out, "frames_s_360p": speed, "copied_bytes": copied}


QUESTIONS: dict[str, Callable[[], Any]] = {
    "libraries": libraries,
    "copies": copies,
    "codecs": codecs,
    "dlpack_out": dlpack_out,
    "stages": stages,
    "kernels": kernels,
    "decode": decode,
    "hand_over": hand_over,
    "nvenc": nvenc,
    "runtimes": runtimes,
    "torch_script": torch_script,
}


PROGRAM = Program(name="perf.gpu_kit", about=__doc__, questions=QUESTIONS)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
