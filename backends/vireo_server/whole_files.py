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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from vireo_media.coded import CodedSegment
from vireo_media.container import MediaSource
from vireo_media.errors import VireoError
from vireo_media.exchange import Exchange, Request, abort_request
from vireo_media.mux import FORMATS, encoder_defaults, mux
from vireo_media.probing import VideoInput, probe
from vireo_media.segments import Segment, service_segments
from vireo_media.services import ServiceDescription, apply_options
from vireo_media.times import Timing, timing_rows
from vireo_media.versions import VERSIONS, Shares, versioned

from vireo_server.errors import BY_CODE, BadInput, Internal, StageError, Unavailable
from vireo_server.services import read_description, read_parameter
from vireo_server.settings import FileSettings

#: Sends one request of a sequence to a service: (service, sequence id, request) -> packets, timing (M, 4), REPORT's
#: JSON.
Send = Callable[[str, str, Request], tuple[list[bytes], Timing, str]]

_SEGMENTS_AT_ONCE = 3
_PAUSE_SECONDS = (1.0, 3.0, 8.0)
"""Before each further try; a stage that died is replaced within some seconds."""


def run_file(
    media: bytes, *, service: str, options: dict[str, Any], repository: Path, settings: FileSettings, send: Send
) -> tuple[bytes, dict[str, Any]]:
    """A media file through a transformation.

    Args:
        media: a whole file, any container that libav reads.
        service: an ensemble's name.
        options: the service's and the encoder's, by name; and `container`: mp4 (default), mov, mkv, webm, ts;
            and `version`: of the service, chosen by the shares in its configuration if left out.
        repository: where the models are.
        settings: limits.
        send: how one request of a sequence is sent.

    Returns:
        The resulting file, and REPORT: `frames_in`, `frames_out`, `notes`, `output`.

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
    container = _container(options.pop("container", "mp4"))
    video = probe(MediaSource(media, name="MEDIA"))
    if video.duration_seconds is not None and video.duration_seconds > settings.max_seconds:
        raise BadInput(
            f"MEDIA is {video.duration_seconds:.1f} s long; allowed: {settings.max_seconds:g} s (max_seconds of "
            "model 'file'); "
            "use `vireo run`, which streams",
            stage="file",
        )
    stream = apply_options(video.description, description, options, defaults=encoder_defaults(container))
    description.check_stream(stream)
    video = replace(video, description=stream)
    with ThreadPoolExecutor(_SEGMENTS_AT_ONCE, thread_name_prefix="segment") as pool:
        segments = service_segments(video.source, stream, description)
        runs = list(pool.map(lambda segment: _run_segment(segment, video, description, send), segments))
    target = io.BytesIO()
    result = mux(target, segments=[coded for _, coded in runs], source=video, format=container)
    exchanges = [exchange for exchange, _ in runs]
    notes = dict.fromkeys([note for exchange in exchanges for note in exchange.notes] + list(result.warnings))
    report = {
        "frames_in": sum(exchange.frames_in for exchange in exchanges),
        "frames_out": result.frames,
        "notes": list(notes),
        "output": exchanges[0].output,
    }
    return target.getvalue(), report


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


def _run_segment(
    segment: Segment, video: VideoInput, service: ServiceDescription, send: Send
) -> tuple[Exchange, CodedSegment]:
    """One segment, tried again as a new stream where that can help: a plain caller has no client that would."""
    for pause_seconds in (*_PAUSE_SECONDS, None):
        exchange = Exchange(segment=segment, stream=video.description, service=service)
        stream = str(uuid.uuid4())
        try:
            return exchange, _run_stream(stream, exchange, send)
        except (Internal, Unavailable):
            if pause_seconds is None:
                raise
            time.sleep(pause_seconds)
            _abort(service.name, stream, send)  # Again: a stage that was being replaced did not hear it.
    raise AssertionError("unreachable")


def _run_stream(stream: str, exchange: Exchange, send: Send) -> CodedSegment:
    data: list[bytes] = []
    rows: list[list[int]] = []
    try:
        while not exchange.is_done:
            request = exchange.next_request()
            assert request is not None, "with one request under way there is always a next one"
            reply = exchange.receive(*send(exchange.service.name, stream, request))
            data += reply.packets
            rows += reply.timing.tolist()
    except (StageError, VireoError):
        _abort(exchange.service.name, stream, send)
        raise
    if exchange.output is None:
        raise Internal(f"segment {exchange.segment.index} gave no picture; try again", stage="file")
    timing = timing_rows([tuple(row) for row in rows])  # type: ignore[misc]
    return CodedSegment(
        index=exchange.segment.index, output=exchange.output, timing=lambda: timing, packets=lambda: data
    )


def _abort(service: str, stream: str, send: Send) -> None:
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
