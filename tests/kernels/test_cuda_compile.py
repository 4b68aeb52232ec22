# SPDX-License-Identifier: MIT
"""The CUDA sources, compiled for GPUs: by NVRTC from its wheel (`nvidia-cuda-nvrtc-cu12`), or by nvcc."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from vireo_kernels.cuda.runner import FOLDER, OPTIONS

ARCHITECTURES = (75, 80, 86, 89, 90, 100)
SOURCES = sorted(path.name for path in FOLDER.glob("*.cu"))


def nvrtc_library() -> Path | None:
    package = importlib.util.find_spec("nvidia")
    folders = list(package.submodule_search_locations or []) if package else []
    found = [path for folder in folders for path in Path(folder).glob("cuda_nvrtc/lib/libnvrtc.so*")]
    return found[0] if found else None


def compile_with_nvrtc(library: Path, source: str, architecture: int) -> None:
    nvrtc = ctypes.CDLL(str(library))
    program = ctypes.c_void_p()
    text = (FOLDER / source).read_bytes()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.encode(), 0, None, None) == 0
    options = [*OPTIONS, f"--gpu-architecture=sm_{architecture}"]
    given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    result = nvrtc.nvrtcCompileProgram(program, len(options), given)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert result == 0, log.value.decode()
    assert "warning" not in log.value.decode(), log.value.decode()


@pytest.fixture(scope="session")
def compile_for_gpu(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], None]:
    library = nvrtc_library()
    if library is not None:
        return lambda source, architecture: compile_with_nvrtc(library, source, architecture)
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no CUDA compiler: pip install nvidia-cuda-nvrtc-cu12, or put nvcc on PATH")
    folder = tmp_path_factory.mktemp("cubin")

    def compile_with_nvcc(source: str, architecture: int) -> None:
        target = folder / f"{source}.{architecture}.cubin"
        command = [nvcc, *OPTIONS, f"-arch=sm_{architecture}", "-cubin", "-o", str(target), str(FOLDER / source)]
        made = subprocess.run(command, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        assert "warning" not in made.stderr, made.stderr

    return compile_with_nvcc


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_compiles(compile_for_gpu: Callable[[str, int], None], source: str) -> None:
    # Each file for one architecture, in turn, so that together they see all of them; every file for every architecture
    # takes minutes and is what `perf/kernels.py --compile` does.
    compile_for_gpu(source, ARCHITECTURES[SOURCES.index(source) % len(ARCHITECTURES)])
