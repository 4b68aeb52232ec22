# SPDX-License-Identifier: MIT
"""Files in, files out: a service of a Triton server applied to a video.

from vireo_client import Client

with Client("127.0.0.1:8001") as client:
    result = client.run("super_resolution", "in.mp4", "out.mp4")
    print(result.frames_out, result.seconds)
"""

import contextlib
import importlib.metadata
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from vireo_media.addresses import check_target, display_name, is_address, staging_path, upload
from vireo_media.container import MediaSource
from vireo_media.description import StreamDescription
from vireo_media.device_use import DeviceUse
from vireo_media.errors import (
    ExchangeError,
    FramesLostError,
    InputError,
    OptionError,
    OutputError,
    VireoError,
)
from vireo_media.interpolation import FrameRule
from vireo_media.mux import MuxResult, check_codec, check_output, encoder_defaults, mux
from vireo_media.probing import VideoInput, probe
from vireo_media.results import Extraction
from vireo_media.segments import service_segments
from vireo_media.services import ServiceDescription, apply_options
from vireo_media.sizes import check_one_size
from vireo_media.verify import check_same, verify
from vireo_media.versions import split_version

from vireo_client.errors import RefusedError, UnavailableError
from vireo_client.extracting import NumberStore, extract_segments, prepare_extraction
from vireo_client.grpc_transport import GrpcTransport
from vireo_client.journal import Journal, kept_job
from vireo_client.progress import ProgressCallback, ProgressCounter
from vireo_client.running import Patience, SegmentRunner
from vireo_client.servers import Servers
from vireo_client.service import ServedService, list_services, read_service
from vireo_client.transport import Transport

__all__ = ["Client", "RunResult"]

