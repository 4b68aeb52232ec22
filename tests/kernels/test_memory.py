# SPDX-License-Identifier: MIT
"""No kernel allocates as much as its output: what a process holds at most, seen from outside."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import re
import numpy as np
from vireo_kernels import *

def most():
    # Not getrusage: what it says of a process begins with what the process that started it held.
    return int(re.search("VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

color = ColorSpec(matrix="bt709", color_range="limited")

def arrays(width, height):
    frame = dict(width=width, height=height, pixel_format="nv12", color=color)
    half = dict(fit=fit_exact(width=width // 2, height=height // 2), filter_name="bicubic", antialias=True)
    frames = np.ones(frames_shape(1, width=width, height=height, pixel_format="nv12"), np.uint8)
    rgb, small = np.ones((1, 3, height, width), np.uint8), np.ones((1, 3, height // 2, width // 2), np.uint8)
    return frame, half, frames, np.ones_like(frames), rgb, small

def work(frame, half, frames, out_frames, rgb, small):
    {work}

work(*arrays(128, 96))  # compiles, or loads what is compiled
frame, half, frames, out_frames, rgb, small = large = arrays(3840, 2160)
open("/proc/self/clear_refs", "w").write("5")  # what compiling held at most no longer counts
before = most()
work(*large)
print(most() - before, {output}.nbytes // 1024)
"""


@pytest.mark.parametrize(
    ("work", "output"),
    [
        ("frames_to_rgb(frames, out=rgb, **frame)", "rgb"),
        ("rgb_to_frames(rgb, pixel_format='nv12', color=color, out=out_frames)", "out_frames"),
        ("resize_image(rgb, out=small, **half)", "small"),
        ("frames_to_input(frames, out=small, **frame, **half)", "small"),
    ],
)
def test_a_kernel_holds_a_few_rows(work: str, output: str) -> None:
    program = PROGRAM.format(work=work, output=output)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    grown, size = map(int, result.stdout.split())
    assert grown < size / 2, f"{work}: grew by {grown} KiB; its output has {size} KiB"


def test_the_measurement_sees_an_array() -> None:
    program = PROGRAM.format(work="np.ones_like(rgb)", output="rgb")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    grown, size = map(int, result.stdout.split())
    assert grown > size / 2
