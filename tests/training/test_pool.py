# SPDX-License-Identifier: MIT
import numpy as np
import pytest
from numpy.typing import NDArray
from vireo_training.evaluation import bicubic_x2, psnr_y
from vireo_training.photographs import PHOTOGRAPHS, load
from vireo_training.pool import PairSettings, dead_leaves, pairs

SMALL = PairSettings(size=48, frames=5, kept=(1, 3), synthetic=0.2)


def _photographs() -> list[NDArray[np.uint8]]:
    # With a strip of text, lower than a window: it has to be mirrored to size.
    return [load(each) for each in PHOTOGRAPHS if each.name in ("flower", "text")]


def test_pairs_are_aligned_pictures_of_two_sizes() -> None:
    made = list(pairs(_photographs(), clips=12, seed=1, settings=SMALL))
    assert len(made) == 24
    for pair in made:
        assert pair.small.shape == (48, 48, 3)
        assert pair.large.shape == (96, 96, 3)
        if pair.large.std() > 5:
            assert psnr_y(bicubic_x2(pair.small[None]), pair.large[None]) > 15


def test_a_seed_decides_every_pixel() -> None:
    one, same, other = (list(pairs(_photographs(), clips=3, seed=seed, settings=SMALL)) for seed in (7, 7, 8))
    assert all(
        np.array_equal(a.small, b.small) and np.array_equal(a.large, b.large) for a, b in zip(one, same, strict=True)
    )
    assert not all(np.array_equal(a.large, b.large) for a, b in zip(one, other, strict=True))


def test_dead_leaves_have_edges_and_colour() -> None:
    picture = dead_leaves(np.random.default_rng(3), size=120)
    assert picture.shape == (120, 120, 3)
    assert picture.std() > 30


def test_a_kept_frame_that_is_not_made_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kept \(1, 3, 5\) below frames 5"):
        PairSettings(frames=5)
