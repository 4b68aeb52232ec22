# SPDX-License-Identifier: MIT
"""What the kernel tests share: where CUDA kernels run, pictures, and decoded clips whose conversion swscale knows."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from vireo_kernels import ColorSpec, frames_shape, planes_to_frames
from vireo_kernels.cuda import runner as cuda_runner

SHIM = Path(__file__).parent / "host_shim.h"
GUARD = 64
SWSCALE_MATRIX = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020nc": Colorspace.BT2020}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


class HostRunner:
    """Runs the `.cu` files on the host: the shim loops over grid and blocks.

    Every array stands between guard bytes; a kernel that writes there, or uses a vector access at an address that is no
    multiple of its size, fails its test.
    """

    def __init__(self, libraries: dict[str, ctypes.CDLL], threads: tuple[int, int]) -> None:
        self.threads = threads
        self._libraries = libraries
        self._buffers: list[np.ndarray] = []
        self.vector_accesses = 0

    def _guarded(self, shape: Sequence[int], dtype: Any, offset: int) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        buffer = np.full(size + 2 * GUARD + 16, 0xA5, np.uint8)
        # numpy aligns to 16 bytes at least; offset moves the array off that.
        begin = GUARD + (-buffer.ctypes.data) % 16 + offset
        self._buffers.append(buffer[:begin])
        self._buffers.append(buffer[begin + size :])
        return buffer[begin : begin + size].view(dtype).reshape(shape)

    def place(self, array: np.ndarray, *, offset: int = 0) -> np.ndarray:
        """A copy of an array between guard bytes, `offset` bytes off a multiple of 16."""
        copy = self._guarded(array.shape, array.dtype, offset)
        copy[...] = array
        return copy

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return self._guarded(shape, np.dtype(dtype), 0)

    def table(self, values: np.ndarray) -> np.ndarray:
        return self.place(values)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def launch(self, source: str, kernel: str, *, items: tuple[int, int, int], arguments: Sequence[Any]) -> None:
        library = self._libraries[source]
        assert getattr(library, f"{kernel}_arguments")() == len(arguments), (
            f"{kernel} takes another number of arguments"
        )
        stored: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                stored.append(ctypes.c_void_p(argument.ctypes.data))
            else:
                assert isinstance(argument, (np.int32, np.int64)), f"{kernel}: {argument!r} has no size on a device"
                stored.append((ctypes.c_int32 if isinstance(argument, np.int32) else ctypes.c_int64)(int(argument)))
        addresses = (ctypes.c_void_p * len(stored))(*(ctypes.addressof(value) for value in stored))
        grid = (ctypes.c_int * 3)(*cuda_runner.blocks(items, self.threads))
        before = self._count(library, "vector_accesses")
        getattr(library, f"{kernel}_on_host")(grid, (ctypes.c_int * 2)(*self.threads), addresses)
        self.vector_accesses += self._count(library, "vector_accesses") - before
        assert self._count(library, "misaligned_accesses") == 0, f"{kernel}: a vector access is not aligned"
        for guard in self._buffers:
            assert (guard == 0xA5).all(), f"{kernel} wrote beside an array"

    @staticmethod
    def _count(library: ctypes.CDLL, name: str) -> int:
        return ctypes.c_int.in_dll(library, name).value


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


@pytest.fixture(scope="session")
def host_libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, ctypes.CDLL]]:
    """Compile every `.cu` file for the host, once, when first asked for."""
    loaded: dict[str, ctypes.CDLL] = {}

    def load() -> dict[str, ctypes.CDLL]:
        if not loaded:
            compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
            if compiler is None:
                pytest.skip("no host C++ compiler (g++, c++ or clang++) to run the CUDA sources with")
            folder = tmp_path_factory.mktemp("cuda_on_host")
            for source in sorted(cuda_runner.FOLDER.glob("*.cu")):
                target = folder / f"{source.stem}.so"
                command = [compiler, "-x", "c++", "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared"]
                command += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-include", str(SHIM)]
                made = subprocess.run([*command, "-o", str(target), str(source)], capture_output=True, text=True)
                assert made.returncode == 0, made.stderr
                loaded[source.name] = ctypes.CDLL(str(target))
        return loaded

    return load


@pytest.fixture(params=[(4, 3), (32, 4), pytest.param("gpu", marks=pytest.mark.gpu)], ids=str)
def runner(request: pytest.FixtureRequest, host_libraries: Callable[[], dict[str, ctypes.CDLL]]) -> Any:
    """Where CUDA kernels run: on the host with two sizes of blocks, and on a GPU."""
    if request.param == "gpu":
        try:
            import cupy

            cupy.cuda.runtime.getDeviceCount()
        except Exception as error:  # whatever CuPy says when there is none
            if os.environ.get("VIREO_REQUIRE_GPU") == "1":
                raise
            pytest.skip(f"no GPU: {error}")
        return GpuRunner(cupy)
    return HostRunner(host_libraries(), request.param)


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
