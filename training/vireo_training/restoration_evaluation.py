# SPDX-License-Identifier: MIT
"""How a restoration network is judged: PSNR of luma against the degraded picture itself. Needs no torch."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vireo_training.coding import Coded, Coding, code, with_noise
from vireo_training.degradation import crop_path
from vireo_training.evaluation import psnr_y

__all__ = ["EVALUATED", "Restore", "conditions", "evaluation_clip", "onnx_restorer", "score"]

_FRAMES = 6

EVALUATED: Mapping[str, tuple[Coding, float]] = {
    "H.264 CRF 14": (Coding("h264", 14), 0),
    "H.264 CRF 18": (Coding("h264", 18), 0),
    "H.264 CRF 23": (Coding("h264", 23), 0),
    "H.264 CRF 32": (Coding("h264", 32), 0),
    "H.264 CRF 38": (Coding("h264", 38), 0),
    "MPEG-2 q 2": (Coding("mpeg2video", 2, {"bf": "2"}), 0),
    "MPEG-2 q 4": (Coding("mpeg2video", 4, {"bf": "2"}), 0),
    "MPEG-2 q 8": (Coding("mpeg2video", 8, {"bf": "2"}), 0),
    "MPEG-2 q 16": (Coding("mpeg2video", 16, {"bf": "2"}), 0),
    "JPEG 95": (Coding("jpeg", 95), 0),
    "JPEG 50": (Coding("jpeg", 50), 0),
    "JPEG 20": (Coding("jpeg", 20), 0),
    "MJPEG q 4": (Coding("mjpeg", 4), 0),
    "MJPEG q 8": (Coding("mjpeg", 8), 0),
    "noise 10, H.264 CRF 18": (Coding("h264", 18), 10),
}
"""What is reported: a name, the coding, and the deviation of the noise before it, in levels."""

Restore = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]
"""(T, H, W, 3) uint8 RGB and its conditions (T, 4) in, restored pictures out."""


def conditions(coded: Coded, *, noise: float, strength: float = 1) -> NDArray[np.float32]:
    """The rows of CONDITION (T, 4): strength, quantiser step, whether deblocked, deviation of the noise."""
    rows = [(strength, step, float(coded.loop_filter), noise) for step in coded.steps]
    return np.array(rows, np.float32)


def evaluation_clip(photograph: NDArray[np.uint8], coding: Coding, *, noise: float) -> tuple[Coded, NDArray[np.uint8]]:
    """Make the judged pair from an (H, W, 3) photograph: the decoded clip, and the clip before noise and codec.

    The window drifts by one row and two columns a frame, so that predicted pictures predict something.
    """
    height, width = photograph.shape[0] - _FRAMES, photograph.shape[1] - 2 * _FRAMES
    size = (height // 16 * 16, width // 16 * 16)
    original = crop_path(photograph, size=size, start=(0, 0), step=(1, 2), frames=_FRAMES)
    noisy = with_noise(original, deviation=noise, random=np.random.default_rng(20240607))
    return code(noisy, coding), original


def onnx_restorer(path: Path) -> Restore:
    """Load a network as ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def restore(clip: NDArray[np.uint8], condition: NDArray[np.float32]) -> NDArray[np.uint8]:
        planar = np.ascontiguousarray(clip.transpose(0, 3, 1, 2))
        (result,) = session.run(["OUTPUT"], {"INPUT": planar, "CONDITION": condition})
        return np.asarray(result).transpose(0, 2, 3, 1)

    return restore


def score(restore: Restore, photograph: NDArray[np.uint8], coding: Coding, *, noise: float) -> tuple[float, float]:
    """Give (degraded, restored) PSNR-Y in dB of one photograph."""
    coded, original = evaluation_clip(photograph, coding, noise=noise)
    restored = restore(coded.pictures, conditions(coded, noise=noise))
    return psnr_y(coded.pictures, original), psnr_y(restored, original)