_MOST_IN_FLIGHT = 4
_SERVICE = "the service"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run did. `seconds` it took, `duration_seconds` the result plays; `warnings` are for people. `output` is
    a path, or the address without what is secret in it. `device`: who decoded and what crossed, on servers with a GPU.
    """

    output: Path | str
    frames_in: int
    frames_out: int
    seconds: float
    duration_seconds: float
    segments: int
    warnings: tuple[str, ...]
    resumed: int = 0
    """How many of the segments an earlier run had finished."""
    version: int = 1
    """Which version of the service it was."""
    device: DeviceUse = field(default_factory=DeviceUse)


class Client:
    """Runs videos through the services of one or more Triton servers.

    `url` is a server's gRPC address, host:port, or several of them (a list, or with commas). `transport`
    replaces gRPC, for tests (`vireo_client.testing.Loopback`). Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "127.0.0.1:8001",
        *,
        transport: Transport | None = None,
        patience: Patience | None = None,
    ) -> None:
        urls = [part.strip() for part in url.split(",") if part.strip()] if isinstance(url, str) else list(url)
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

    def services(self) -> list[ServedService]:
        """What the first server that answers serves, by name. Raises ServiceError."""
        for transport in self._transports[:-1]:
            with contextlib.suppress(UnavailableError):
                return list_services(transport)
        return list_services(self._transports[-1])

    def run(
        self,
        service: str,
        input: str | os.PathLike[str] | bytes,  # noqa: A002 - the word every tool of this field uses
        output: str | os.PathLike[str],
        *,
        options: Mapping[str, Any] | None = None,
        version: int | None = None,
        overwrite: bool = False,
        segments_in_flight: int | None = None,
        chunk_packets: int | None = None,
        progress: ProgressCallback | None = None,
        notice: Callable[[str], None] | None = None,
        request_id: str | None = None,
        fragmented: bool = False,
    ) -> RunResult:
        """Send a video through a transformation and write the result, the source's sound and the rest beside it.

        `input` is a path, an address (http, https, s3) or the bytes of a file. `output` is a path or an address whose
        suffix names the container; it appears only when it is whole.
        `options` are the service's own, the encoder's (codec, preset, crf, threads, maxrate, latency, keyint, nvenc)
        and the decoder's (on_corrupt, deinterlace, nvdec). `version` of the service: without it the run goes where the
        service's configuration shares new runs out to, by `request_id`; a video is of one version as a whole, and a run
        that was broken off ends on the version it began with. `segments_in_flight` and `chunk_packets` change speed and
        memory, never the result. `fragmented` writes mp4 and mov in fragments, which play while they are fetched.
        `progress` is called as frames come back, from threads of the client's own. `request_id` names the run in the
        servers' logs, by default at random.

        Finished segments are kept in the folder `<output>.vireo` until the output is written. The same call after
        any kind of end goes on from there; `overwrite` starts anew. `notice` is told at once what became of an
        earlier run, which is else among the result's warnings.

        Raises VireoError: InputError, OutputError, OptionError before anything is sent; ServiceError, FramesLostError.
        """
        if isinstance(output, str) and is_address(output):
            check_target(output, overwrite=overwrite)
            staged = staging_path(output)
            staged.unlink(missing_ok=True)
            result = self.run(
                service,
                input,
                staged,
                options=options,
                version=version,
                overwrite=overwrite,
                segments_in_flight=segments_in_flight,
                chunk_packets=chunk_packets,
                progress=progress,
                notice=notice,
                request_id=request_id,
                fragmented=fragmented,
            )
            try:
                upload(staged, output)
            except OutputError as error:
                raise OutputError(f"{error}; the result is whole in {str(staged)!r}: copy it from there") from error
            return replace(result, output=display_name(output))
        started = time.monotonic()
        path = Path(output)
        format = check_output(path, overwrite=overwrite)
        if isinstance(input, str | os.PathLike) and path.exists() and Path(input).exists() and path.samefile(input):
            raise OutputError(f"output {str(path)!r} is the input itself; choose another name")
        _check_in_flight(segments_in_flight)
        video = probe(MediaSource(input))
        request = request_id or secrets.token_hex(4)
        kept = None if overwrite else (kept_job(path) or {}).get(_SERVICE)
        transports, skipped, description, text = self._read_service(service, version=version, run=request, kept=kept)
        if (other := description.serving(options or {})) != description.name:
            transports, skipped, description, text = self._read_service(other, version=None, run=request, kept=kept)
        stream = _prepare(video, description, options or {}, format=format)
        check_one_size(video)
        rule = description.frame_rule(stream.options)
        journal_notes: list[str] = []
        with _journal(path, job=_job(description, text, stream), anew=overwrite) as journal:
            tell = notice or journal_notes.append
            for note in journal.notes:
                tell(note)
            resumable = journal.kept
            servers = self._servers(transports, description, text, skipped)
            try:
                runner = SegmentRunner(
                    servers=servers,
                    service=description,
                    stream=stream,
                    journal=journal,
                    counter=ProgressCounter(progress, frames_total=_frames_total(video, rule)),
                    in_flight=self._in_flight(segments_in_flight, description, stream),
                    chunk_packets=chunk_packets,
                    patience=self._patience,
                    request=request,
                )
                results = runner.run(service_segments(video.source, stream, description))
            finally:
                servers.stop()

            def check(file: Path, result: MuxResult) -> None:
                compared = verify(video.source, file, rule=rule, with_sound=not result.sounds_left_out)
                check_same(compared, name=str(path))

            written = mux(
                path,
                segments=[journal.read(result.index) for result in results],
                source=video,
                format=format,
                fragmented=fragmented,
                check=check,
            )
            changed = journal.changed
        notes = dict.fromkeys(note for result in results for note in result.notes)
        if changed:
            tell(f"{len(changed)} of them had changed in the source and were done again")
        return RunResult(
            output=path,
            frames_in=sum(result.frames_in for result in results),
            frames_out=written.frames,
            seconds=time.monotonic() - started,
            duration_seconds=written.duration_seconds,
            segments=len(results),
            warnings=(*journal_notes, *servers.notes, *notes, *written.warnings),
            resumed=max(0, resumable - len(changed)),
            version=split_version(description.name)[1],
            device=sum((result.device for result in results), DeviceUse()),
        )

    def extract(
        self,
        service: str,
        input: str | os.PathLike[str] | bytes,  # noqa: A002 - the word every tool of this field uses
        *,
        options: Mapping[str, Any] | None = None,
        version: int | None = None,
        segments_in_flight: int | None = None,
        chunk_packets: int | None = None,
        progress: ProgressCallback | None = None,
        request_id: str | None = None,
    ) -> Extraction:
        """Send a video through an extraction and give the numbers that it found.

        `options` are the service's own and the decoder's (sample, on_corrupt, deinterlace, nvdec); `sample` says which
        frames are looked at (`vireo_media.sampling`). The other arguments are those of `run`.

        Raises VireoError: InputError, OptionError before anything is sent; ServiceError.
        """
        _check_in_flight(segments_in_flight)
        video = probe(MediaSource(input), for_numbers=True)
        request = request_id or secrets.token_hex(4)
        transports, skipped, description, text = self._read_service(service, version=version, run=request, kept=None)
        stream = prepare_extraction(video, description, options or {})
        store = NumberStore()
        servers = self._servers(transports, description, text, skipped)
        try:
            runner = SegmentRunner(
                servers=servers,
                service=description,
                stream=stream,
                journal=store,
                counter=ProgressCounter(progress, frames_total=None),
                in_flight=self._in_flight(segments_in_flight, description, stream),
                chunk_packets=chunk_packets,
                patience=self._patience,
                request=request,
            )
            extraction = extract_segments(runner, store, video)
        finally:
            servers.stop()
        return replace(extraction, warnings=(*servers.notes, *extraction.warnings))

    def _read_service(
        self, service: str, *, version: int | None, run: str, kept: str | None
    ) -> tuple[list[Transport], list[Transport], ServiceDescription, str]:
        """The servers, the one that answered first in front; those that did not; the service's version, and its text.

        The first server that answers decides on the version, and the run goes only to servers that have the same.
        """
        skipped: list[Transport] = []
        for transport in self._transports:
            try:
                description, text = read_service(transport, service, version=version, run=run, kept=kept)
            except UnavailableError:
                skipped.append(transport)
                if len(skipped) == len(self._transports):
                    raise
            else:
                others = [other for other in self._transports if other is not transport]
                return [transport, *others], skipped, description, text
        raise AssertionError("unreachable")

    def _servers(
        self, transports: Sequence[Transport], service: ServiceDescription, text: str, skipped: Sequence[Transport]
    ) -> Servers:
        """The servers of one run, which must all have this very service."""
        pause = self._patience.first_pause_seconds
        return Servers(transports, service.name, description=text, skipped=skipped, first_pause=pause)

    def _in_flight(self, wanted: int | None, service: ServiceDescription, stream: StreamDescription) -> int:
        return wanted or min(service.segments_in_flight(stream) * len(self._transports), _MOST_IN_FLIGHT)


