# SPDX-License-Identifier: MIT
"""Files in, files out: a service of a Triton server applied to a video.

from vireo_client import Client

with Client("127.0.0.1:8001") as client:
    result = client.run("super_resolution", "in.mp4", "out.mp4")
    print(result.frames_out, result.seconds)
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vireo_media.container import MediaSource
from vireo_media.description import StreamDescription
from vireo_media.errors import OptionError, OutputError
from vireo_media.mux import check_codec, check_output, default_codec, mux
from vireo_media.probing import VideoInput, probe
from vireo_media.segments import cut_segments, whole_video
from vireo_media.services import ServiceDescription, apply_options

from vireo_client.journal import Journal
from vireo_client.progress import ProgressCallback, ProgressCounter
from vireo_client.running import Patience, SegmentRunner
from vireo_client.service import list_services, read_service
from vireo_client.transport import GrpcTransport, Transport

__all__ = ["Client", "RunResult"]

_MOST_IN_FLIGHT = 4
_IN_FLIGHT_A_SERVER = 2


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run did. `seconds` it took, `duration_seconds` the result plays; `warnings` are for people."""

    output: Path
    frames_in: int
    frames_out: int
    seconds: float
    duration_seconds: float
    segments: int
    warnings: tuple[str, ...]


class Client:
    """Runs videos through the services of one or more Triton servers.

    `url` is a server's gRPC address, host:port, or several of them. `transport` replaces gRPC, for tests
    (`vireo_client.testing.Loopback`). Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "127.0.0.1:8001",
        *,
        transport: Transport | None = None,
        patience: Patience | None = None,
    ) -> None:
        urls = [url] if isinstance(url, str) else list(url)
        self._transports: list[Transport] = [transport] if transport is not None else [GrpcTransport(u) for u in urls]
        if not self._transports:
            raise OptionError("client: no server was named; allowed is host:port, or several of them")
        self._patience = patience or Patience()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        for transport in self._transports:
            transport.close()

    def services(self) -> list[ServiceDescription]:
        """What the (first) server serves, by name. Raises ServiceError."""
        return list_services(self._transports[0])

    def run(
        self,
        service: str,
        input: str | os.PathLike[str] | bytes,  # noqa: A002 - the word every tool of this field uses
        output: str | os.PathLike[str],
        *,
        options: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        segments_in_flight: int | None = None,
        chunk_packets: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> RunResult:
        """Send a video through a transformation and write the result, the source's sound and the rest beside it.

        `input` is a path, or the bytes of a file. `output` is a path whose suffix names the container; it appears
        only when it is whole. `options` are the service's own and the encoder's (codec, preset, crf, threads,
        maxrate, latency). `segments_in_flight` and `chunk_packets` change speed and memory, never the result.
        `progress` is called as frames come back, from threads of the client's own.

        Raises VireoError: InputError, OutputError, OptionError before anything is sent; ServiceError, FramesLostError.
        """
        started = time.monotonic()
        path = Path(output)
        format = check_output(path, overwrite=overwrite)
        if isinstance(input, str | os.PathLike) and path.exists() and Path(input).exists() and path.samefile(input):
            raise OutputError(f"output {str(path)!r} is the input itself; choose another name")
        video = probe(MediaSource(input))
        description = read_service(self._transports[0], service)
        stream = _prepare(video.description, description, options or {}, format=format)
        journal = Journal(path)
        try:
            runner = SegmentRunner(
                transports=self._transports,
                service=description,
                stream=stream,
                journal=journal,
                counter=ProgressCounter(progress, frames_total=_frames_total(video)),
                in_flight=self._in_flight(segments_in_flight),
                chunk_packets=chunk_packets,
                patience=self._patience,
            )
            if description.segments and not description.lookback_frames:
                segments = cut_segments(video.source, stream, lookahead_frames=description.lookahead_frames)
            else:
                segments = iter([whole_video(video.source, stream)])
            results = runner.run(segments)
            written = mux(
                path, segments=[journal.read(result.index) for result in results], source=video, format=format
            )
        finally:
            journal.remove()
        notes = dict.fromkeys(note for result in results for note in result.notes)
        return RunResult(
            output=path,
            frames_in=sum(result.frames_in for result in results),
            frames_out=written.frames,
            seconds=time.monotonic() - started,
            duration_seconds=written.duration_seconds,
            segments=len(results),
            warnings=(*notes, *written.warnings),
        )

    def _in_flight(self, wanted: int | None) -> int:
        if wanted is None:
            return min(_IN_FLIGHT_A_SERVER * len(self._transports), _MOST_IN_FLIGHT)
        if wanted < 1:
            raise OptionError(f"client: segments_in_flight cannot be {wanted!r}; allowed is 1 or more")
        return wanted


def _prepare(
    stream: StreamDescription, service: ServiceDescription, options: Mapping[str, Any], *, format: str
) -> StreamDescription:
    """START's description with the caller's choices; what cannot work is refused here, before a byte is sent."""
    if service.kind != "transformation":
        raise OptionError(
            f"service {service.name!r} gives numbers, not a video; allowed here are transformations; "
            "choose one (`vireo services` lists them)"
        )
    stream = apply_options(stream, service, options, codec=default_codec(format))
    check_codec(format, stream.encoder["codec"])
    service.check_stream(stream)
    return stream


def _frames_total(video: VideoInput) -> int | None:
    """For the progress bar: what the container says, else what its duration and rate suggest."""
    stream = video.description
    if stream.frames_total is not None:
        return stream.frames_total
    if video.duration_seconds is None or stream.frame_rate is None:
        return None
    numerator, denominator = stream.frame_rate
    return round(video.duration_seconds * numerator / denominator)
