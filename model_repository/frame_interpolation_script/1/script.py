# SPDX-License-Identifier: MIT
"""Pictures between pictures: dense optical flow both ways (OpenCV's DIS), and warping that knows what is hidden.

The service puts empty frames between the sources (`kind` 1) and says when each is shown (`pts`); this script fills them
and makes them generated ones (`kind` 2). Scene cuts and repeated pictures never come here as empty frames.

As a program of its own: python script.py first.png second.png between.png
"""

import itertools
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

SLOTS = True  # between the sources come empty frames, by the options ratio, rate, cuts and duplicates
EMPTY, GENERATED = 1, 2

# OpenCV's preset MEDIUM looks for motion in every third pixel of the full picture; at half of it, in every fourth and
# with half the iterations, it takes a sixth of the time for nearly the same pictures.
FINEST_SCALE, PATCH_SIZE, PATCH_STRIDE, ITERATIONS, REFINEMENTS = 1, 8, 4, 12, 5
LEAST_SIDE = 32  # below it DIS has no coarse scale to begin with

settings = {"threads": len(os.sched_getaffinity(0))}
local = threading.local()


def setup(config):
    """Once a process: one thread a core, each with one interval between two sources."""
    settings.update(json.loads(config))
    cv2.setNumThreads(1)  # DIS cuts a picture into as many stripes as threads, and gives other bits for each number
    settings["pool"] = ThreadPoolExecutor(settings["threads"], thread_name_prefix="interpolate")


def configure(stream_config):
    """Once a stream. Nothing is remembered from batch to batch: every empty frame comes with both its neighbours."""
    return {}


def process(data, profiling=False):
    """Fill every empty frame of a batch."""
    frames, pts, kind = data["frames"], data["pts"], data["kind"]
    pictures = [i for i, value in enumerate(kind) if value != EMPTY]
    intervals = []
    for left, right in itertools.pairwise(pictures):
        shares = [(pts[i] - pts[left]) / (pts[right] - pts[left]) for i in range(left + 1, right)]
        if shares:
            outputs = frames[left + 1 : right]
            intervals.append(settings["pool"].submit(interpolate, frames[left], frames[right], shares, outputs))
            kind[left + 1 : right] = [GENERATED] * len(shares)
    for interval in intervals:
        interval.result()


def interpolate(first, second, shares, outputs):
    """Write the picture at each share (0..1) of the way from `first` to `second`, (H, W, 3) uint8, into `outputs`."""
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)]
    forward, backward = flow(*grey), flow(*grey[::-1])
    # Motion is smooth enough to be reasoned about at half the size, a quarter of the work.
    half = [halved(value) for value in (*grey, forward / 2, backward / 2)]
    for share, output in zip(shares, outputs, strict=True):
        motion, weights = meet(*half, share)
        warp(first, second, motion, weights, share, output)


def flow(first, second):
    """Where each pixel of `first` is in `second`: (H, W, 2) float32, x and y in pixels."""
    height, width = first.shape
    if min(height, width) < LEAST_SIDE:
        return np.zeros((height, width, 2), np.float32)
    if not hasattr(local, "dis"):
        local.dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        local.dis.setFinestScale(FINEST_SCALE)
        local.dis.setPatchSize(PATCH_SIZE)
        local.dis.setPatchStride(PATCH_STRIDE)
        local.dis.setGradientDescentIterations(ITERATIONS)
        local.dis.setVariationalRefinementIterations(REFINEMENTS)
    return local.dis.calc(first, second, None)


def meet(first, second, forward, backward, share):
    """The motion through each pixel of the picture between, and how far each source is to be believed there.

    All at half size. Returns motion (H, W, 2) float32 from the first to the second source, and two weights (H, W).

    A pixel of the picture between does not know its motion; it lies where motion(origin) leads to it. So the origin is
    looked for: guess the motion, go back along it, read the motion there. Both flows are asked, and the one along which
    both sources show the same is taken. A source whose own flow at that place disagrees is hidden there by something.
    """
    here = grid(first.shape)
    motion = forward_motion = followed(forward, here, -share)
    backward_motion = -followed(backward, here, 1 - share)
    error, other = (difference(first, second, here, way, share) for way in (forward_motion, backward_motion))
    motion = np.where((error <= other)[..., np.newaxis], forward_motion, backward_motion)
    motion = cv2.blur(motion, (3, 3))
    weights = []
    for flow_there, place, sign, weight in (
        (forward, here - share * motion, 1, 1 - share),
        (backward, here + (1 - share) * motion, -1, share),
    ):
        there = read(flow_there, place)
        apart = np.square(sign * there - motion).sum(axis=2)
        seen = weight / (1 + apart * apart) + 1e-4
        height, width = first.shape
        inside = (place >= -0.5).all(axis=2) & (place[..., 0] <= width - 0.5) & (place[..., 1] <= height - 0.5)
        weights.append(np.where(inside, seen, 1e-4 * weight).astype(np.float32))
    return motion, weights


def followed(flow_there, here, step, rounds=3):
    """The motion whose path leads through each pixel: a fixed point of flow(here + step * motion)."""
    motion = flow_there
    for _ in range(rounds):
        motion = read(flow_there, here + step * motion)
    return motion


def difference(first, second, here, motion, share):
    """How unlike the two sources are along a motion, averaged over some pixels around."""
    one, two = read(first, here - share * motion), read(second, here + (1 - share) * motion)
    return cv2.blur(cv2.absdiff(one, two).astype(np.float32), (5, 5))


def warp(first, second, motion, weights, share, output):
    """Both sources moved to where they meet, mixed by weight into `output`."""
    height, width = first.shape[:2]
    motion = cv2.resize(motion, (width, height)) * 2
    weights = [cv2.resize(weight, (width, height)) for weight in weights]
    here = grid((height, width))
    one, two = read(first, here - share * motion), read(second, here + (1 - share) * motion)
    cv2.blendLinear(one, two, *weights, dst=output)


def read(values, place):
    """`values` between its pixels, at (H, W, 2) float32 places; outside it its edge."""
    return cv2.remap(values, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def halved(values):
    """Half the width and height, each pixel the mean of four."""
    return cv2.resize(values, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def grid(shape):
    """The place of every pixel, (H, W, 2) float32, x first; made once a thread for each size."""
    known = local.__dict__.setdefault("grids", {})
    if shape not in known:
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        known.clear() if len(known) > 7 else None
        known[shape] = np.dstack([columns, rows])
    return known[shape]


if __name__ == "__main__":
    from PIL import Image

    first, second = (np.array(Image.open(path).convert("RGB")) for path in sys.argv[1:3])
    between = np.empty_like(first)
    interpolate(first, second, [0.5], [between])
    Image.fromarray(between).save(sys.argv[3])