def _check_in_flight(wanted: int | None) -> None:
    if wanted is not None and wanted < 1:
        raise OptionError(f"client: segments_in_flight cannot be {wanted!r}; allowed is 1 or more")


def _prepare(
    video: VideoInput, service: ServiceDescription, options: Mapping[str, Any], *, format: str
) -> StreamDescription:
    """START's description with the caller's choices; what cannot work is refused here, before a byte is sent."""
    if service.kind != "transformation":
        raise OptionError(
            f"service {service.name!r} gives numbers, not a video; allowed here are transformations; choose one "
            "(`vireo services` lists them), or name an output such as out.json (in Python: `client.extract`)"
        )
    stream = apply_options(video.description, service, options, defaults=encoder_defaults(format))
    check_codec(format, stream.encoder["codec"])
    service.check_stream(stream, bits=video.bits)
    return stream


def _job(service: ServiceDescription, text: str, stream: StreamDescription) -> dict[str, Any]:
    """What finished segments depend on, under the names that a user knows it by."""
    described = json.loads(stream.to_json())
    encoder, options = described.pop("encoder"), described.pop("options")
    return {
        _SERVICE: service.name,
        "the service's revision": service.revision,
        "the service's description": json.loads(text),
        "the options": options,
        "the encoder's options": encoder,
        "the input": described,
        "the version of Vireo": importlib.metadata.version("vireo"),
    }


@contextlib.contextmanager
def _journal(path: Path, *, job: Mapping[str, Any], anew: bool) -> Iterator[Journal]:
    """The journal of one run: gone when the output is written, and where the input is at fault; else kept, and said."""
    journal = Journal(path, job=job, anew=anew)
    try:
        yield journal
    except (InputError, OptionError, RefusedError, ExchangeError, FramesLostError):
        journal.remove()  # The same command would end the same way.
        raise
    except (VireoError, KeyboardInterrupt) as error:
        if kept := journal.kept:
            said = f"{error}; " if str(error) else ""
            raise type(error)(
                f"{said}{kept} finished segment{'s are' if kept > 1 else ' is'} kept in {str(journal.folder)!r}: "
                "run the same command again to continue"
            ) from error
        raise
    else:
        journal.remove()
    finally:
        journal.close()


def _frames_total(video: VideoInput, rule: FrameRule | None) -> int | None:
    """For the progress bar: what the container says, else what its duration and rate suggest."""
    stream = video.description
    rate = None if stream.frame_rate is None else Fraction(*stream.frame_rate)
    if rule is not None and rule.rate is not None:
        rate = rule.rate
    elif stream.frames_total is not None:
        return stream.frames_total * ((rule and rule.ratio) or 1)
    elif rule is not None:
        rate = rule.frame_rate(rate)
    return None if video.duration_seconds is None or rate is None else round(video.duration_seconds * rate)
