# SPDX-License-Identifier: MIT
"""Rung (a): a picture service. The client decodes, sends each picture to the network over gRPC, and encodes.

One connection that stays open, UINT8 both ways. With more than one request in flight the client decodes and encodes
while the server computes.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from vireo_kernels.color import frames_to_rgb, rgb_to_frames
from vireo_server.decoded_picture import Picture

from perf.clips import Clip
from perf.ladder.codecs import Coded, Collector, Rows, color_of, frames_of, open_encoder, pictures

_MODEL = "super_resolution_network"


class PictureService:
    """A client of the network model at `url`, `in_flight` pictures under way at most."""

    def __init__(self, url: str, *, in_flight: int) -> None:
        self._client = grpcclient.InferenceServerClient(url)
        self._in_flight = in_flight

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def run(self, clip: Clip) -> Coded:
        """Work through a clip."""
        collected, color = Collector(), color_of(clip)
        encoder = open_encoder(clip, scale=2)
        under_way: deque[tuple[Picture, Future[Rows]]] = deque()

        def encode_oldest() -> None:
            picture, answer = under_way.popleft()
            frame = rgb_to_frames(answer.result(), pixel_format="nv12", color=color)[0]
            collected.add(encoder.encode(frame, pts=picture.pts, duration=picture.duration))

        for picture in pictures(clip):
            rgb = frames_to_rgb(
                frames_of([picture]),
                width=clip.stream.width,
                height=clip.stream.height,
                pixel_format="nv12",
                color=color,
            )
            under_way.append((picture, self._ask(rgb)))
            if len(under_way) == self._in_flight:
                encode_oldest()
        while under_way:
            encode_oldest()
        collected.add(encoder.finish())
        return collected.coded()

    def _ask(self, rgb: Rows) -> Future[Rows]:
        """Send a picture, `(1, 3, H, W) uint8`; the enlarged one will be the future's."""
        tensor = grpcclient.InferInput("INPUT", list(rgb.shape), "UINT8")
        tensor.set_data_from_numpy(rgb)
        answer: Future[Rows] = Future()

        def arrived(result: Any, error: Exception | None) -> None:
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(np.asarray(result.as_numpy("OUTPUT")))

        self._client.async_infer(_MODEL, [tensor], arrived)
        return answer
