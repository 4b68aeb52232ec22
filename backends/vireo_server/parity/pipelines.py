# SPDX-License-Identifier: MIT
"""The frames that a training pipeline makes: presets of common libraries, or a function of the user's."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Size = tuple[int, int]
#: (path of a video, (width, height) or None for the video's own) -> its frames in order, `(H, W, 3) uint8` RGB.
Pipeline = Callable[[str, "Size | None"], Iterator[Picture]]


def pillow(path: str, size: Size | None) -> Iterator[Picture]:
    """PyAV's `to_image` and Pillow's bilinear resize: what torchvision transforms on PIL images do."""
    from PIL import Image

    for frame in _decoded(path):
        image = frame.to_image()
        yield np.asarray(image if size is None else image.resize(size, Image.Resampling.BILINEAR))


def opencv(path: str, size: Size | None) -> Iterator[Picture]:
    """`cv2.VideoCapture` and `cv2.resize` with INTER_LINEAR, its default."""
    import cv2

    capture = cv2.VideoCapture(path)
    try:
        while True:
            there, picture = capture.read()
            if not there:
                return
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            yield picture if size is None else cv2.resize(picture, size)
    finally:
        capture.release()


def torch(path: str, size: Size | None) -> Iterator[Picture]:
    """PyAV's `to_ndarray` and `torch.nn.functional.interpolate`, bilinear as it is by default (no antialiasing)."""
    import torch as library

    for frame in _decoded(path):
        picture = frame.to_ndarray(format="rgb24")
        if size is not None:
            planar = library.from_numpy(picture).permute(2, 0, 1)[None].float()
            resized = library.nn.functional.interpolate(planar, size=(size[1], size[0]), mode="bilinear")
            picture = resized[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
        yield picture


def swscale(path: str, size: Size | None) -> Iterator[Picture]:
    """FFmpeg's scaler as it is by default, as `ffmpeg -pix_fmt rgb24 -s WxH` and most frame extractors use it."""
    for frame in _decoded(path):
        width, height = size or (frame.width, frame.height)
        yield frame.reformat(width=width, height=height, format="rgb24").to_ndarray()


#: Name -> pipeline. Each needs the library it is named after.
PRESETS: Mapping[str, Pipeline] = {"pillow": pillow, "opencv": opencv, "torch": torch, "swscale": swscale}


def load_pipeline(name: str) -> Pipeline:
    """A preset by name, or `module:function` of the user's, called as `function(path, size)`.

    Raises:
        ValueError: neither a preset nor a function that can be imported.
    """
    if name in PRESETS:
        return PRESETS[name]
    module, colon, function = name.partition(":")
    presets = ", ".join(PRESETS)
    if not colon:
        raise ValueError(f"parity: training pipeline {name!r} is unknown; allowed: {presets}, or module:function")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"parity: training pipeline {name!r} cannot be imported ({error}); the module must be on the import "
            "path, as for "
            f"`python -m {module}`"
        ) from error
    pipeline: Pipeline = found
    return pipeline


def _decoded(path: str) -> Iterator[Any]:
    import av

    with av.open(path) as container:
        yield from container.decode(video=0)
