# SPDX-License-Identifier: MIT
"""The shipped face detector where light and background make it hard; where faces are is tested on the server."""

import cv2
import numpy as np
import pytest
from skimage import data
from vireo_server.locations import find_locations
from vireo_server.testing import ScriptBench

CORNERS, SIDES = ((40, 60), (700, 80), (500, 480), (900, 500)), (160, 72, 72, 84)
LIGHT = {
    "as it is": lambda frames: frames,
    "dark": lambda frames: (0.2 * frames).astype(np.uint8),
    "flat": lambda frames: (100 + 0.2 * frames).astype(np.uint8),
}


@pytest.fixture(scope="module")
def bench():
    path = find_locations().model_repository / "face_detection_script" / "1" / "script.py"
    with ScriptBench(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def frames():
    """Four faces, at two scales and more, that move before a bright brick wall; `(3, 720, 1280, 3) uint8`."""
    wall = cv2.resize(data.brick(), (1280, 720)) // 2 + 60
    grown_up = cv2.cvtColor(data.astronaut()[40:190, 150:300], cv2.COLOR_RGB2GRAY)
    faces = [grown_up, *((255 * data.lfw_subset()[number]).astype(np.uint8) for number in (3, 12)), grown_up]
    pictures = np.repeat(wall[np.newaxis], 3, axis=0)
    for number, picture in enumerate(pictures):
        for face, (x, y), side in zip(faces, CORNERS, SIDES, strict=True):
            picture[y : y + side, x + 3 * number : x + 3 * number + side] = cv2.resize(face, (side, side))
    return np.repeat(pictures[..., np.newaxis], 3, axis=3)


@pytest.mark.parametrize("light", LIGHT)
def test_faces_before_a_busy_wall_are_all_found_in_any_light(bench, frames, light):
    found = bench.process(LIGHT[light](frames)).results["FACES"]
    for number, rows in enumerate(found):
        boxes = rows[~np.isnan(rows[:, 0])]
        assert len(boxes) == len(SIDES), (number, boxes)
        middles = boxes[:, :2] + boxes[:, 2:4] / 2
        for (x, y), side in zip(CORNERS, SIDES, strict=True):
            middle = np.array([x + 3 * number + side / 2, y + side / 2])
            assert np.abs(middles - middle).max(axis=1).min() < 0.2 * side, (number, (x, y), boxes)
