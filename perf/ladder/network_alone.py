# SPDX-License-Identifier: MIT
"""The floor: the network alone, on pictures that are converted already, and nobody wants the result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from vireo_kernels.color import frames_to_rgb

from perf.clips import Clip
from perf.ladder.codecs import Coded, color_of, frames_of, pictures
from perf.ladder.network import CORES, Network


class NetworkAlone:
    """A picture on each core, again and again."""

    def __init__(self, clip: Clip, *, network: Path) -> None:
        self._network = Network(network, clip, at_once=CORES)
        some = list(islice(pictures(clip), 16))
        self._rgb = frames_to_rgb(
            frames_of(some),
            width=clip.stream.width,
            height=clip.stream.height,
            pixel_format="nv12",
            color=color_of(clip),
        )

    def run(self, clip: Clip) -> Coded:
        """As many pictures as the clip has."""
        count = len(self._rgb)
        with ThreadPoolExecutor(CORES) as workers:
            rows = (self._rgb[n % count][None] for n in range(clip.frames))
            for _ in workers.map(lambda row: bool(self._network(row).size), rows):
                pass
        return Coded(frames=clip.frames)
