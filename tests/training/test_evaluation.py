# SPDX-License-Identifier: MIT
import numpy as np
import pytest
from numpy.typing import NDArray
from vireo_training.evaluation import BORDER, bicubic_x2, evaluation_clip, psnr_y


def test_an_error_of_one_level_is_48_db() -> None:
    original = np.full((2, 40, 40, 3), 100, np.uint8)
    assert psnr_y(original + 1, original) == pytest.approx(20 * np.log10(255), abs=1e-4)
    assert psnr_y(original, original) == float("inf")


def test_green_weighs_ten_times_blue() -> None:
    original = np.full((40, 40, 3), 100, np.uint8)
    green, blue = original.copy(), original.copy()
    green[:, :, 1] += 20
    blue[:, :, 2] += 20
    assert psnr_y(blue, original) - psnr_y(green, original) == pytest.approx(20 * np.log10(0.7152 / 0.0722), abs=1e-3)


def test_the_border_does_not_count() -> None:
    original = np.full((40, 40, 3), 100, np.uint8)
    changed = original.copy()
    changed[:BORDER] = changed[-BORDER:] = changed[:, :BORDER] = changed[:, -BORDER:] = 0
    assert psnr_y(changed, original) == float("inf")
    changed[BORDER, BORDER] = 0
    assert psnr_y(changed, original) < 60


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(40, 40, 3\) and \(40, 42, 3\) differ"):
        psnr_y(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 42, 3), np.uint8))


def test_bicubic_is_centred() -> None:
    ramp = np.broadcast_to(np.arange(0, 200, 4, dtype=np.uint8)[None, None, :, None], (1, 8, 50, 3)).copy()
    doubled = bicubic_x2(ramp)[0, 8, :, 0].astype(int)
    # The two halves of a pixel of value v on a ramp of 4 are v - 1 and v + 1: no shift.
    assert doubled[20:24].tolist() == [39, 41, 43, 45]


@pytest.mark.parametrize("crf", [None, 18])
def test_the_judged_pair_fits_together(held_out: dict[str, NDArray[np.uint8]], crf: int | None) -> None:
    degraded, original = evaluation_clip(held_out["chelsea"], crf=crf)
    assert original.shape == (degraded.shape[0], degraded.shape[1] * 2, degraded.shape[2] * 2, 3)
    # Aligned in space and time: any shift or reordering costs far more than compression.
    assert psnr_y(bicubic_x2(degraded), original) > psnr_y(bicubic_x2(degraded[::-1]), original) + 3
