# SPDX-License-Identifier: MIT
import numpy as np
import pytest
from vireo_training.photographs import PHOTOGRAPHS, Photograph, load, photographs_for


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda photograph: photograph.name)
def test_every_photograph_is_bundled_and_has_even_rgb(photograph: Photograph) -> None:
    pixels = load(photograph)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.shape[0] % 2 == pixels.shape[1] % 2 == 0
    assert pixels.std() > 10  # a picture, not a flat area
    assert photograph.licence
    assert photograph.credit


def test_a_photograph_has_one_use() -> None:
    names = [photograph.name for photograph in PHOTOGRAPHS]
    assert len(set(names)) == len(names)
    # Two views of one scene must not be split between training and judgement.
    assert len({photograph.use for photograph in PHOTOGRAPHS if photograph.name.startswith("stereo_motorcycle")}) == 1
    assert len(photographs_for("validation")) == 1


def test_no_held_out_picture_is_also_trained_on() -> None:
    trained = [load(each) for each in (*photographs_for("training"), *photographs_for("validation"))]
    for photograph in photographs_for("held_out"):
        pixels = load(photograph)
        assert not any(other.shape == pixels.shape and np.array_equal(other, pixels) for other in trained)


def test_at_least_three_colour_photographs_are_held_out() -> None:
    coloured = [load(each).astype(int) for each in photographs_for("held_out")]
    assert len(coloured) >= 3
    for pixels in coloured:
        assert np.abs(pixels[:, :, 0] - pixels[:, :, 2]).mean() > 3
