# SPDX-License-Identifier: MIT
"""The photographs networks are trained and judged on: those that scikit-image and scikit-learn carry in their wheels.

Nothing is downloaded, so training can be repeated on any machine and every licence is known. One photograph has one
use and keeps it: what is held out was never trained on, and never chose an epoch either.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["PHOTOGRAPHS", "Photograph", "load", "photographs_for"]

Use = Literal["training", "validation", "held_out"]
Library = Literal["scikit-image", "scikit-learn"]


@dataclass(frozen=True)
class Photograph:
    """One bundled photograph: what it is called in its library, what it is used for, and whose it is."""

    name: str
    library: Library
    use: Use
    licence: str
    credit: str


_MIDDLEBURY = "none named; Middlebury 2014 stereo benchmark, cite Scharstein and others, GCPR 2014"

# Note [Which photograph is used for what]
# Held out are four natural colour photographs of different kinds: a portrait with fabric and printed text, a still
# life, fur, and architecture. They were chosen before anything was trained. `stereo_motorcycle` is a pair of nearly the
# same view, so both halves have the same use. Very smooth pictures (moon, clock) teach a network of this size nothing.
PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph("astronaut", "scikit-image", "held_out", "public domain", "NASA"),
    Photograph("coffee", "scikit-image", "held_out", "CC0", "Rachel Michetti, courtesy of Pikolo Espresso Bar"),
    Photograph("chelsea", "scikit-image", "held_out", "CC0", "Stefan van der Walt"),
    Photograph(
        "china", "scikit-learn", "held_out", "CC BY 2.0", "danielbuechele, flickr.com/photos/danielbuechele/6061409035"
    ),
    Photograph("rocket", "scikit-image", "validation", "public domain", "SpaceX"),
    Photograph(
        "stereo_motorcycle_left",
        "scikit-image",
        "training",
        _MIDDLEBURY,
        "Nera Nesic and others",
    ),
    Photograph(
        "stereo_motorcycle_right",
        "scikit-image",
        "training",
        _MIDDLEBURY,
        "Nera Nesic and others",
    ),
    Photograph("flower", "scikit-learn", "training", "CC BY 2.0", "vultilion, flickr.com/photos/vultilion/6056698931"),
    Photograph("hubble_deep_field", "scikit-image", "training", "public domain", "NASA"),
    Photograph("immunohistochemistry", "scikit-image", "training", "no known restrictions", "CMMI"),
    Photograph("retina", "scikit-image", "training", "CC0", "Mikael Häggström"),
    Photograph("camera", "scikit-image", "training", "CC0", "Lav Varshney"),
    Photograph("brick", "scikit-image", "training", "CC0", "CC0 Textures"),
    Photograph("grass", "scikit-image", "training", "CC0", "linolafett"),
    Photograph("gravel", "scikit-image", "training", "CC0", "CC0 Textures"),
    Photograph("coins", "scikit-image", "training", "no known restrictions", "Brooklyn Museum"),
    Photograph("page", "scikit-image", "training", "none named", "scikit-image"),
    Photograph("text", "scikit-image", "training", "public domain", "Wikipedia"),
)


def photographs_for(use: Use) -> tuple[Photograph, ...]:
    """Give the photographs of one use, in the order of `PHOTOGRAPHS`."""
    return tuple(photograph for photograph in PHOTOGRAPHS if photograph.use == use)


def load(photograph: Photograph) -> NDArray[np.uint8]:
    """Read a photograph as (H, W, 3) uint8 RGB with even H and W; a grey one gets three equal channels."""
    pixels = np.asarray(_read(photograph))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    return np.ascontiguousarray(pixels[:height, :width, :3], dtype=np.uint8)


def _read(photograph: Photograph) -> NDArray[np.uint8]:
    if photograph.library == "scikit-learn":
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{photograph.name}.jpg"))
    import skimage.data

    if photograph.name.startswith("stereo_motorcycle_"):
        left, right, _ = skimage.data.stereo_motorcycle()
        return np.asarray(left if photograph.name.endswith("left") else right)
    return np.asarray(getattr(skimage.data, photograph.name)())
