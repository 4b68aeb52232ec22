# SPDX-License-Identifier: MIT
"""The shipped interpolation script against motion whose truth is known: better than blending, better than repeating."""

import cv2
import numpy as np
import pytest
from skimage import data
from vireo_server.locations import find_locations

WIDTH, HEIGHT = 320, 180
SOURCE, SPARE, GENERATED = 0, 1, 2


@pytest.fixture(scope="module")
def bench():
    from vireo_server.testing import ScriptBench

    path = find_locations().model_repository / "frame_interpolation_script" / "1" / "script.py"
    with ScriptBench(path) as opened:
        yield opened


def scene(t):
    """A photograph that moves, and in front of it an oval one that moves another way; exact at every time t."""
    behind = cv2.resize(data.astronaut(), (500, 400), interpolation=cv2.INTER_AREA)
    before = cv2.resize(data.coffee(), (130, 100), interpolation=cv2.INTER_AREA).astype(np.float32)
    oval = cv2.ellipse(np.zeros((100, 130), np.float32), (65, 50), (60, 45), 0, 0, 360, 1, -1)
    window = np.float32([[1, 0, 30 + 5.3 * t], [0, 1, 40 + 2.1 * t]])
    picture = cv2.warpAffine(behind, window, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    place = np.float32([[1, 0, 90 - 6.7 * t], [0, 1, 30 + 4.2 * t]])
    share = cv2.warpAffine(oval, place, (WIDTH, HEIGHT))[..., np.newaxis]
    return np.rint(picture * (1 - share) + cv2.warpAffine(before, place, (WIDTH, HEIGHT)) * share).astype(np.uint8)


def psnr(one, two):
    return 10 * np.log10(255**2 / np.mean((one.astype(np.float64) - two) ** 2))


def filled(bench, count, size=None):
    """The outcome for two sources with empty frames between them, and the truth."""
    truth = [scene(n / count) for n in range(count + 1)]
    if size is not None:
        truth = [np.ascontiguousarray(picture[: size[1], : size[0]]) for picture in truth]
    frames = np.stack([truth[0], *[np.zeros_like(truth[0])] * (count - 1), truth[-1]])
    kind = [SOURCE] + [SPARE] * (count - 1) + [SOURCE]
    return bench.process(frames, kind=kind), truth


@pytest.mark.parametrize("count", [2, 3, 4])
def test_three_decibels_above_blending_and_above_repeating(bench, count):
    outcome, truth = filled(bench, count)
    first, last = truth[0], truth[-1]
    for n in range(1, count):
        made = psnr(outcome.frames[n], truth[n])
        blended = psnr((1 - n / count) * first + n / count * last, truth[n])
        repeated = max(psnr(first, truth[n]), psnr(last, truth[n]))
        assert made > blended + 3
        assert made > repeated + 3
    assert outcome.kind == (SOURCE, *[GENERATED] * (count - 1), SOURCE)
    assert (outcome.frames[[0, -1]] == [first, last]).all()


def test_the_same_bytes_twice_at_any_size(bench):
    for size in (None, (31, 17), (2, 2), (161, 91)):
        first, again = filled(bench, 2, size)[0], filled(bench, 2, size)[0]
        assert (first.frames == again.frames).all()
        assert first.frames[1].any()


def test_frames_without_slots_are_left_alone(bench):
    frames = np.stack([scene(0), scene(1)])
    assert (bench.process(frames).frames == frames).all()
    bench.check_contract()
