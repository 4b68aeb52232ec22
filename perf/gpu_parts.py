# SPDX-License-Identifier: MIT
"""What the programs that look at a GPU share: CuPy or why not, rates, and clips that NVDEC decodes."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from perf.questions import Answer, NotRunError

if TYPE_CHECKING:
    from vireo_server.side import Side

WIDTH, HEIGHT = 1920, 1080


def find_cupy() -> Any:
    """CuPy, where there is a GPU for it. Raises NotRunError."""
    from vireo_kernels.cuda.runner import import_cupy

    try:
        cupy = import_cupy("perf")
    except ImportError as error:
        raise NotRunError("CuPy is not installed: pip install 'vireo[gpu]'") from error
    try:
        if cupy.cuda.runtime.getDeviceCount() < 1:
            raise NotRunError("there is no CUDA device")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NotRunError(f"there is no CUDA device: {error}") from error
    return cupy


def gpu_side() -> Side:
    """The side of a stage that works on the first GPU."""
    from vireo_kernels.devices import Device
    from vireo_server.side import Side

    side = Side(device=Device(0))
    side.enter()
    return side


def rate(cupy: Any, amount: float, run: Callable[[], Any], *, seconds: float = 0.0) -> float:
    """`amount` in units of 1e9 a second; the best of five, after one that warms up, and for at least `seconds`."""
    best, end, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 6 or time.perf_counter() < end:
        cupy.cuda.Device().synchronize()
        began = time.perf_counter()
        run()
        cupy.cuda.Device().synchronize()
        best = min(best, time.perf_counter() - began)
        runs += 1
    return float(f"{amount / best / 1e9:.4g}")


def noise_clip() -> bytes:
    """240 frames of 1080p noise and motion in GOPs of 30, H.264 8 bit, which every NVDEC takes."""
    import av

    buffer = io.BytesIO()
    background = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "30", "g": "30"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(240):
            picture = np.roll(background, 8 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def opened(clip: bytes, *, cuda: bool) -> Any:
    """A clip's container, decoded by NVDEC to frames of the device or in software; closed by its reader."""
    import av
    from vireo_server.nvdec import hwaccel

    if cuda:
        find_cupy().cuda.Device(0).use()
    container = av.open(io.BytesIO(clip), hwaccel=hwaccel(0, may_fall_back=False) if cuda else None)
    # Frame threads would each hold surfaces, of which NVDEC has fewer than 32.
    container.streams.video[0].thread_count = 1
    return container


def decode_rates() -> Answer:
    """Frames/s of NVDEC at 1, 7 and 28 segments in flight, frames staying on the device, and in software beside it."""
    find_cupy()
    clip = noise_clip()
    found: Answer = {"codec": "h264", "size": f"{WIDTH}x{HEIGHT}"}
    for segments in (1, 7, 28):
        found[f"cuda_{segments}_frames_s"] = _decode_rate(clip, segments, cuda=True)
    found["software_1_frames_s"] = _decode_rate(clip, 1, cuda=False)
    return found


def _decode_rate(clip: bytes, streams: int, *, cuda: bool) -> float:
    """Frames/s of so many decoders at once, each on the whole clip."""

    def run(_: int) -> int:
        with opened(clip, cuda=cuda) as container:
            return sum(1 for _ in container.decode(video=0))

    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        frames = sum(pool.map(run, range(streams)))
    return round(frames / (time.perf_counter() - began), 1)
