# SPDX-License-Identifier: MIT
"""Where an array lies: other libraries' host arrays are taken as they are, mixed sides and missing CuPy are errors."""

from __future__ import annotations

import _ctypes
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vireo_kernels import ColorSpec, frames_to_rgb, rgb_to_frames
from vireo_kernels.cuda import runner
from vireo_kernels.devices import adopt

HD = ColorSpec(matrix="bt709", color_range="limited")
FRAMES = np.full((1, 6, 6), 100, np.uint8)
OPTIONS: dict[str, Any] = {"width": 6, "height": 4, "pixel_format": "nv12", "color": HD}


class Lent:
    """Another library's array: nothing but DLPack."""

    def __init__(self, array: np.ndarray, device: tuple[int, int]) -> None:
        self._array, self._device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


def test_a_host_array_of_another_library_is_taken() -> None:
    rgb = frames_to_rgb(Lent(FRAMES.copy(), (1, 0)), **OPTIONS)
    np.testing.assert_array_equal(rgb, frames_to_rgb(FRAMES, **OPTIONS))


def test_a_result_of_another_library_is_filled() -> None:
    owner = np.zeros((1, 3, 4, 6), np.uint8)
    out = Lent(owner, (1, 0))
    assert frames_to_rgb(FRAMES, out=out, **OPTIONS) is out
    np.testing.assert_array_equal(owner, frames_to_rgb(FRAMES, **OPTIONS))


def test_mixed_sides_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"frames_to_rgb: arrays lie .* sides: frames on the host, out on CUDA device 1"
    ):
        frames_to_rgb(FRAMES, out=Lent(np.zeros((1, 3, 4, 6), np.uint8), (2, 1)), **OPTIONS)
    with pytest.raises(ValueError, match="frames on CUDA device 0, out on CUDA device 1"):
        adopt("frames_to_rgb", frames=Lent(FRAMES, (2, 0)), out=Lent(FRAMES, (2, 1)))


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed here")
def test_a_device_array_without_cupy_says_how_to_install_it() -> None:
    with pytest.raises(ImportError, match=r"rgb_to_frames: .* pip install 'vireo\[gpu\]'"):
        rgb_to_frames(Lent(np.zeros((1, 3, 4, 6), np.uint8), (2, 0)), pixel_format="nv12", color=HD)


def test_the_compiler_of_kernels_is_loaded_from_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # CuPy 13 asks for libnvrtc.so.12 by that name alone; any library stands in for it.
    library = tmp_path / "nvidia" / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"
    said = tmp_path / "nvidia_cuda_nvrtc_cu12-12.9.86.dist-info"
    for folder in (library.parent, said):
        folder.mkdir(parents=True)
    shutil.copy(_ctypes.__file__, library)
    (said / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cuda-nvrtc-cu12\nVersion: 12.9.86\n")
    (said / "RECORD").write_text("nvidia/cuda_nvrtc/lib/libnvrtc.so.12,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    runner._load_compiler.cache_clear()
    runner._load_compiler()
    assert str(library) in Path("/proc/self/maps").read_text()


def test_other_devices_and_other_things_are_refused() -> None:
    with pytest.raises(ValueError, match=r"frames .* device of DLPack type 10"):
        frames_to_rgb(Lent(FRAMES, (10, 0)), **OPTIONS)
    with pytest.raises(TypeError, match="frames is a str; it must be a numpy array"):
        frames_to_rgb("frames", **OPTIONS)
