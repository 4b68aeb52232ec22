# SPDX-License-Identifier: MIT
"""Pictures without the columns and rows that the container says to cut off."""

from __future__ import annotations

import av
import av.filter

from vireo_server.filters import filter_graph


class Cropper:
    """libav's crop filter for one stream; no sample is copied. `crop` is (left, top, right, bottom)."""

    def __init__(self, crop: tuple[int, int, int, int]) -> None:
        self._crop = crop
        self._graph: av.filter.Graph | None = None

    def cropped(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The part of a picture that is shown."""
        if self._graph is None:
            left, top, right, bottom = self._crop
            size = f"{frame.width - left - right}:{frame.height - top - bottom}"
            self._graph = filter_graph(frame, "crop", f"{size}:{left}:{top}:exact=1")
        self._graph.vpush(frame)
        return self._graph.vpull()
