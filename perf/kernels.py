# SPDX-License-Identifier: MIT
"""How fast the pixel kernels are, as ratios to swscale, Pillow and OpenCV on the same pictures in one program.

    python perf/kernels.py                    a table, 1080p, one thread and two
    python perf/kernels.py --json FILE        and the numbers
    python perf/kernels.py --compile          compile every CUDA source for every architecture instead (minutes)

Ours and theirs run in turn, A B A B, four pictures each, so that a busy moment of the machine meets both. A number is
the best of all (the JSON has the medians too); a ratio above 1 means that ours is faster. swscale runs its accurate
path where nothing else is said. Threads work on pictures of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numba
import numpy as np
import PIL
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image
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
    planes_to_frames,
    resize_image,
    rgb_to_frames,
)
from vireo_kernels.cuda.runner import FOLDER, OPTIONS

WIDTH, HEIGHT = 1920, 1080
SMALL, HALF, LARGE = (224, 224), (960, 540), (3840, 2160)
HD = ColorSpec(matrix="bt709", color_range="limited")
ACCURATE = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
REPEATS = 4
ARCHITECTURES = (75, 80, 86, 89, 90, 100)

Work = Callable[[], object]


@dataclass(frozen=True)
class Result:
    """Milliseconds a picture, ours and theirs, and how many times as fast ours is; `wanted` is what must be reached."""

    name: str
    threads: int
    ours_ms: float
    theirs_ms: float | None
    ratio: float | None
    ours_median_ms: float
    theirs_median_ms: float | None
    wanted: float | None


@dataclass(frozen=True)
class Comparison:
    """Ours and theirs; each maker gives a piece of work with arrays of its own, for one thread."""

    name: str
    ours: Callable[[], Work]
    theirs: Callable[[], Work] | None = None
    wanted: float | None = None


def picture() -> np.ndarray:
    """`(H, W, 3) uint8`: waves and noise, seeded."""
    noise = np.random.default_rng(7)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [127 + 110 * np.sin(x / (23 + 9 * k)) * np.cos(y / (31 - 5 * k)) for k in range(3)]
    return np.clip(np.stack(waves, -1) + noise.normal(0, 12, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def swscale(source: str, target: str, flags: Interpolation | None = ACCURATE) -> Callable[[], Work]:
    """Work of swscale, one thread, its tables made before."""

    def make() -> Work:
        frame = av.VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format=source)
        reformatter = VideoReformatter()
        return lambda: reformatter.reformat(frame, format=target, interpolation=flags, threads=1)

    return make


def frames_of(pixel_format: Any) -> np.ndarray:
    frames: np.ndarray = rgb_to_frames(picture()[None], pixel_format=pixel_format, color=HD, layout="interleaved")
    return frames


def to_rgb(pixel_format: Any, layout: Any, dtype: Any = "uint8") -> Callable[[], Work]:
    def make() -> Work:
        frames = frames_of(pixel_format)
        options: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "pixel_format": pixel_format, "color": HD}
        # A new result each time, as the other side makes a new frame.
        return lambda: frames_to_rgb(frames, layout=layout, dtype=dtype, **options)

    return make


def from_rgb(pixel_format: Any, layout: Any, dtype: str = "uint8", dither: bool = False) -> Callable[[], Work]:
    def make() -> Work:
        rgb = picture()[None] if layout == "interleaved" else np.ascontiguousarray(picture().transpose(2, 0, 1))[None]
        rgb = rgb if dtype == "uint8" else rgb.astype(dtype) * 257
        return lambda: rgb_to_frames(rgb, pixel_format=pixel_format, color=HD, layout=layout, dither=dither)

    return make


def resized(
    filter_name: Any, antialias: bool, size: tuple[int, int], layout: Any = "interleaved"
) -> Callable[[], Work]:
    def make() -> Work:
        image = picture()[None] if layout == "interleaved" else np.ascontiguousarray(picture().transpose(2, 0, 1))[None]
        fit = fit_exact(width=size[0], height=size[1])
        return lambda: resize_image(image, fit=fit, filter_name=filter_name, antialias=antialias, layout=layout)

    return make


def pillow(filter_name: str, size: tuple[int, int]) -> Callable[[], Work]:
    def make() -> Work:
        image = Image.fromarray(picture())
        kind = Image.Resampling[filter_name.upper()]
        return lambda: image.resize(size, kind)

    return make


def opencv(interpolation: int, size: tuple[int, int]) -> Callable[[], Work]:
    def make() -> Work:
        image = picture()
        return lambda: cv2.resize(image, size, interpolation=interpolation)

    return make


def fused() -> Work:
    frames = frames_of("nv12")
    return lambda: frames_to_input(
        frames,
        width=WIDTH,
        height=HEIGHT,
        pixel_format="nv12",
        color=HD,
        fit=fit_exact(width=224, height=224),
        filter_name="bilinear",
        antialias=True,
        dtype="float32",
        normalization=IMAGENET,
    )


def in_steps() -> Work:
    """The same by swscale, Pillow and numpy, as a training pipeline does it."""
    frame = av.VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format="nv12")
    reformatter = VideoReformatter()
    mean, std = np.float32(IMAGENET.mean), np.float32(IMAGENET.std)

    def work() -> object:
        rgb = reformatter.reformat(frame, format="rgb24", interpolation=ACCURATE, threads=1).to_ndarray()
        small = np.asarray(Image.fromarray(rgb).resize(SMALL, Image.Resampling.BILINEAR))
        return ((small.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)

    return work


def interleaved_planes() -> Work:
    frame = av.VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format="yuv420p")
    planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]

    def work() -> object:
        out = np.empty(frames_shape(1, width=WIDTH, height=HEIGHT, pixel_format="nv12"), np.uint8)
        planes_to_frames(*planes, out=out[0])
        return out

    return work


def hdr() -> Work:
    rgb = np.ascontiguousarray(picture().transpose(2, 0, 1))[None]
    source, target = LightSpec(curve="bt1886", primaries="bt709"), LightSpec(curve="pq", primaries="bt2020")
    return lambda: convert_light(rgb, source=source, target=target, gain=SDR_WHITE_IN_PQ)


COMPARISONS = [
    # name, ours, theirs, how many times as fast ours must be
    Comparison("NV12 to planar RGB / swscale rgb24", to_rgb("nv12", "planar"), swscale("nv12", "rgb24"), 4),
    Comparison("NV12 to planar RGB / swscale gbrp", to_rgb("nv12", "planar"), swscale("nv12", "gbrp"), 1.8),
    Comparison("NV12 to interleaved RGB / swscale rgb24", to_rgb("nv12", "interleaved"), swscale("nv12", "rgb24")),
    Comparison(
        "NV12 to interleaved RGB / swscale's inexact default",
        to_rgb("nv12", "interleaved"),
        swscale("nv12", "rgb24", None),
    ),
    Comparison("P010 to planar RGB / swscale gbrp", to_rgb("p010", "planar"), swscale("p010le", "gbrp")),
    Comparison(
        "P010 to planar RGB uint16 / swscale gbrp16",
        to_rgb("p010", "planar", "uint16"),
        swscale("p010le", "gbrp16le"),
    ),
    Comparison("planar RGB to NV12 / swscale gbrp", from_rgb("nv12", "planar"), swscale("gbrp", "nv12"), 4),
    Comparison("interleaved RGB to NV12 / swscale rgb24", from_rgb("nv12", "interleaved"), swscale("rgb24", "nv12"), 4),
    Comparison(
        "planar RGB uint16 to P010 / swscale gbrp16",
        from_rgb("p010", "planar", "uint16"),
        swscale("gbrp16le", "p010le"),
    ),
    Comparison("planar RGB uint16 to P010, dithered", from_rgb("p010", "planar", "uint16", dither=True)),
    Comparison("yuv420p planes to NV12 / swscale", interleaved_planes, swscale("yuv420p", "nv12")),
    Comparison("antialiased bilinear to 224 / Pillow", resized("bilinear", True, SMALL), pillow("bilinear", SMALL), 1),
    Comparison(
        "antialiased bilinear to 224, planar / Pillow",
        resized("bilinear", True, SMALL, "planar"),
        pillow("bilinear", SMALL),
        1,
    ),
    Comparison("antialiased bicubic to 224 / Pillow", resized("bicubic", True, SMALL), pillow("bicubic", SMALL)),
    Comparison("antialiased lanczos to 960x540 / Pillow", resized("lanczos", True, HALF), pillow("lanczos", HALF)),
    Comparison("antialiased bicubic to 2160p / Pillow", resized("bicubic", True, LARGE), pillow("bicubic", LARGE)),
    Comparison("plain bilinear to 224 / OpenCV", resized("bilinear", False, SMALL), opencv(cv2.INTER_LINEAR, SMALL)),
    Comparison("plain bicubic to 2160p / OpenCV", resized("bicubic", False, LARGE), opencv(cv2.INTER_CUBIC, LARGE)),
    Comparison("NV12 to 224 float32 in one pass / swscale, Pillow, numpy", lambda: fused(), lambda: in_steps()),
    Comparison("SDR RGB to PQ BT.2020 uint16", hdr),
]


def seconds(works: list[Work], pool: ThreadPoolExecutor) -> float:
    """Time of one picture a thread, all threads at once; the threads are there already."""
    begin = time.perf_counter()
    if len(works) == 1:
        works[0]()
    else:
        for future in [pool.submit(work) for work in works]:
            future.result()
    return time.perf_counter() - begin


def compare(comparison: Comparison, threads: int, rounds: int) -> Result:
    with ThreadPoolExecutor(threads) as pool:
        ours = [comparison.ours() for _ in range(threads)]
        theirs = [comparison.theirs() for _ in range(threads)] if comparison.theirs else []
        times: tuple[list[float], list[float]] = ([], [])
        for index in range(rounds + 1):
            for works, taken in zip((ours, theirs), times, strict=True):
                # A few in a row: a stream converts one picture after another, too.
                several = [seconds(works, pool) for _ in range(REPEATS)] if works else [0.0]
                if index:  # the first round compiles
                    taken.extend(several)
    ours_ms, theirs_ms = (min(taken) * 1e3 / threads for taken in times)
    medians = [statistics.median(taken) * 1e3 / threads for taken in times]
    if not theirs:
        return Result(comparison.name, threads, ours_ms, None, None, medians[0], None, None)
    return Result(
        comparison.name,
        threads,
        ours_ms,
        theirs_ms,
        theirs_ms / ours_ms,
        medians[0],
        medians[1],
        comparison.wanted if threads == 1 else None,
    )


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def compile_everything() -> None:
    """Every CUDA source for every architecture, by nvcc."""
    for source in sorted(FOLDER.glob("*.cu")):
        for architecture in ARCHITECTURES:
            begin = time.perf_counter()
            command = ["nvcc", *OPTIONS, f"-arch=sm_{architecture}", "-cubin", "-o", os.devnull, str(source)]
            subprocess.run(command, check=True)
            print(f"{source.name:20} sm_{architecture:<4} {time.perf_counter() - begin:5.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="rounds of A and B (default 10)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads (default 1 and 2)")
    parser.add_argument("--only", default="", help="comparisons whose name contains this")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--compile", action="store_true", help="compile the CUDA sources instead")
    options = parser.parse_args()
    if options.compile:
        compile_everything()
        return 0
    cv2.setNumThreads(1)
    results = []
    print(f"{'1920 x 1080, milliseconds a picture':57} threads    ours  theirs   ratio")
    for comparison in COMPARISONS:
        if options.only not in comparison.name:
            continue
        for threads in options.threads:
            result = compare(comparison, threads, options.rounds)
            results.append(result)
            theirs = f"{result.theirs_ms:7.2f} {result.ratio:6.2f}x" if result.theirs_ms else ""
            missed = result.wanted is not None and result.ratio is not None and result.ratio < result.wanted
            goal = f"  (wanted {result.wanted:g}{': missed' if missed else ''})" if result.wanted else ""
            print(f"{result.name:57} {threads:7} {result.ours_ms:7.2f} {theirs}{goal}", flush=True)
    if options.json:
        about = {
            "processor": processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "av": av.__version__,
            "pillow": PIL.__version__,
            "opencv": cv2.__version__,
            "rounds": options.rounds,
        }
        options.json.write_text(json.dumps({"about": about, "results": [asdict(r) for r in results]}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
