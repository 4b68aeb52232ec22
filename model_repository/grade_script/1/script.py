# SPDX-License-Identifier: MIT
"""Colour grading: gain, gamma and saturation. A first script to copy from.

As a program of its own it shows the four functions at work: python script.py picture.png graded.png
"""

import json
import sys

import numpy as np

OPTIONS = {
    "gain": {"type": "number", "minimum": 0, "maximum": 8},
    "gamma": {"type": "number", "minimum": 0.1, "maximum": 10},
    "saturation": {"type": "number", "minimum": 0, "maximum": 4},
}
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709

settings = {"gain": 1.0, "gamma": 1.0, "saturation": 1.0}


def setup(config):
    """Once a process: take the service's defaults."""
    settings.update(json.loads(config))


def warmup():
    """Once a process, before the first stream. Nothing to compile here."""


def configure(stream_config):
    """Once a stream: what is returned comes back as data["state"], so streams may run side by side."""
    chosen = {**settings, **json.loads(stream_config)}
    levels = np.arange(256) / 255
    curve = np.clip(chosen["gain"] * levels ** (1 / chosen["gamma"]), 0, 1)
    return {"curve": np.rint(255 * curve).astype(np.uint8), "saturation": chosen["saturation"]}


def process(data, profiling=False):
    """For each batch: edit the frames in place."""
    state = data["state"]
    for frame in data["frames"]:
        np.take(state["curve"], frame, out=frame)
        if state["saturation"] != 1:
            grey = (frame @ LUMA)[..., np.newaxis]
            frame[...] = np.rint(np.clip(grey + state["saturation"] * (frame - grey), 0, 255))


if __name__ == "__main__":
    from PIL import Image

    picture = np.array(Image.open(sys.argv[1]).convert("RGB"))
    setup("{}")
    process({"frames": [picture], "state": configure('{"gamma": 1.2, "saturation": 1.3}')})
    Image.fromarray(picture).save(sys.argv[2])
