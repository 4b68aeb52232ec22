# SPDX-License-Identifier: MIT
"""Arrays in, arrays out: colour, resize and transfer functions, the same bits in training, on the CPU and on the GPU.

Every operation exists three times: in `reference` (NumPy, the specification), in `cpu` (compiled by numba) and in
`cuda` (CuPy and `.cu` files). The functions of `color`, `resize`, `layout` and `transfer` choose by the array they are
given and never move an array from one side to the other.
"""

from vireo_kernels.color import ColorSpec, frames_to_rgb, rgb_to_frames
from vireo_kernels.layout import frames_shape, planes_to_frames

__all__ = ["ColorSpec", "frames_shape", "frames_to_rgb", "planes_to_frames", "rgb_to_frames"]
