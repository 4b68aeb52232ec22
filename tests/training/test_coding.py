# SPDX-License-Identifier: MIT
"""What restoration is trained on: clips through each codec, with what the stream told of their quality."""

import numpy as np
import pytest
from numpy.typing import NDArray
from vireo_training.coding import CODECS, Codec, Coding, code, with_noise
from vireo_training.degradation import crop_path
from vireo_training.evaluation import psnr_y


@pytest.fixture(scope="module")
def clip(held_out: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return crop_path(held_out["coffee"], size=(96, 128), start=(100, 100), step=(1, 2), frames=4)


@pytest.mark.parametrize(
    ("codec", "fine", "coarse"), [("h264", 14, 34), ("mpeg2video", 2, 20), ("mjpeg", 2, 20), ("jpeg", 92, 15)]
)
def test_a_coarser_quality_has_larger_steps_and_is_further_from_the_original(
    clip: NDArray[np.uint8], codec: Codec, fine: int, coarse: int
) -> None:
    good, bad = code(clip, Coding(codec, fine)), code(clip, Coding(codec, coarse))
    assert good.pictures.shape == clip.shape
    assert np.mean(good.steps) < 8 < 20 < np.mean(bad.steps)
    assert psnr_y(good.pictures, clip) > 38 > psnr_y(bad.pictures, clip) + 3
    assert good.loop_filter == (codec == "h264")


def test_the_same_clip_gives_the_same_pictures(clip: NDArray[np.uint8]) -> None:
    first, second = (code(clip, Coding("h264", 28)) for _ in range(2))
    assert np.array_equal(first.pictures, second.pictures)
    assert first.steps == second.steps


def test_noise_has_the_deviation_asked_for() -> None:
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    noisy = with_noise(grey, deviation=10, random=np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(10, rel=0.05)
    assert not np.array_equal(noisy[0], noisy[1])


@pytest.mark.parametrize("codec", CODECS)
def test_a_quality_that_cannot_be_names_what_can(codec: Codec) -> None:
    with pytest.raises(ValueError, match=r"at quality 99; allowed: .*crf 0\.\.51"):
        Coding(codec, 99)
