# SPDX-License-Identifier: MIT
"""The CUDA kernels on a GPU: equal to the CPU's bit for bit, and how near to the speed of a mere copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from vireo_kernels import (
    SDR_WHITE_IN_PQ,
    ColorSpec,
    LightSpec,
    Normalization,
    convert_light,
    fit_exact,
    frames_shape,
    frames_to_input,
    frames_to_rgb,
    hdr_to_sdr,
    resize_image,
    rgb_to_frames,
)

from perf.gpu_parts import HEIGHT, WIDTH, find_cupy, rate
from perf.questions import Answer

_BATCH = 16
_HD = ColorSpec(matrix="bt709", color_range="limited")
_HDR = ColorSpec(matrix="bt2020nc", color_range="limited")

Work = Callable[[Any], Any]


def kernel_shares() -> Answer:
    """For each kernel, on 16 pictures of 1080p: whether it equals the CPU's, GB/s that it reads and writes, and the
    share of what copying within the device reaches."""
    cupy = find_cupy()
    size = 1 << 28
    a, b = cupy.empty(size, np.uint8), cupy.empty(size, np.uint8)
    copy = rate(cupy, 2 * size, lambda: cupy.copyto(b, a))
    found: Answer = {"copy_gb_s": copy}
    for name, (source, run) in _work().items():
        expected, given = run(source), cupy.asarray(source)
        result = run(given)
        speed = rate(cupy, given.nbytes + result.nbytes, lambda run=run, given=given: run(given))
        equal = bool((cupy.asnumpy(result) == expected).all())
        found[name] = {"equals_the_cpu": equal, "gb_s": speed, "share_of_copy": round(speed / copy, 3)}
    return found


def _work() -> dict[str, tuple[Any, Work]]:
    """Each kernel's input on the host, and the call."""
    rng = np.random.default_rng(0)

    def frames_of(pixel_format: Any) -> Any:
        shape = frames_shape(_BATCH, width=WIDTH, height=HEIGHT, pixel_format=pixel_format)
        return rng.integers(0, 256, shape, dtype=np.uint8)

    def to_rgb(pixel_format: Any, color: ColorSpec, **options: Any) -> Work:
        return lambda x: frames_to_rgb(x, width=WIDTH, height=HEIGHT, pixel_format=pixel_format, color=color, **options)

    nv12, p010 = frames_of("nv12"), frames_of("p010")
    rgb, deep = to_rgb("nv12", _HD)(nv12), to_rgb("p010", _HDR, dtype="uint16")(p010)
    half, small = fit_exact(width=WIDTH // 2, height=HEIGHT // 2), fit_exact(width=224, height=224)
    sdr, hdr10 = LightSpec(curve="bt1886", primaries="bt709"), LightSpec(curve="pq", primaries="bt2020")
    imagenet = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return {
        "NV12 to RGB": (nv12, to_rgb("nv12", _HD)),
        "P010 to RGB of 16 bits": (p010, to_rgb("p010", _HDR, dtype="uint16")),
        "RGB to NV12": (rgb, lambda x: rgb_to_frames(x, pixel_format="nv12", color=_HD)),
        "RGB of 16 bits to P010": (deep, lambda x: rgb_to_frames(x, pixel_format="p010", color=_HDR)),
        "resize to half": (rgb, lambda x: resize_image(x, fit=half, filter_name="bicubic", antialias=True)),
        "NV12 to 224 float32 in one pass": (
            nv12,
            lambda x: frames_to_input(
                x, width=WIDTH, height=HEIGHT, pixel_format="nv12", color=_HD, fit=small, filter_name="bilinear",
                antialias=True, dtype="float32", normalization=imagenet,
            ),
        ),
        "SDR to PQ": (rgb, lambda x: convert_light(x, source=sdr, target=hdr10, gain=SDR_WHITE_IN_PQ)),
        "HDR to SDR": (deep, lambda x: hdr_to_sdr(x, method="bt2446a")),
    }  # fmt: skip
