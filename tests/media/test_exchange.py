# SPDX-License-Identifier: MIT
"""The protocol of one sequence: chunks, flags, the flush, and replies that break the contract."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from vireo_media.description import StreamDescription
from vireo_media.errors import ExchangeError, FramesLostError, OptionError
from vireo_media.exchange import Exchange, Request, abort_request
from vireo_media.probing import VideoInput
from vireo_media.segments import Segment, cut_segments, whole_video, with_emit
from vireo_media.services import ServiceDescription
from vireo_media.times import timing_rows

SERVICE = ServiceDescription(name="s", kind="transformation", max_packets=32, max_rows=5)
OUTPUT = {"codec": "h264", "extradata": "", "time_base": [1, 25]}


def reply(count: int = 0, *, pending: int = 0, **values: Any) -> tuple[list[bytes], Any, str]:
    report = {"pending": pending, "output": OUTPUT, "frames_in": count, "frames_out": count, "notes": []} | values
    return [b"p"] * count, timing_rows([(i, i, 1, 0) for i in range(count)]), json.dumps(report)


@pytest.fixture
def exchange(video: Callable[[str], VideoInput]) -> Callable[..., Exchange]:
    def make(name: str = "one_gop", *, size: int | None = None, service: ServiceDescription = SERVICE) -> Exchange:
        source = video(name)
        (segment,) = cut_segments(source.source, source.description)
        return Exchange(segment, source.description, service, chunk_packets=size)

    return make


@pytest.mark.parametrize("size", [1, 3, 8, 17, 32])
def test_chunks_are_counted_and_carry_every_packet_once(exchange: Callable[..., Exchange], size: int) -> None:
    subject = exchange(size=size)
    requests: list[Request] = []
    while (request := subject.next_request()) is not None:
        requests.append(request)
    assert [request.chunk for request in requests] == list(range(-(-250 // size)))
    assert [data for request in requests for data in request.packets] == [
        packet.data for packet in subject.segment.packets()
    ]
    assert [request.start for request in requests] == [True] + [False] * (len(requests) - 1)
    assert not any(request.end for request in requests)
    assert StreamDescription.from_json(requests[0].stream) == with_emit(subject.stream, subject.segment)
    assert {request.stream for request in requests[1:]} == {""}
    assert all(request.timing.shape == (len(request.packets), 4) for request in requests)


@pytest.mark.parametrize(("pending", "flushes"), [(0, 1), (1, 1), (5, 1), (6, 2), (16, 4)])
def test_the_flush_waits_for_every_reply_and_brings_what_is_pending(
    exchange: Callable[..., Exchange], pending: int, flushes: int
) -> None:
    subject = exchange(size=32)
    sent = 0
    while subject.next_request() is not None:
        sent += 1
    for left in reversed(range(sent)):
        assert subject.next_request() is None, "the flush depends on the last reply"
        subject.receive(*reply(10, pending=0 if left else pending))
    empty = []
    while (request := subject.next_request()) is not None:
        empty.append(request)
    assert [len(request.packets) for request in empty] == [0] * flushes
    assert [request.end for request in empty] == [False] * (flushes - 1) + [True]
    assert [request.chunk for request in empty] == list(range(sent, sent + flushes))
    assert not subject.is_done
    for _ in empty:
        subject.receive(*reply())
    assert subject.is_done
    assert subject.next_request() is None


def finished(exchange: Callable[..., Exchange], *, frames_in: int, frames_out: int, **arguments: Any) -> Exchange:
    subject = exchange("one_frame", **arguments)
    subject.next_request()
    subject.receive(*reply(0))
    subject.next_request()
    subject.receive(*reply(frames_out, frames_in=frames_in))
    assert subject.is_done
    return subject


def test_what_a_gpu_did_is_added_up(exchange: Callable[..., Exchange]) -> None:
    subject = exchange()
    for _ in range(2):
        assert subject.next_request() is not None
        subject.receive(*reply(decoder={"name": "nvdec"}, crossed={"encode": {"to_host": 7}}))
    assert (subject.device.decoders, subject.device.crossed) == ({"NVDEC": 1}, {"encode to_host": 14})


def test_frames_are_compared_at_the_end(exchange: Callable[..., Exchange]) -> None:
    finished(exchange, frames_in=1, frames_out=1).check_frames()
    with pytest.raises(FramesLostError, match="0 frames were decoded of 1 that were sent"):
        finished(exchange, frames_in=0, frames_out=0).check_frames()
    with pytest.raises(FramesLostError, match=r"segment 0 at 00:00:00.000: 2 frames came back for 1"):
        finished(exchange, frames_in=1, frames_out=2).check_frames()
    double = ServiceDescription(name="d", kind="transformation", options={"properties": {"ratio": {}}})
    finished(exchange, frames_in=1, frames_out=2, service=double).check_frames()


def test_a_whole_video_counts_what_it_sends(video: Callable[[str], VideoInput]) -> None:
    source = video("vp8_hidden")
    subject = Exchange(whole_video(source.source, source.description), source.description, SERVICE)
    while subject.next_request() is not None:
        pass
    assert subject.frames_expected == 250


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (([b"p"], timing_rows([]), "{}"), "rows of PACKET_TIMING"),
        (([], timing_rows([]), "{"), "REPORT '{'"),
        (([], timing_rows([]), "[]"), "a JSON object"),
        (reply(1, output=None), "no REPORT.output"),
        (reply(1, output=3), "an object or null"),
        (reply(1, frames_out=2), "the same number"),
    ],
)
def test_replies_that_break_the_contract_are_refused(
    exchange: Callable[..., Exchange], answer: tuple[Any, Any, Any], words: str
) -> None:
    subject = exchange()
    subject.next_request()
    with pytest.raises(ExchangeError, match=words):
        subject.receive(*answer)


def test_an_output_that_changes_and_a_reply_too_many_are_refused(exchange: Callable[..., Exchange]) -> None:
    subject = exchange()
    subject.next_request()
    subject.next_request()
    subject.receive(*reply(1, notes=["a", "b", "a"]))
    with pytest.raises(ExchangeError, match="other values of codec"):
        subject.receive(*reply(1, output={**OUTPUT, "codec": "hevc"}))
    assert subject.notes == ["a", "b"]
    subject = exchange()
    with pytest.raises(ExchangeError, match="no request is open"):
        subject.receive(*reply(0))


@pytest.mark.parametrize("size", [0, 33])
def test_chunks_over_the_services_limit_are_refused(exchange: Callable[..., Exchange], size: int) -> None:
    with pytest.raises(OptionError, match=r"allowed is 1\.\.32"):
        exchange(size=size)


def test_the_abort_request_is_the_contracts() -> None:
    request = abort_request()
    assert (json.loads(request.stream), request.start, request.end) == ({"abort": True}, True, True)
    assert (list(request.packets), request.timing.shape) == ([], (0, 4))


def test_start_says_what_to_emit(video: Callable[[str], VideoInput]) -> None:
    source = video("hevc_open")
    emits = []
    for segment in cut_segments(source.source, source.description):
        assert isinstance(segment, Segment)
        request = Exchange(segment, source.description, SERVICE).next_request()
        assert request is not None
        emits.append(StreamDescription.from_json(request.stream).emit)
    assert [emit is not None for emit in emits] == [True, True, True]


def test_the_last_packets_of_an_extraction_carry_the_end(exchange: Callable[..., Exchange]) -> None:
    service = ServiceDescription(name="s", kind="extraction", segments=False, max_packets=128, max_rows=128)
    subject = exchange(service=service)
    requests = [subject.next_request(), subject.next_request()]
    assert [len(request.packets) for request in requests if request] == [128, 122]
    assert [request.end for request in requests if request] == [False, True]
    assert subject.next_request() is None
