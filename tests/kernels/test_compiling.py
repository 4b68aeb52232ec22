# SPDX-License-Identifier: MIT
"""How the CPU kernels are compiled and kept, and that nothing heavy happens at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import vireo_kernels
from vireo_kernels.cpu.compiling import compiled, sources_stamp
from vireo_kernels.cpu.layout import _merge


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_import_brings_nothing_heavy() -> None:
    heavy = ("numba", "cupy", "torch", "av", "cv2", "PIL", "triton_python_backend_utils")
    result = run(f"import sys, vireo_kernels; print([name for name in {heavy!r} if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_the_public_names_are_the_promised_ones() -> None:
    assert sorted(vireo_kernels.__all__) == [
        "ColorSpec", "Fit", "LightSpec", "Normalization", "Pad", "SDR_WHITE_IN_PQ", "convert_light", "crop_image",
        "fit_exact", "fit_letterbox", "fit_short_side", "frames_shape", "frames_to_input", "frames_to_planes",
        "frames_to_rgb", "hdr_to_sdr", "map_tones", "pad_image", "pad_to_multiple", "planes_to_frames", "resize_image",
        "rgb_to_frames", "sdr_to_hdr", "surface_to_frames", "warm",
    ]  # fmt: skip
    for name in vireo_kernels.__all__:
        assert getattr(vireo_kernels, name) is not None


def test_a_kernel_is_cached_under_the_stamp_of_all_sources() -> None:
    assert _merge._cache._cache_file._source_stamp == sources_stamp()


def test_a_second_process_finds_the_kernels_compiled(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from vireo_kernels import planes_to_frames; from vireo_kernels.cpu.layout import _merge\n"
        "half = np.zeros((1, 1), np.uint8)\n"
        "planes_to_frames(np.zeros((2, 2), np.uint8), half, half, out=np.zeros((3, 2), np.uint8))\n"
        "print(sum(_merge.stats.cache_hits.values()))"
    )
    first = run(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.stdout.strip() == "0", first.stderr
    second = run(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert second.stdout.strip() == "1", second.stderr


def test_a_kernel_works_where_nothing_can_be_cached(monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    twice = compiled(lambda x: 2 * x)
    assert twice(21) == 42
    assert "compiled anew in each process" in caplog.text
