# SPDX-License-Identifier: MIT
"""What each part of a service runs on, chosen from what a machine has; pure, so that machines can be made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vireo_server.runtimes import RUNTIMES

if TYPE_CHECKING:
    from vireo_server.machine import Machine

HOPPER = "9.0"
CUDA, CPU, NVDEC, NVENC = "CUDA", "CPU", "NVDEC", "NVENC"
#: The packages of which a runtime needs one; the first is what we tell people to install.
RUNTIME_PACKAGES = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime_cuda": ("onnxruntime-gpu",),
    "tensorrt": ("tensorrt-cu12", "tensorrt-cu13", "tensorrt"),
    "tensorrt_rtx": ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt-rtx"),
}
#: CuPy's distributions, of which one is needed; the first is what we tell people to install.
CUPY = ("cupy-cuda12x", "cupy-cuda13x", "cupy")
#: What runtime "auto" takes, the best that works: those of a GPU first. TensorRT-RTX is before TensorRT since it is a
#: tenth of its size and ready in a second.
GPU_RUNTIMES = ("tensorrt_rtx", "tensorrt", "onnxruntime_cuda")
_BEST_FIRST = (*GPU_RUNTIMES, "openvino", "onnxruntime")
#: What libav has for a codec where there is no NVENC.
_ENCODERS = {"h264": "x264", "hevc": "x265", "av1": "SVT-AV1"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a service's parts run on.

    Attributes:
        decode: kind of video -> NVDEC or CPU.
        preprocess: CUDA or CPU: where the pixel kernels run.
        network: the runtime; empty for a service without a network.
        encode: codec -> NVENC, or the encoder on the CPU.
    """

    decode: Mapping[str, str]
    preprocess: str
    network: str
    encode: Mapping[str, str]


def choose(machine: Machine, *, runtime: str = "auto") -> Choice:
    """What a service would run on, if `runtime` is what its network's configuration says."""
    from vireo_server.machine import DECODED, WORKS

    cuda = bool(machine.gpus) and has_cupy(machine.packages) and machine.kernels == WORKS
    network = runtime
    if runtime == "auto":
        capability = machine.gpus[0].capability if cuda else None
        network = next(iter(usable_runtimes(capability=capability, packages=machine.packages)), "")
    return Choice(
        decode={name: NVDEC if cuda and machine.decodes.get(name) == WORKS else CPU for name in DECODED},
        preprocess=CUDA if cuda else CPU,
        network=network,
        encode={
            codec: NVENC if cuda and machine.encodes.get(f"{codec}_nvenc") == WORKS else software
            for codec, software in _ENCODERS.items()
        },
    )


def has_cupy(packages: Mapping[str, str | None]) -> bool:
    """Whether CuPy is installed, by the version of each package, None where it is not."""
    return any(packages.get(name) is not None for name in CUPY)


def usable_runtimes(*, capability: str | None, packages: Mapping[str, str | None]) -> list[str]:
    """The runtimes that nothing stands against, the best first. `capability` is the GPU's, None without one."""
    return [
        name for name in _BEST_FIRST if not runtime_fault(name, capability=capability, packages=packages, no_gpu="-")
    ]


def runtime_fault(
    runtime: str, *, capability: str | None, packages: Mapping[str, str | None], no_gpu: str, gpu: str = ""
) -> str:
    """What stands against a runtime; empty where nothing does.

    Args:
        runtime: its name, or "auto".
        capability: of the GPU, as '8.9'; None: there is none.
        packages: version of each, None where it is not installed.
        no_gpu: why there is none, for the message.
        gpu: its name, for the message.
    """
    if runtime == "auto":
        usable = usable_runtimes(capability=capability, packages=packages)
        return "" if usable else f"none of the runtimes is installed: {', '.join(RUNTIME_PACKAGES)}"
    if runtime not in RUNTIMES:
        return f"runtime {runtime!r} is none of {', '.join(RUNTIMES)}"
    if all(packages.get(package) is None for package in RUNTIME_PACKAGES[runtime]):
        return f"{RUNTIME_PACKAGES[runtime][0]} is not installed"
    if runtime not in GPU_RUNTIMES:
        return ""
    if capability is None:
        return f"there is no GPU: {no_gpu}"
    if not has_cupy(packages):
        return f"{CUPY[0]} is not installed"
    if runtime == "tensorrt_rtx" and capability == HOPPER:
        return f"TensorRT-RTX builds nothing for Hopper ({gpu or capability})"
    return ""
