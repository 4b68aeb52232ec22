# SPDX-License-Identifier: MIT
"""The camera that training films with moves as its name says."""

import numpy as np
import pytest
from vireo_training.camera_motion import MOTIONS, Camera, draw_camera, film, windows


@pytest.fixture
def dot() -> np.ndarray:
    """A grey picture with one bright spot in its middle."""
    y, x = np.mgrid[0:200, 0:300]
    return (255 * np.exp(-((x - 150) ** 2 + (y - 100) ** 2) / 50)).astype(np.uint8)


def center(picture: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    weight = picture.astype(float)
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


@pytest.mark.parametrize(
    ("motion", "across", "down"), [("pan_left", 1, 0), ("pan_right", -1, 0), ("tilt_up", 0, 1), ("tilt_down", 0, -1)]
)
def test_what_is_seen_moves_the_other_way_by_the_speed(dot, motion, across, down) -> None:
    frames = film(dot, Camera(motion, speed=0.2), [0.0, 1.0], size=(120, 80), view=1.0)
    (x0, y0), (x1, y1) = center(frames[0]), center(frames[1])
    assert x1 - x0 == pytest.approx(across * 0.2 * 120, abs=1)
    assert y1 - y0 == pytest.approx(down * 0.2 * 80, abs=1)


@pytest.mark.parametrize(("motion", "factor"), [("zoom_in", np.exp(0.5)), ("zoom_out", np.exp(-0.5))])
def test_a_zoom_scales_by_its_speed(dot, motion, factor) -> None:
    frames = film(dot, Camera(motion, speed=0.5), [0.0, 1.0], size=(240, 160), view=1.0).astype(float)
    assert frames[1].sum() / frames[0].sum() == pytest.approx(factor**2, rel=0.05)


def test_a_still_camera_sees_one_picture_and_a_held_one_stays_around_it(dot) -> None:
    still = film(dot, Camera("static"), np.arange(5) / 8, size=(120, 80))
    assert (still == still[0]).all()
    path = draw_camera("handheld", np.random.default_rng(0)).path(np.arange(100) / 8)
    assert np.abs(path.mean(0)).max() < 0.01
    assert 0.003 < path[:, 0].std() < 0.05


def test_windows_are_repeatable_and_of_every_motion(dot) -> None:
    picture = np.repeat(dot[:, :, None], 3, 2)
    first, again = (windows([picture], count=64, seed=3, frames=4, side=32) for _ in range(2))
    assert np.array_equal(first.frames, again.frames)
    assert first.frames.shape == (64, 4, 32, 32)
    assert set(first.labels) == set(range(len(MOTIONS)))
