# SPDX-License-Identifier: MIT
"""How an x2 network is judged: PSNR of luma against bicubic, on photographs that went through H.264. Needs no torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vireo_training.degradation import Compression, compress, crop_path, halve

__all__ = ["BORDER", "EVALUATED_CRFS", "bicubic_x2", "evaluation_clip", "onnx_network", "psnr_y", "score"]

BORDER = 8
"""Pixels left out at every edge: a network and bicubic both guess what lies outside the picture."""

EVALUATED_CRFS: tuple[int | None, ...] = (None, 18, 23, 28)
"""x264 qualities that are reported; None is uncompressed."""

_FRAMES = 8
_BT709_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)

Upscale = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""(T, h, w, 3) uint8 RGB in, (T, 2h, 2w, 3) uint8 RGB out."""


def psnr_y(result: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """PSNR in dB of the BT.709 luma of two (..., H, W, 3) uint8 RGB pictures, peak 255, `BORDER` pixels cropped.

    Luma is 0.2126 R + 0.7152 G + 0.0722 B, not rounded; several pictures share one mean squared error.
    """
    if result.shape != original.shape:
        raise ValueError(f"psnr_y: shapes {result.shape!r} and {original.shape!r} differ; compare pictures of one size")
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER), slice(None))
    error = (result[inner].astype(np.float32) - original[inner].astype(np.float32)) @ _BT709_LUMA
    mean_squared_error = float(np.mean(np.square(error, dtype=np.float64)))
    return float("inf") if mean_squared_error == 0 else 10 * float(np.log10(255**2 / mean_squared_error))


def bicubic_x2(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Double (T, h, w, 3) uint8 pictures with Pillow's bicubic (a = -0.5): what the network must beat."""
    size = (clip.shape[2] * 2, clip.shape[1] * 2)
    return np.stack([np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)) for picture in clip])


def evaluation_clip(photograph: NDArray[np.uint8], *, crf: int | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make the judged pair from an (H, W, 3) photograph: (T, h, w, 3) decoded input and (T, 2h, 2w, 3) original.

    The window drifts over the photograph by one row and two columns a frame, so that the clip has P- and B-frames
    that predict from one another; it is halved (bicubic, antialiased) and compressed with x264 at `crf` (None: not).
    """
    height, width = photograph.shape[0] - _FRAMES, photograph.shape[1] - 2 * _FRAMES
    # A multiple of 4, because 4:2:0 needs an even number of rows and columns in the halved picture.
    size = (height // 4 * 4, width // 4 * 4)
    original = crop_path(photograph, size=size, start=(0, 0), step=(1, 2), frames=_FRAMES)
    halved = np.stack([halve(picture) for picture in original])
    return (halved if crf is None else compress(halved, Compression(crf))), original


def onnx_network(path: Path) -> Upscale:
    """Load a network as ONNX Runtime on the CPU: planar UINT8 tensors INPUT and OUTPUT behind interleaved pictures."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads that spin while they wait are many times slower as soon as something else runs beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def upscale(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
        planar = np.ascontiguousarray(clip.transpose(0, 3, 1, 2))
        (result,) = session.run(["OUTPUT"], {"INPUT": planar})
        return np.asarray(result).transpose(0, 2, 3, 1)

    return upscale


def score(upscale: Upscale, photograph: NDArray[np.uint8], *, crf: int | None) -> tuple[float, float]:
    """Give (bicubic, network) PSNR-Y in dB of one photograph at one quality."""
    degraded, original = evaluation_clip(photograph, crf=crf)
    return psnr_y(bicubic_x2(degraded), original), psnr_y(upscale(degraded), original)
