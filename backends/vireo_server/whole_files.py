# SPDX-License-Identifier: MIT
"""A whole clip in one request: demux, every segment through the service, mux. For callers with plain HTTP and no
client.

# Note [One request under way a sequence]
Requests of one sequence must enter the service in order. Calls to other models run on threads, whose order nobody
promises, so a sequence has one call under way and segments run side by side instead, as over plain HTTP.
"""

from __future__ import annotations

import io
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
from vireo_media.coded import CodedSegment
from vireo_media.container import MediaSource
from vireo_media.errors import VireoError
from vireo_media.exchange import Exchange, Reply, Request, abort_request
from vireo_media.mux import FORMATS, check_codec, encoder_defaults, mux
from vireo_media.probing import VideoInput, probe
from vireo_media.results import Part, join_results, result_format, write_results
from vireo_media.segments import Segment, service_segments, with_total
from vireo_media.services import ServiceDescription, apply_options
from vireo_media.times import Timing, timing_rows
from vireo_media.versions import VERSIONS, Shares, versioned

from vireo_server.errors import BY_CODE, BadInput, Internal, StageError, Unavailable
from vireo_server.sequences import WATCHED
from vireo_server.services import read_description, read_parameter
from vireo_server.settings import FileSettings

#: Sends one request of a sequence to a service: (service, sequence id, request) -> packets, timing (M, 4), REPORT's
#: JSON, results by name.
Send = Callable[[ServiceDescription, str, Request], tuple[list[bytes], Timing, str, Mapping[str, npt.NDArray[Any]]]]

_SEGMENTS_AT_ONCE = 3
_PAUSE_SECONDS = (1.0, 3.0, 8.0)
"""Before each further try; a stage that died is replaced within some seconds."""


def run_file(
    media: bytes, *, service: str, options: dict[str, Any], repository: Path, settings: FileSettings, send: Send
) -> tuple[bytes, dict[str, Any]]:
    """A media file through a service.

    Args:
        media: a whole file, any container that libav reads.
        service: an ensemble's name.
        options: the service's, the decoder's and the encoder's, by name; and `container`: mp4 (default), mov, mkv,
            webm, ts; or, of a service that gives numbers, `format`: json (default), jsonl, csv; and `version`: of the
            service, chosen by the shares in its configuration if left out.
        repository: where the models are.
        settings: limits.
        send: how one request of a sequence is sent.

    Returns:
        The resulting file, a video or numbers as text, and REPORT: `frames_in`, `frames_out`, `notes`, `output`.

    Raises:
        StageError: bad input or options, or what a stage answered.
    """
    if len(media) > settings.max_bytes:
        raise BadInput(
            f"MEDIA has {len(media)} bytes; allowed: {settings.max_bytes} (max_bytes of model 'file'); use `vireo "
            "run`, which "
            "streams",
            stage="file",
        )
    try:
        return _run(media, service, dict(options), repository, settings, send)
    except VireoError as error:
        kind = BadInput if isinstance(error, ValueError) else Internal
        raise kind(str(error), stage="file") from error


def _run(
    media: bytes, service: str, options: dict[str, Any], repository: Path, settings: FileSettings, send: Send
) -> tuple[bytes, dict[str, Any]]:
    description = read_description(repository, _version(repository, service, options.pop("version", None)))
    if (other := description.serving(options)) != description.name:
        description = read_description(repository, _version(repository, other, None))
    numbers = description.kind == "extraction"
    container = "" if numbers else _container(options.pop("container", "mp4"))
    format = result_format("-", wanted=options.pop("format", None)) if numbers else None
    video = probe(MediaSource(media, name="MEDIA"), for_numbers=numbers)
    if video.duration_seconds is not None and video.duration_seconds > settings.max_seconds:
        raise BadInput(
            f"MEDIA is {video.duration_seconds:.1f} s long; allowed: {settings.max_seconds:g} s (max_seconds of "
            "model 'file'); "
            "use `vireo run`, which streams",
            stage="file",
        )
    defaults = {} if numbers else encoder_defaults(container)
    stream = apply_options(video.description, description, options, defaults=defaults)
    if not numbers:
        check_codec(container, stream.encoder["codec"])
    description.check_stream(stream, bits=video.bits)
    stream = with_total(video.source, stream)
    video = replace(video, description=stream)
    segments = service_segments(video.source, stream, description)
    with ThreadPoolExecutor(_SEGMENTS_AT_ONCE, thread_name_prefix="segment") as pool:
        runs = list(pool.map(lambda segment: _run_segment(segment, video, description, send), segments))
    exchanges = [run.exchange for run in runs]
    if format is not None:
        notes = dict.fromkeys(note for exchange in exchanges for note in exchange.notes)
        parts = [part for run in runs for part in run.parts]
        found = join_results(description, parts, exchanges[-1].output, notes=list(notes))
        return write_results(found, format).encode(), _report(exchanges, rows=len(found.seconds), notes=list(notes))
    target = io.BytesIO()
    result = mux(target, segments=[run.coded() for run in runs], source=video, format=container)
    notes = dict.fromkeys([note for exchange in exchanges for note in exchange.notes] + list(result.warnings))
    return target.getvalue(), _report(exchanges, rows=result.frames, notes=list(notes))


