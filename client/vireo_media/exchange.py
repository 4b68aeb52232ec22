# SPDX-License-Identifier: MIT
"""The protocol of one sequence, without a transport: which request comes next, and what a reply means.

    exchange = Exchange(segment, stream, service)
    while not exchange.is_done:
        while (request := exchange.next_request()) is not None:   # as many as the window allows
            send(request)
        reply = exchange.receive(*wait_for_a_reply())
        use(reply.packets, reply.timing)

# Note [The flush]
A decoder holds pictures back. How many, only it knows, and it says so in REPORT.pending of every reply. So after the
last packets all replies are awaited, and then come max(1, ceil(pending / rows)) requests without packets, the last with
END, which brings all that is left. `rows` is what one reply brings: as many as a request had packets, at most max_rows.
An extraction samples, so few rows are left at the end: its last packets carry END, and a short clip is one request.
A request without packets tells decode that no packet comes any more.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vireo_media.bitstream import is_shown
from vireo_media.description import StreamDescription
from vireo_media.device_use import DeviceUse
from vireo_media.errors import ExchangeError, FramesLostError, OptionError
from vireo_media.segments import Segment, with_emit
from vireo_media.services import WHOLE_VIDEO, ServiceDescription
from vireo_media.times import FLAG_DISCARD, UNKNOWN, Timing, clock, timing_rows

__all__ = ["Exchange", "Reply", "Request", "abort_request"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of a sequence: the contract's inputs and the sequence flags.

    `packets` has N elements (N may be 0), `timing` is (N, 4) int64, `stream` is STREAM's text with START and empty
    afterwards.
    """

    stream: str
    packets: Sequence[bytes]
    timing: Timing
    chunk: int
    start: bool
    end: bool


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One reply: coded packets in the encoder's order, or numbers by name; (M, 4) int64 timing; REPORT as an object.

    Numbers have a row for each row of timing, which is TIMING then: pts, duration, kind, row.
    """

    packets: Sequence[bytes]
    timing: Timing
    report: Mapping[str, Any]
    results: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass
class Exchange:
    """One sequence: a segment of a stream on its way through a service.

    `chunk_packets` is how many packets a request carries, by default what suits the size of the picture. The result
    does not depend on it.
    """

    segment: Segment
    stream: StreamDescription
    service: ServiceDescription
    chunk_packets: int | None = None
    frames_in: int = field(default=0, init=False)
    """Source frames that the service decoded, so far."""
    frames_out: int = field(default=0, init=False)
    """Frames that came back, so far."""
    frames_expected: int = field(default=0, init=False)
    """Source frames that the packets sent so far must give."""
    output: dict[str, Any] | None = field(default=None, init=False)
    """What REPORT said of the coded result: codec, extradata, size, time base, tags. None until the encoder is open."""
    notes: list[str] = field(default_factory=list, init=False)
    """What the service wants the caller to know, each once."""

    def __post_init__(self) -> None:
        most = self.service.max_packets
        size = self.service.chunk_packets(self.stream) if self.chunk_packets is None else self.chunk_packets
        if not 1 <= size <= most:
            raise OptionError(
                f"service {self.service.name!r}: chunk_packets cannot be {size!r}; allowed is 1..{most!r} "
                f"(max_packets in "
                "its configuration); choose a number in between, or none"
            )
        self._size = size
        self._chunks = self.segment.chunks(size)
        self._ahead = next(self._chunks, None)
        self._sent = 0
        self.device = DeviceUse()
        self._received = 0
        self._pending = 0
        self._flushes: int | None = None

    @property
    def outstanding(self) -> int:
        """Requests that are not answered."""
        return self._sent - self._received

    @property
    def is_done(self) -> bool:
        """Whether the request with END is answered."""
        return self._flushes == 0 and self.outstanding == 0

    def next_request(self) -> Request | None:
        """The next request; None where a reply must come first, or where all was sent. Raises InputError while "
        "reading."""
        if self._ahead is not None:
            packets, timing = self._ahead
            self._ahead = next(self._chunks, None)
            self.frames_expected += self._count_shown(packets, timing)
            end = self._ahead is None and self.service.kind == "extraction"
            if end:
                self._flushes = 0
            return self._request(packets, timing, end=end)
        if self._flushes is None:
            if self.outstanding:
                return None
            self._flushes = max(1, math.ceil(self._pending / min(self._size, self.service.max_rows)))
        if self._flushes == 0:
            return None
        self._flushes -= 1
        return self._request([], timing_rows([]), end=self._flushes == 0)

    def receive(
        self,
        packets: Sequence[bytes],
        timing: Timing,
        report: str | bytes,
        results: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Reply:
        """Take the reply to the oldest unanswered request: PACKETS, PACKET_TIMING (M, 4) int64, REPORT's JSON; of an
        extraction its results and TIMING instead.

        Raises ExchangeError where it does not fit the contract.
        """
        if not self.outstanding:
            raise self._wrong("a reply came", "no request is open", "one reply a request")
        self._received += 1
        timing = np.asarray(timing, dtype=np.int64).reshape(-1, 4)
        results = results or {}
        if not results and len(timing) != len(packets):
            raise self._wrong(f"{len(packets)} PACKETS", f"{len(timing)} rows of PACKET_TIMING", "one row a packet")
        for name, numbers in results.items():
            if not name.endswith(WHOLE_VIDEO) and len(numbers) != len(timing):
                raise self._wrong(f"{len(numbers)} rows of {name}", f"{len(timing)} of TIMING", "as many")
        values = self._read(report)
        self._pending = _count(values, "pending")
        self.frames_in += _count(values, "frames_in")
        self.frames_out += len(timing)
        if packets and "frames_out" in values and values["frames_out"] != len(packets):
            raise self._wrong(
                f"REPORT.frames_out {values['frames_out']!r}", f"{len(packets)} PACKETS", "the same number"
            )
        self._read_output(values.get("output"))
        self.notes = list(dict.fromkeys([*self.notes, *map(str, values.get("notes") or [])]))
        self.device = self.device.after(values)
        if packets and self.output is None:
            raise self._wrong("packets came", "no REPORT.output", "an output with the first packets or before")
        return Reply(packets=packets, timing=timing, report=values, results=results)

    def check_frames(self) -> None:
        """After the end: what went in must have come out, one for one unless the service changes the rate. Of one that
        makes frames for times of its own, `verify` can tell more, when the whole is there.

        Not for an extraction, which takes only some of the frames. Raises FramesLostError.
        """
        if self.service.kind == "extraction":
            return
        place = f"service {self.service.name!r}, segment {self.segment.index!r}{self._place()}"
        expected = self.segment.frames if self.segment.frames is not None else self.frames_expected
        if self.frames_in != expected:
            raise FramesLostError(
                f"{place}: {self.frames_in!r} frames were decoded of {expected!r} that were sent; allowed is every "
                f"frame; "
                "the source may be damaged there: play it, or re-encode it"
            )
        rule = self.service.frame_rule(self.stream.options)
        wanted = rule.frames(expected) if rule else None if self.service.changes_rate else expected
        if wanted is not None and self.frames_out != wanted:
            each = wanted // expected if expected else 1
            raise FramesLostError(
                f"{place}: {self.frames_out!r} frames came back for {expected!r}; allowed is {each!r} for each; "
                "this is a fault of the service: report it with its log"
            )

    def _count_shown(self, packets: Sequence[bytes], timing: Timing) -> int:
        begin, end = self.segment.emit or (None, None)
        count = 0
        for data, (pts, _, _, flags) in zip(packets, timing.tolist(), strict=True):
            inside = begin is None or end is None or pts == UNKNOWN or begin <= pts < end
            count += inside and not flags & FLAG_DISCARD and is_shown(self.stream.codec, data)
        return count

    def _place(self) -> str:
        if self.segment.first_pts is None:
            return ""
        return f" at {clock(self.segment.first_pts * Fraction(*self.stream.time_base))}"

    def _request(self, packets: Sequence[bytes], timing: Timing, *, end: bool) -> Request:
        start = self._sent == 0
        stream = with_emit(self.stream, self.segment).to_json() if start else ""
        request = Request(stream=stream, packets=packets, timing=timing, chunk=self._sent, start=start, end=end)
        self._sent += 1
        return request

    def _read(self, report: str | bytes) -> dict[str, Any]:
        try:
            values = json.loads(report)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise self._wrong(f"REPORT {report[:80]!r}", str(error), "a JSON object") from error
        if not isinstance(values, dict):
            raise self._wrong(f"REPORT {report[:80]!r}", type(values).__name__, "a JSON object")
        return values

    def _read_output(self, output: object) -> None:
        if output is None:
            return
        if not isinstance(output, dict):
            raise self._wrong("REPORT.output", repr(output), "an object or null")
        if self.output is not None and output != self.output:
            changed = sorted(key for key in {*output, *self.output} if output.get(key) != self.output.get(key))
            raise self._wrong("REPORT.output", f"other values of {', '.join(changed)}", "one output in a sequence")
        self.output = output

    def _wrong(self, what: str, got: str, allowed: str) -> ExchangeError:
        return ExchangeError(
            f"service {self.service.name!r}, segment {self.segment.index!r}: {what}, got {got}; the contract allows "
            f"{allowed}; "
            "use a client and a server of one version"
        )


def abort_request() -> Request:
    """What frees a sequence on the server: on Ctrl-C, and where a stage could not pass an error on."""
    return Request(
        stream=json.dumps({"abort": True}), packets=[], timing=timing_rows([]), chunk=0, start=True, end=True
    )


def _count(report: Mapping[str, Any], name: str) -> int:
    value = report.get(name, 0)
    return value if isinstance(value, int) and value > 0 else 0
