# SPDX-License-Identifier: MIT
"""Faces by OpenCV's cascade of Haar-like features (Viola and Jones, 2001): classical vision beside networks.

Gives FACES, float32 (T, 32, 5): x, y, width and height in pixels, and a score (how far the cascade's last stage was
passed), largest faces first; NaN where there are no more.
"""

import json

import cv2
import numpy as np

OPTIONS = {
    "least_side": {"type": "integer", "minimum": 16, "maximum": 4096},  # pixels; smaller faces are not looked for
    "least_score": {"type": "number", "minimum": 0, "maximum": 100},
}
MOST_FACES = 32
LONGEST_SIDE = 640  # larger pictures are looked at in this size: the time goes with the number of pixels

cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")


def setup(config):
    """Once a process: streams run beside each other, so one picture needs one core."""
    cv2.setNumThreads(1)


def configure(stream_config):
    """Once a stream: what is returned comes back as data["state"], so streams may run side by side."""
    return {"least_side": 24, "least_score": 0.0, **json.loads(stream_config)}


def process(data, profiling=False):
    """For each batch: the faces of each frame."""
    faces = np.full((len(data["frames"]), MOST_FACES, 5), np.nan, np.float32)
    for place, frame in enumerate(data["frames"]):
        found = detect(frame, **data["state"])[:MOST_FACES]
        faces[place, : len(found)] = found
    return {"FACES": faces}


def detect(picture, *, least_side, least_score):
    """Faces of an RGB picture, (N, 5): x, y, width, height, score."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, LONGEST_SIDE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    # Dark and flat pictures need their contrast back. Not by equalizeHist: before a bright or busy wall half of the
    # faces are lost by it, and in noise a tenth.
    grey = cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX)
    side = max(20, round(least_side * scale))
    boxes, _, scores = cascade.detectMultiScale3(
        grey, scaleFactor=1.1, minNeighbors=4, minSize=(side, side), outputRejectLevels=True
    )
    if not len(boxes):
        return np.empty((0, 5), np.float32)
    found = np.column_stack([np.asarray(boxes) / scale, np.ravel(scores)]).astype(np.float32)
    found = found[found[:, 4] >= least_score]
    return found[np.argsort(-found[:, 2], kind="stable")]
