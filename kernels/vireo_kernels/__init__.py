# SPDX-License-Identifier: MIT
"""Arrays in, arrays out: colour, resize and transfer functions, the same bits in training, on the CPU and on the GPU.

Every operation exists three times: in `reference` (NumPy, the specification), in `cpu` (compiled by numba) and in
`cuda` (CuPy and `.cu` files). The functions of `color`, `resize_image`, `layout`, `transfer` and `tone_mapping` choose
by the array they are given and never move an array from one side to the other.
"""

from vireo_kernels.color import ColorSpec, frames_to_rgb, rgb_to_frames
from vireo_kernels.fit import Fit, fit_exact, fit_letterbox, fit_short_side
from vireo_kernels.layout import frames_shape, frames_to_planes, planes_to_frames, surface_to_frames
from vireo_kernels.network_input import Normalization, frames_to_input
from vireo_kernels.pad import Pad, crop_image, pad_image, pad_to_multiple
from vireo_kernels.resize import resize_image
from vireo_kernels.tone_mapping import hdr_to_sdr, map_tones, sdr_to_hdr
from vireo_kernels.transfer import SDR_WHITE_IN_PQ, LightSpec, convert_light
from vireo_kernels.warming import warm

__all__ = [
    "SDR_WHITE_IN_PQ",
    "ColorSpec",
    "Fit",
    "LightSpec",
    "Normalization",
    "Pad",
    "convert_light",
    "crop_image",
    "fit_exact",
    "fit_letterbox",
    "fit_short_side",
    "frames_shape",
    "frames_to_input",
    "frames_to_planes",
    "frames_to_rgb",
    "hdr_to_sdr",
    "map_tones",
    "pad_image",
    "pad_to_multiple",
    "planes_to_frames",
    "resize_image",
    "rgb_to_frames",
    "sdr_to_hdr",
    "surface_to_frames",
    "warm",
]
