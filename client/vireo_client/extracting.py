# SPDX-License-Identifier: MIT
"""Running a video through an extraction: numbers in memory, no journal, nothing to mux."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vireo_media.description import StreamDescription
from vireo_media.errors import OptionError
from vireo_media.exchange import Reply
from vireo_media.probing import VideoInput
from vireo_media.results import Extraction, Part, join_results
from vireo_media.segments import service_segments, with_total
from vireo_media.services import ServiceDescription, apply_options
from vireo_media.times import CodedPacket

from vireo_client.journal import SegmentResult
from vireo_client.running import SegmentRunner

__all__ = ["NumberStore", "extract_segments", "prepare_extraction"]


class NumberStore:
    """What the segments of one run gave, by their place in the video. A segment that is tried again starts anew."""

    resumes = False

    def __init__(self) -> None:
        self.output: Mapping[str, Any] | None = None
        self._parts: dict[int, list[Part]] = {}
        self._lock = threading.Lock()

    def finished(self, index: int, packets: Iterable[CodedPacket]) -> SegmentResult | None:
        """Nothing is kept from earlier runs."""
        return None

    @contextlib.contextmanager
    def write(self, index: int) -> Iterator["_NumberSink"]:
        """What takes the replies of segment `index`."""
        yield _NumberSink(self, index)

    def parts(self) -> list[Part]:
        """The replies in the order of the video."""
        return [part for index in sorted(self._parts) for part in self._parts[index]]

    def keep(self, index: int, parts: list[Part], output: Mapping[str, Any] | None) -> None:
        """A segment is whole."""
        with self._lock:
            self._parts[index], self.output = parts, output or self.output


class _NumberSink:
    def __init__(self, store: NumberStore, index: int) -> None:
        self._store, self._index = store, index
        self._parts: list[Part] = []

    def take(self, reply: Reply) -> None:
        self._parts.append((reply.timing, reply.results))

    def finish(
        self, *, output: Mapping[str, Any] | None, result: SegmentResult | None = None, digest: str | None = None
    ) -> None:
        self._store.keep(self._index, self._parts, output)


def prepare_extraction(video: VideoInput, service: ServiceDescription, options: Mapping[str, Any]) -> StreamDescription:
    """START's description with the caller's choices; what cannot work is refused here, before a byte is sent.

    Raises OptionError, InputError.
    """
    if service.kind != "extraction":
        raise OptionError(
            f"service {service.name!r} gives a video, not numbers; allowed here are extractions; choose one (`vireo "
            "services` lists them), or name an output such as out.mp4"
        )
    stream = apply_options(video.description, service, options, defaults={})
    service.check_stream(stream)
    return with_total(video.source, stream)


def extract_segments(runner: SegmentRunner, store: NumberStore, video: VideoInput) -> Extraction:
    """Send all of a video and join what comes back. Raises VireoError."""
    results = runner.run(service_segments(video.source, runner.stream, runner.service))
    notes = dict.fromkeys(note for result in results for note in result.notes)
    remarks = dict.fromkeys(video.source.remarks.values())
    return join_results(runner.service, store.parts(), store.output, notes=[*notes, *remarks])
