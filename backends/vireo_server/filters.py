# SPDX-License-Identifier: MIT
"""One libav filter between frames in and frames out."""

from __future__ import annotations

from fractions import Fraction

import av
import av.filter


def filter_graph(frame: av.VideoFrame, name: str, arguments: str) -> av.filter.Graph:
    """A graph of the filter `name` for frames like `frame`: push, then pull. No filter here looks at times."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 1000),  # What a decoder gives at its end has none.
    )
    middle = graph.add(name, arguments)
    sink = graph.add("buffersink")
    source.link_to(middle)
    middle.link_to(sink)
    graph.configure()
    return graph
