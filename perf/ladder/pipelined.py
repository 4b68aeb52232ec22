# SPDX-License-Identifier: MIT
"""Rung (d): one process, pipelined threads: the in-process limit.

A thread decodes, one thread a core converts, infers and converts back (a picture stays in that core's cache), and the
calling thread encodes in order. OpenVINO gives each of the workers a core: pictures side by side lose less than one
picture spread over the cores, and tests of other numbers of workers gave nothing more.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from vireo_kernels.color import frames_to_rgb, rgb_to_frames
from vireo_server.decoded_picture import Picture

from perf.clips import Clip
from perf.ladder.codecs import Coded, Collector, Rows, color_of, frames_of, open_encoder, pictures
from perf.ladder.network import CORES, Network

_AHEAD = 4 * CORES
"""Pictures under way: enough that no thread waits for another, few enough that they stay in the caches."""

_Job = tuple[Picture, "Future[Rows]"]


class Pipelined:
    """Decoding, `workers` threads of network and colour, and encoding beside each other."""

    def __init__(self, clip: Clip, *, network: Path, workers: int = CORES) -> None:
        self._workers = workers
        self._network = Network(network, clip, at_once=workers)

    def run(self, clip: Clip) -> Coded:
        """Work through a clip."""
        collected, color = Collector(), color_of(clip)
        encoder = open_encoder(clip, scale=2)

        def enlarge(picture: Picture) -> Rows:
            frames = frames_of([picture])
            rgb = frames_to_rgb(
                frames, width=clip.stream.width, height=clip.stream.height, pixel_format="nv12", color=color
            )
            enlarged: Rows = rgb_to_frames(self._network(rgb), pixel_format="nv12", color=color)[0]
            return enlarged

        jobs: queue.Queue[_Job | None] = queue.Queue(_AHEAD)
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(self._workers) as workers:

            def read() -> None:
                try:
                    for picture in pictures(clip):
                        jobs.put((picture, workers.submit(enlarge, picture)))
                finally:
                    jobs.put(None)

            reading = reader.submit(read)
            for picture, frame in _taken(jobs):
                collected.add(encoder.encode(frame.result(), pts=picture.pts, duration=picture.duration))
            reading.result()
        collected.add(encoder.finish())
        return collected.coded()


def _taken(jobs: queue.Queue[_Job | None]) -> Iterator[_Job]:
    while (job := jobs.get()) is not None:
        yield job
