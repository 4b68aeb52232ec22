# SPDX-License-Identifier: MIT
"""The CUDA kernels on a GPU: equal to the CPU's bit for bit, and how near to the speed of a mere copy."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import vireo_kernels as kernels
from vireo_kernels import ColorSpec, LightSpec, Normalization, fit_exact, frames_shape
from vireo_kernels.reference import color, network_input, resize, transfer

from perf.gpu_parts import HEIGHT, WIDTH, find_cupy, rate
from perf.questions import Answer

_BATCH = 16
_HD = ColorSpec(matrix="bt709", color_range="limited")
_HDR = ColorSpec(matrix="bt2020nc", color_range="limited")
#: What a kernel's numbers are compared with where Numba, which makes the CPU's, is missing: one picture by NumPy.
_REFERENCES: dict[Callable[..., Any], Callable[..., Any]] = {
    kernels.frames_to_rgb: color.frames_to_rgb,
    kernels.rgb_to_frames: color.rgb_to_frames,
    kernels.resize_image: resize.resize_image,
    kernels.frames_to_input: network_input.frames_to_input,
    kernels.convert_light: transfer.convert_light,
}


def kernel_shares() -> Answer:
    """For each kernel, on 16 pictures of 1080p: whether it equals the CPU's, GB/s that it reads and writes, and the
    share of what copying within the device reaches."""
    cupy = find_cupy()
    size = 1 << 28
    a, b = cupy.empty(size, np.uint8), cupy.empty(size, np.uint8)
    copy = rate(cupy, 2 * size, lambda: cupy.copyto(b, a))
    found: Answer = {"copy_gb_s": copy}
    for name, (source, function, options) in _work().items():
        given = cupy.asarray(source)
        result = function(given, **options)
        speed = rate(
            cupy, given.nbytes + result.nbytes,
            lambda function=function, given=given, options=options: function(given, **options),
        )  # fmt: skip
        found[name] = {
            **_compared(function, source, options, cupy.asnumpy(result)),
            "gb_s": speed,
            "share_of_copy": round(speed / copy, 3),
        }
    return found


def _compared(function: Callable[..., Any], source: Any, options: Answer, result: Any) -> Answer:
    """Whether a result is what it must be, and by whom."""
    if importlib.util.find_spec("numba") is not None:
        return {"equals_the_cpu": bool((result == function(source, **options)).all())}
    if function not in _REFERENCES:
        return {"equals_the_cpu": "not compared: numba is not installed"}
    return {"equals_the_reference": bool((result[:1] == _REFERENCES[function](source[:1], **options)).all())}


def _work() -> dict[str, tuple[Any, Callable[..., Any], Answer]]:
    """Each kernel's input on the host, the function, and what it is told."""
    rng = np.random.default_rng(0)

    def frames_of(pixel_format: Any) -> Any:
        shape = frames_shape(_BATCH, width=WIDTH, height=HEIGHT, pixel_format=pixel_format)
        return rng.integers(0, 256, shape, dtype=np.uint8)

    nv12, p010 = frames_of("nv12"), frames_of("p010")
    rgb = rng.integers(0, 256, (_BATCH, 3, HEIGHT, WIDTH), dtype=np.uint8)
    deep = rng.integers(0, 1 << 16, (_BATCH, 3, HEIGHT, WIDTH), dtype=np.uint16)
    nv12_of = {"width": WIDTH, "height": HEIGHT, "pixel_format": "nv12", "color": _HD}
    p010_of = {"width": WIDTH, "height": HEIGHT, "pixel_format": "p010", "color": _HDR}
    half, small = fit_exact(width=WIDTH // 2, height=HEIGHT // 2), fit_exact(width=224, height=224)
    sdr, hdr10 = LightSpec(curve="bt1886", primaries="bt709"), LightSpec(curve="pq", primaries="bt2020")
    imagenet = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    normalized = {"fit": small, "filter_name": "bilinear", "antialias": True, "normalization": imagenet}
    return {
        "NV12 to RGB": (nv12, kernels.frames_to_rgb, nv12_of),
        "P010 to RGB of 16 bits": (p010, kernels.frames_to_rgb, {**p010_of, "dtype": "uint16"}),
        "RGB to NV12": (rgb, kernels.rgb_to_frames, {"pixel_format": "nv12", "color": _HD}),
        "RGB of 16 bits to P010": (deep, kernels.rgb_to_frames, {"pixel_format": "p010", "color": _HDR}),
        "resize to half": (rgb, kernels.resize_image, {"fit": half, "filter_name": "bicubic", "antialias": True}),
        "NV12 to 224 float32 in one pass": (
            nv12, kernels.frames_to_input, {**nv12_of, **normalized, "dtype": "float32"}
        ),
        "SDR to PQ": (
            rgb, kernels.convert_light, {"source": sdr, "target": hdr10, "gain": kernels.SDR_WHITE_IN_PQ}
        ),
        "HDR to SDR": (deep, kernels.hdr_to_sdr, {"method": "bt2446a"}),
    }  # fmt: skip
