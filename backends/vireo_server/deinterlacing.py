# SPDX-License-Identifier: MIT
"""Interlaced pictures to progressive ones, a frame a frame."""

from __future__ import annotations

from typing import Any

import av
import av.error
import av.filter

from vireo_server.filters import filter_graph

# Note [One frame a frame]
# bwdif could give a frame for each field, twice as many; then no frame would have the source's times and count. So it
# gives one a frame, at the frame's own time, which travels beside the filter: the filter counts frames instead. It
# touches only pictures that are marked interlaced, so streams that mix both stay sharp where they are progressive. It
# looks one picture back and one ahead; at a segment's ends it makes do with one side.


class Deinterlacer:
    """bwdif for one stream. `Item` values go in beside the pictures and come out beside theirs, in order."""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._beside: list[Any] = []
        self._count = 0

    def push(self, frame: av.VideoFrame, beside: Any) -> list[tuple[av.VideoFrame, Any]]:
        """Take a picture in display order; the pictures that are done."""
        if self._graph is None:
            self._graph = filter_graph(frame, "bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        frame.pts, self._count = self._count, self._count + 1
        self._beside.append(beside)
        self._graph.vpush(frame)
        return self._pull()

    def flush(self) -> list[tuple[av.VideoFrame, Any]]:
        """What the filter still held."""
        if self._graph is None:
            return []
        self._graph.vpush(None)
        done = self._pull()
        self._graph = None
        return done

    @property
    def held(self) -> int:
        """Pictures that went in and have not come out."""
        return len(self._beside)

    def _pull(self) -> list[tuple[av.VideoFrame, Any]]:
        assert self._graph is not None
        done: list[tuple[av.VideoFrame, Any]] = []
        while True:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return done
            done.append((frame, self._beside.pop(0)))
