# SPDX-License-Identifier: MIT
"""Rungs (e) and (f): our ensemble. Packets go in and packets come out."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vireo_client import Client

from perf.clips import Clip
from perf.ladder.codecs import Coded
from perf.load import Load, run_streams

_SERVICE = "super_resolution"


class Streams:
    """The clip through the service, as so many streams at once."""

    def __init__(self, url: str, *, streams: int) -> None:
        self._url, self._streams = url, streams
        #: What the load client saw, run by run.
        self.loads: list[Load] = []

    def run(self, clip: Clip) -> Coded:
        """Work through the clip in every stream."""
        load = run_streams(self._url, _SERVICE, clip, streams=self._streams)
        self.loads.append(load)
        return Coded(frames=load.frames, digests={stream.digest for stream in load.streams})


class OneFile:
    """A file through the client: cut into segments, some of them in flight, muxed again."""

    def __init__(self, url: str) -> None:
        self._client = Client(url)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def run(self, clip: Clip) -> Coded:
        """Work through the clip's whole file."""
        with tempfile.TemporaryDirectory() as folder:
            result = self._client.run(_SERVICE, clip.path, Path(folder) / "result.mp4")
        return Coded(frames=result.frames_out)
