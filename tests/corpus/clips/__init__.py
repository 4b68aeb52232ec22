# SPDX-License-Identifier: MIT
"""The torture corpus: small clips of everything that video tools lose frames, times, sound or colour over.

Every frame carries its number in its pixels (`vireo_media.testing`), so loss, doubling and order are seen. A `Case`
says how its clip is made and what must come out of `passthrough`; a module for each heading of the README's table. PyAV
alone makes them.
"""

from . import beside, containers, damage, formats_out, gops, pictures, times, video_codecs
from .case import Case

__all__ = ["CASES", "Case"]

CASES: tuple[Case, ...] = (
    *video_codecs.CASES,
    *containers.CASES,
    *pictures.CASES,
    *times.CASES,
    *gops.CASES,
    *beside.CASES,
    *damage.CASES,
    *formats_out.CASES,
)
