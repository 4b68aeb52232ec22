# SPDX-License-Identifier: MIT
"""Many short clips, many callers who go away, one long video: nothing may grow with their number or length."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from vireo_client import Client
from vireo_client.errors import UnavailableError
from vireo_client.grpc_transport import GrpcTransport
from vireo_media.container import MediaSource
from vireo_media.exchange import Request
from vireo_media.probing import probe
from vireo_media.segments import whole_video
from vireo_media.testing import numbered_clip
from vireo_server.launching import RunningServer, running_server
from vireo_server.launching.stages import running_stages

_SERVICE = "passthrough"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def clips(*, count: int) -> dict[str, Any]:
    """Short clips one after the other: memory, file descriptors and /dev/shm after a fifth of them and at the end."""
    with tempfile.TemporaryDirectory() as name, running_server(services=[_SERVICE]) as server:
        folder = Path(name)
        numbered_clip(folder / "in.mp4", frames=24, gop=12, size=(160, 96))
        begun: dict[str, int] = {}
        with Client(server.grpc_url) as client:
            for number in range(count):
                client.run(_SERVICE, folder / "in.mp4", folder / "out.mp4", overwrite=True)
                if number == count // 5:
                    begun = _held(server)
            ended = _held(server)
        return {"clips": count, "after_a_fifth": begun, "at_the_end": ended}


def abandoned(*, count: int) -> dict[str, Any]:
    """Callers who begin a stream and go away without a word: how many were refused, and when all was free again."""
    with tempfile.TemporaryDirectory() as name, running_server(services=[_SERVICE]) as server:
        path = Path(name) / "in.mp4"
        numbered_clip(path, frames=24, gop=12, size=(160, 96))
        source = MediaSource(path)
        stream = probe(source).description
        packets, timing = next(whole_video(source, stream).chunks(8))
        request = Request(stream=stream.to_json(), packets=packets, timing=timing, chunk=0, start=True, end=False)
        transport = GrpcTransport(server.grpc_url)
        refused = most = 0
        for _ in range(count):
            with transport.connect(_SERVICE, label="abandoned") as connection:
                connection.send(request)
                try:
                    while connection.receive(seconds=1.0) is None:
                        pass
                except UnavailableError as error:
                    refused += error.again_seconds is not None
            most = max(most, server.open_streams())
        began = time.monotonic()
        while (left := server.open_streams()) and time.monotonic() - began < 60:
            time.sleep(0.1)
        free = time.monotonic() - began
        with Client(transport=transport) as client:
            client.run(_SERVICE, path, Path(name) / "out.mp4")
        return {
            "abandoned": count,
            "refused_with_a_time": refused,
            "most_open": most,
            "left_open": left,
            "free_after_seconds": round(free, 1),
        }


def long_video(*, minutes: float) -> dict[str, Any]:
    """One long video, every frame of it."""
    with tempfile.TemporaryDirectory() as name, running_server(services=[_SERVICE]) as server:
        path = Path(name) / "in.mp4"
        frames = round(minutes * 60 * 25)
        numbered_clip(path, frames=frames, gop=50, size=(320, 180), options={"preset": "ultrafast"})
        before = _held(server)
        with Client(server.grpc_url) as client:
            result = client.run(_SERVICE, path, Path(name) / "out.mp4")
        return {
            "minutes": minutes,
            "frames": frames,
            "frames_out": result.frames_out,
            "segments": result.segments,
            "seconds": round(result.seconds, 1),
            "before": before,
            "after": _held(server),
        }


def _held(server: RunningServer) -> dict[str, int]:
    """What the server and its stages hold: resident MB, file descriptors, MB of shared memory, open streams."""
    pids = [server.pid, *(stage.pid for stage in running_stages(server.pid))]
    resident = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in pids)
    shared = sum(path.stat().st_blocks * 512 for path in Path("/dev/shm").glob(f"vireo-{server.runtime.name}-*"))
    return {
        "resident_mb": resident >> 20,
        "file_descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        "shared_mb": shared >> 20,
        "open_streams": server.open_streams(),
    }
