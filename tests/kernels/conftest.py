# SPDX-License-Identifier: MIT
"""What the kernel tests share: where CUDA kernels run, pictures, and decoded clips whose conversion swscale knows."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from vireo_kernels import ColorSpec, frames_shape, planes_to_frames
from vireo_kernels.cuda import runner as cuda_runner

SWSCALE_MATRIX = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020nc": Colorspace.BT2020}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


class GpuRunner:
    """Runs them on the first CUDA device, and brings arrays there and back."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._runner = cuda_runner.runner_of(0)

    def place(self, array: np.ndarray, *, offset: int = 0) -> Any:
        buffer = self._cupy.empty(array.nbytes + offset, np.uint8)
        copy = buffer[offset:].view(array.dtype).reshape(array.shape)
        copy[...] = self._cupy.asarray(array)
        return copy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


@pytest.fixture(params=[(4, 3), (32, 4), pytest.param("gpu", marks=pytest.mark.gpu)], ids=str)
def runner(request: pytest.FixtureRequest, host_runner: Callable[[tuple[int, int]], Any]) -> Any:
    """Where CUDA kernels run: on the host with two sizes of blocks, and on a GPU."""
    if request.param == "gpu":
        return GpuRunner(request.getfixturevalue("gpu"))
    return host_runner(request.param)


def to_host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.get()


@pytest.fixture(name="to_host")
def to_host_fixture() -> Callable[[Any], np.ndarray]:
    return to_host


def colourful(width: int, height: int, index: int) -> np.ndarray:
    """`(H, W, 3) uint8`: waves of three lengths with noise, so that every code and every slope occurs."""
    noise = np.random.default_rng(index)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 120 * np.sin(x / (5 + 3 * k) + index) * np.cos(y / (7 - 2 * k)) for k in range(3)]
    return np.clip(np.stack(waves, -1) + noise.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(name="colourful")
def colourful_fixture() -> Callable[[int, int, int], np.ndarray]:
    return colourful


@pytest.fixture(scope="session")
def decoded_frames() -> Callable[..., Iterator[av.VideoFrame]]:
    """Frames decoded from a lossless H.264 stream that signals its matrix, range and chroma location.

    Only decoded frames carry a chroma location; on frames made by hand swscale takes the centre.
    """

    def make(*, width: int, height: int, color: ColorSpec, pix_fmt: str, count: int) -> Iterator[av.VideoFrame]:
        location = {"left": 0, "center": 1, "topleft": 2}[color.chroma_location]
        matrix = {"bt601": 6, "bt709": 1, "bt2020nc": 9}[color.matrix]
        value_range = ColorRange.JPEG if color.color_range == "full" else ColorRange.MPEG
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as container:
            options = {"preset": "ultrafast", "x264-params": f"qp=0:chromaloc={location}"}
            stream = container.add_stream("libx264", rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, value_range
            for index in range(count):
                frame = av.VideoFrame.from_ndarray(colourful(width, height, index), format="rgb24").reformat(
                    format=pix_fmt, dst_colorspace=SWSCALE_MATRIX[color.matrix], dst_color_range=value_range
                )
                frame.colorspace, frame.color_range = matrix, value_range
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        buffer.seek(0)
        with av.open(buffer) as container:
            yield from container.decode(video=0)

    return make


@pytest.fixture(scope="session")
def swscale_rgb() -> Callable[[av.VideoFrame], np.ndarray]:
    """`(H, W, 3) uint8` by swscale's accurate path: all four flags are needed for it."""
    flags = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

    def convert(frame: av.VideoFrame) -> np.ndarray:
        return frame.reformat(format="rgb24", interpolation=flags).to_ndarray()

    return convert


@pytest.fixture(scope="session")
def frames_of() -> Callable[[av.VideoFrame], np.ndarray]:
    """FRAMES, `(1, ...)`, of a decoded planar frame."""

    def convert(frame: av.VideoFrame) -> np.ndarray:
        ten = frame.format.name.endswith("10le")
        dtype, pixel_format = (np.uint16, "p010") if ten else (np.uint8, "nv12")
        planes = [np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
        frames = np.empty(frames_shape(1, width=frame.width, height=frame.height, pixel_format=pixel_format), np.uint8)
        planes_to_frames(*planes, out=frames[0])
        return frames

    return convert