def _report(exchanges: Sequence[Exchange], *, rows: int, notes: list[str]) -> dict[str, Any]:
    return {
        "frames_in": sum(exchange.frames_in for exchange in exchanges),
        "frames_out": rows,
        "notes": notes,
        "output": exchanges[0].output,
    }


def _version(repository: Path, service: str, version: Any) -> str:
    """The model of the version that the caller wants, or else that the shares of the service's versions choose."""
    config = repository / service / "config.pbtxt"
    if version is None and config.is_file():
        version = Shares.from_json(service, read_parameter(config, VERSIONS)).choose(str(uuid.uuid4()))
    return versioned(service, 1 if version is None else version)


def _container(name: Any) -> str:
    formats = {suffix.removeprefix("."): format for suffix, format in FORMATS.items() if format != "hls"}
    if name not in formats:
        raise BadInput(f"container is {name!r}; allowed: {', '.join(formats)}", stage="file")
    return formats[name]


@dataclass(frozen=True)
class _SegmentRun:
    """What one segment gave: packets with their rows of timing, or numbers."""

    exchange: Exchange
    replies: list[Reply]

    @property
    def parts(self) -> list[Part]:
        return [(reply.timing, reply.results) for reply in self.replies]

    def coded(self) -> CodedSegment:
        segment = self.exchange.segment
        if self.exchange.output is None:
            raise Internal(f"segment {segment.index} gave no picture; try again", stage="file")
        rows = [tuple(row) for reply in self.replies for row in reply.timing.tolist()]
        data = [packet for reply in self.replies for packet in reply.packets]
        timing = timing_rows(rows)
        return CodedSegment(
            index=segment.index, output=self.exchange.output, timing=lambda: timing, packets=lambda: data
        )


def _run_segment(segment: Segment, video: VideoInput, service: ServiceDescription, send: Send) -> _SegmentRun:
    """One segment, tried again as a new stream where that can help: a plain caller has no client that would."""
    for pause_seconds in (*_PAUSE_SECONDS, None):
        exchange = Exchange(segment=segment, stream=video.description, service=service)
        stream = f"{WATCHED}file:{uuid.uuid4()}"
        try:
            return _SegmentRun(exchange, _run_stream(stream, exchange, send))
        except (Internal, Unavailable):
            if pause_seconds is None:
                raise
            time.sleep(pause_seconds)
            _abort(service, stream, send)  # Again: a stage that was being replaced did not hear it.
    raise AssertionError("unreachable")


def _run_stream(stream: str, exchange: Exchange, send: Send) -> list[Reply]:
    replies: list[Reply] = []
    try:
        while not exchange.is_done:
            request = exchange.next_request()
            assert request is not None, "with one request under way there is always a next one"
            replies.append(exchange.receive(*send(exchange.service, stream, request)))
    except (StageError, VireoError):
        _abort(exchange.service, stream, send)
        raise
    return replies


def _abort(service: ServiceDescription, stream: str, send: Send) -> None:
    """Free what the stages still hold; that they say CANCELLED is their answer."""
    try:
        send(service, stream, abort_request())
    except StageError:
        return


_CODE = re.compile(r" \[(?P<code>[A-Z_]+)\]$")
_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")


def read_error(message: str) -> StageError:
    """The error of another model of this server, from its message, which ends with its code."""
    found = _CODE.search(message)
    kind = BY_CODE.get(found["code"], Internal) if found else Internal
    text = _ENSEMBLE.sub("", _CODE.sub("", message))
    return kind(text, stage="file")
