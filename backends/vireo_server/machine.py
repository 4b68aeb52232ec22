# SPDX-License-Identifier: MIT
"""What a machine has: its GPUs, their codecs by actually trying them, memory, and the packages that use them."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vireo_kernels.cuda.runner import import_cupy

from vireo_server.launching.errors import LaunchError
from vireo_server.launching.runtime_folder import SHARED_MEMORY
from vireo_server.launching.triton import find_triton

PACKAGES = (
    "av",
    "nvidia-pytriton",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "numba",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cupy",
    "nvidia-cuda-nvrtc-cu12",
    "tensorrt-rtx-cu12",
    "tensorrt-rtx-cu13",
    "tensorrt-rtx",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "tensorrt",
)
WORKS = "works"
#: What is tried: name -> (software encoder that makes a sample, its pixel format).
DECODED = {
    "h264": ("libx264", "yuv420p"),
    "h264 10 bit": ("libx264", "yuv420p10le"),
    "hevc": ("libx265", "yuv420p"),
    "hevc 10 bit": ("libx265", "yuv420p10le"),
    "vp9": ("libvpx-vp9", "yuv420p"),
    "av1": ("libsvtav1", "yuv420p"),
}
ENCODED = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")

_QUERY = "name,compute_cap,memory.total,memory.free,driver_version,uuid"
_SIDE = 256  # the smallest that every NVDEC takes is 144 for AV1


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as its driver tells it; memory in MB, `capability` as '8.9', `uuid` as CUDA_VISIBLE_DEVICES takes it."""

    name: str
    capability: str
    memory_mb: int
    free_mb: int
    driver: str
    uuid: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a machine has.

    Attributes:
        system: kernel and architecture.
        python: version of the running Python.
        cores: that may be used.
        memory_mb, shared_memory_mb: sizes of the memory and of /dev/shm.
        triton: where the server is that would be started, or why none can be.
        can_serve: whether there is one.
        gpus: all that the driver shows.
        no_gpu: why there are none; empty where there are.
        decodes, encodes: what was tried on the first GPU: WORKS, or why not.
        kernels: whether CuPy compiles and runs a kernel there: WORKS, or why not; empty without a GPU.
        packages: version of each of PACKAGES, None where it is not installed.
    """

    system: str
    python: str
    cores: int
    memory_mb: int
    shared_memory_mb: int
    triton: str
    can_serve: bool
    gpus: tuple[Gpu, ...] = ()
    no_gpu: str = ""
    decodes: Mapping[str, str] = field(default_factory=dict)
    encodes: Mapping[str, str] = field(default_factory=dict)
    kernels: str = ""
    packages: Mapping[str, str | None] = field(default_factory=dict)


def examine() -> Machine:
    """Look at this machine. With a GPU it takes some seconds, since every codec is tried."""
    gpus, no_gpu = find_gpus()
    try:
        triton, can_serve = str(find_triton().binary), True
    except LaunchError as error:
        triton, can_serve = str(error), False
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        shared_memory_mb=shutil.disk_usage(SHARED_MEMORY).total >> 20,
        triton=triton,
        can_serve=can_serve,
        gpus=gpus,
        no_gpu=no_gpu,
        decodes={name: _apart(f"try_decoder({name!r})") for name in DECODED} if gpus else {},
        encodes={name: _apart(f"try_encoder({name!r})") for name in ENCODED} if gpus else {},
        kernels=_apart("try_kernels()") if gpus else "",
        packages={name: package_version(name) for name in PACKAGES},
    )


def find_gpus(program: str = "nvidia-smi") -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that the driver shows, and why there are none."""
    try:
        done = subprocess.run(
            [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except FileNotFoundError:
        return (), f"no NVIDIA driver is installed ({program} is not there)"
    except subprocess.CalledProcessError as error:
        return (), f"the NVIDIA driver does not answer: {(error.stdout or error.stderr).strip()}"
    except subprocess.TimeoutExpired:
        return (), "the NVIDIA driver has not answered for 30 s"
    gpus = []
    for line in done.stdout.splitlines():
        try:
            name, capability, memory, free, driver, uuid = (part.strip() for part in line.split(","))
            numbers = {"memory_mb": int(memory), "free_mb": int(free)}
        except ValueError:  # "[N/A]" where a GPU has no memory of its own, say
            return (), f"the NVIDIA driver tells of a GPU what is not understood here: {line!r}"
        gpus.append(Gpu(name=name, capability=capability, driver=driver, uuid=uuid, **numbers))
    return tuple(gpus), "" if gpus else "the NVIDIA driver shows no GPU"


def try_decoder(name: str) -> str:
    """Decode a small clip on the first GPU: WORKS, or libav's words.

    By the decoder that stages name: of AV1's the container would take the first, which knows no GPU.
    """
    import av
    from av.codec.hwaccel import HWAccel

    encoder, pixel_format = DECODED[name]
    sample = io.BytesIO()
    with av.open(sample, "w", format="matroska") as container:
        stream = container.add_stream(encoder, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = pixel_format
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(_SIDE, _SIDE, pixel_format)))
        container.mux(stream.encode())
    sample.seek(0)
    try:
        # In a context of its own: FFmpeg refuses the device's primary one where CuPy has made it already.
        own = {"primary_ctx": "0"}
        hwaccel = HWAccel("cuda", device="0", allow_software_fallback=False, is_hw_owned=True, options=dict(own))
        decoder: Any = av.CodecContext.create(name.split()[0], "r", hwaccel)
        with av.open(sample, "r") as reader:
            decoder.extradata = reader.streams.video[0].codec_context.extradata
            formats = {frame.format.name for packet in reader.demux(video=0) for frame in decoder.decode(packet)}
    except (av.FFmpegError, OSError, RuntimeError, NotImplementedError) as error:
        return str(error)
    return WORKS if formats == {"cuda"} else f"it was decoded in software, to {', '.join(sorted(formats))}"


def try_encoder(name: str) -> str:
    """Encode a picture with an NVENC encoder: WORKS, or libav's words."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format="matroska") as container:
            stream = container.add_stream(name, rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.width = stream.height = _SIDE
            stream.pix_fmt = "yuv420p"
            packets = [*stream.encode(av.VideoFrame(_SIDE, _SIDE, "yuv420p")), *stream.encode(None)]
    except (av.FFmpegError, OSError, RuntimeError) as error:
        return str(error)
    return WORKS if packets else "it gave no packet"


def try_kernels() -> str:
    """Compile a kernel for the first GPU and run it, as stages do: WORKS, or why not."""
    try:
        cupy = import_cupy("doctor")
        found = (cupy.arange(4) + 1).tolist()
    except (ImportError, OSError, RuntimeError) as error:
        return " ".join(str(error).split())
    return WORKS if found == [1, 2, 3, 4] else f"it computed {found}"


def _apart(call: str) -> str:
    """Try something in a process of its own: a driver that is broken may take it along."""
    code = f"from vireo_server import machine; print(machine.{call})"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "it has not answered for 60 s"
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines and done.returncode == 0 else f"it ended with code {done.returncode}"


def package_version(package: str) -> str | None:
    """The version of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
