# SPDX-License-Identifier: MIT
"""Rungs (b) and (c): one process, one thread of ours, picture after picture or batch after batch.

OpenVINO spreads each call over all cores, and x264 has the threads of its settings: nothing is held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vireo_kernels.color import frames_to_rgb, rgb_to_frames
from vireo_server.decoded_picture import Picture

from perf.clips import Clip
from perf.ladder.codecs import Coded, Collector, color_of, frames_of, open_encoder, pictures
from perf.ladder.network import Network


class Sequential:
    """Decode, convert, infer, convert, encode, for `batch` pictures at a time."""

    def __init__(self, clip: Clip, *, network: Path, batch: int) -> None:
        self._batch = batch
        self._network = Network(network, clip, batch=batch)
        # The pictures left at the end, fewer than a batch, go one by one.
        self._single = Network(network, clip) if batch > 1 else self._network

    def run(self, clip: Clip) -> Coded:
        """Work through a clip."""
        collected, color = Collector(), color_of(clip)
        encoder = open_encoder(clip, scale=2)
        for batch in self._batches(pictures(clip)):
            rgb = frames_to_rgb(
                frames_of(batch), width=clip.stream.width, height=clip.stream.height, pixel_format="nv12", color=color
            )
            network = self._network if len(batch) == self._batch else self._single
            frames = rgb_to_frames(network(rgb), pixel_format="nv12", color=color)
            for frame, picture in zip(frames, batch, strict=True):
                collected.add(encoder.encode(frame, pts=picture.pts, duration=picture.duration))
        collected.add(encoder.finish())
        return collected.coded()

    def _batches(self, source: Iterator[Picture]) -> Iterator[list[Picture]]:
        while batch := list(islice(source, self._batch)):
            yield from [batch] if len(batch) == self._batch else [[picture] for picture in batch]
