# SPDX-License-Identifier: MIT
"""Cutting a video into segments: runs of whole GOPs that are decoded, retried and run side by side on their own.

# Note [Where a video is cut]
A segment ends before the first key packet that is at least 4 s after its first packet and that may be cut at. A rest
under 1 s or of fewer than 3 frames joins the segment before it. Cuts depend on the input alone, so the same input
gives the same bytes, whoever works on it.

At a closed key packet nothing refers across the cut. At an open one its leading pictures do: they follow it in the
file and are shown before it. So both sides get the key packet: the segment before it decodes it and its leading
pictures and gives out what is shown before it (`emit`), the segment that it begins decodes the leading pictures
without their references, marked to be discarded. Every picture is given out once.

# Note [How long a segment's packets are kept]
A segment is read ahead whole, to know where it ends. Up to `_MOST_BUFFERED` bytes its packets stay in memory; those
of a longer one are read from the source again when they are sent, so a video that cannot be cut costs no memory
either.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice

from vireo_media.bitstream import CutKind, cut_kind, is_shown
from vireo_media.container import MediaSource, read_packets
from vireo_media.description import StreamDescription
from vireo_media.sampling import Sampling
from vireo_media.services import ServiceDescription
from vireo_media.times import FLAG_DISCARD, FLAG_KEY, UNKNOWN, CodedPacket, Timing, timing_rows

__all__ = [
    "Segment",
    "count_frames",
    "cut_segments",
    "decodable_packets",
    "service_segments",
    "whole_video",
    "with_emit",
    "with_total",
]

_LEAST_SECONDS = 4
_LEAST_REST_SECONDS, _LEAST_REST_FRAMES = 1, 3
_MOST_BUFFERED = 256 << 20
_LOOK_AHEAD_PACKETS = 16
"""Packets after a key packet to look at for one with a smaller pts: no codec reorders further."""
_MOST_BEFORE_KEY = 512
"""Packets without a key packet at the beginning after which a stream counts as one without key packets."""
_OPEN_END = 2**63 - 1

Reader = Callable[[], Iterator[CodedPacket]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A run of packets that is one sequence.

    `first` is its first packet's place among those of the video. `count` is how many it has, None where that is known
    only once they were read. `hidden` is how many after the first packet are leading pictures that cannot be decoded
    here. `emit` is [first, end) in pts of what is given out, None for all. `origin` is the pts of the video's first
    picture. `frames` is how many frames must come out, None where unknown. `first_pts` and `end_pts` are in the
    stream's time base, None where unknown.
    """

    index: int
    first: int
    reader: Reader
    count: int | None = None
    hidden: int = 0
    emit: tuple[int, int] | None = None
    origin: int | None = None
    frames: int | None = None
    first_pts: int | None = None
    end_pts: int | None = None
    kept: tuple[CodedPacket, ...] | None = None

    def packets(self) -> Iterator[CodedPacket]:
        """The packets, from the first, as often as wanted: a retry sends them again."""
        if self.kept is not None:
            packets: Iterator[CodedPacket] = iter(self.kept)
        else:
            end = None if self.count is None else self.first + self.count
            packets = islice(self.reader(), self.first, end)
        for place, packet in enumerate(packets):
            if 1 <= place <= self.hidden:
                packet = packet._replace(flags=packet.flags | FLAG_DISCARD)
            yield packet

    def chunks(self, size: int) -> Iterator[tuple[list[bytes], Timing]]:
        """The packets in requests of at most `size`: (PACKETS, PACKET_TIMING (N, 4) int64)."""
        packets = self.packets()
        while chunk := list(islice(packets, size)):
            yield [packet.data for packet in chunk], timing_rows([packet[1:] for packet in chunk])


def whole_video(source: MediaSource, stream: StreamDescription) -> Segment:
    """The whole video as one segment, read as it is sent: for services that must see it all in one sequence."""
    return Segment(index=0, first=0, reader=lambda: decodable_packets(source, stream))


def service_segments(source: MediaSource, stream: StreamDescription, service: ServiceDescription) -> Iterator[Segment]:
    """The segments in which a service takes a video: one where it, or what it samples, must see all of it. Raises
    InputError.
    """
    sampling = Sampling.parse(stream.decoder.get("sample") or "all")
    if service.segments and not service.lookback_frames and sampling.is_local:
        return cut_segments(source, stream, lookahead_frames=service.lookahead_frames)
    whole = whole_video(source, stream)
    if sampling.rule == "key":  # What decode would not look at need not be sent either.
        packets = whole.reader
        whole = replace(whole, reader=lambda: (packet for packet in packets() if packet.flags & FLAG_KEY))
    return iter([whole])


def with_total(source: MediaSource, stream: StreamDescription) -> StreamDescription:
    """The stream's description with its exact number of frames, where its sampling counts on that. Raises InputError.

    What a container says is often an estimate, or counts what an edit list hides.
    """
    if not Sampling.parse(stream.decoder.get("sample") or "all").needs_total:
        return stream
    return replace(stream, frames_total=count_frames(source, stream))


def count_frames(source: MediaSource, stream: StreamDescription) -> int:
    """How many frames of the video are shown, by its packets; reads it once, and decodes nothing. Raises InputError."""
    packets = decodable_packets(source, stream)
    return sum(not packet.flags & FLAG_DISCARD and is_shown(stream.codec, packet.data) for packet in packets)


def cut_segments(source: MediaSource, stream: StreamDescription, *, lookahead_frames: int = 0) -> Iterator[Segment]:
    """The segments of a video, in order, lazily: each is read when it is asked for.

    With `lookahead_frames` every segment is followed by the next one's packets up to that frame, outside its `emit`.
    Raises InputError.
    """

    def reader() -> Iterator[CodedPacket]:
        return decodable_packets(source, stream)

    cutter = _Cutter(stream=stream, reader=reader, lookahead_frames=lookahead_frames)
    for packet in reader():
        segment = cutter.add(packet)
        if segment is not None:
            yield segment
    yield from cutter.finish()


def decodable_packets(source: MediaSource, stream: StreamDescription) -> Iterator[CodedPacket]:
    """The packets of a video without those that no decoder can decode: before its first key packet (a recording that
    starts anywhere). Leading pictures of a first key packet that is open refer to what is not there: they are marked
    to be discarded. A stream without key packets is left as it is. Raises InputError.
    """
    packets = read_packets(source)
    before: list[CodedPacket] = []
    for packet in packets:
        if packet.flags & FLAG_KEY:
            yield packet
            if cut_kind(stream.codec, stream.extradata, packet.data) == "open":
                yield from _discard_leading(packet, packets)
            break
        before.append(packet)
        if len(before) == _MOST_BEFORE_KEY:
            break
    else:
        yield from before
    if len(before) == _MOST_BEFORE_KEY:
        yield from before
    yield from packets


def _discard_leading(key: CodedPacket, packets: Iterator[CodedPacket]) -> Iterator[CodedPacket]:
    for packet in packets:
        if packet.pts == UNKNOWN or packet.pts >= key.pts:
            yield packet
            return
        yield packet._replace(flags=packet.flags | FLAG_DISCARD)


@dataclass(kw_only=True)
class _Cutter:
    """The packets read ahead, and the decision where the next cut is."""

    stream: StreamDescription
    reader: Reader
    lookahead_frames: int
    first: int = 0
    index: int = 0
    _origin: int | None = None
    _packets: list[CodedPacket] = field(default_factory=list)
    _kinds: list[CutKind | None] = field(default_factory=list)
    _bytes: int = 0
    _spilled: bool = False
    _spilled_to: int = 0
    _cuttable: bool = True
    _candidates: list[int] = field(default_factory=list)
    _after_open_cut: bool = False

    def add(self, packet: CodedPacket) -> Segment | None:
        """Take one more packet; the segment that ends, if one does."""
        self._append(packet)
        while self._candidates:
            place = self._candidates[0]
            if not self._is_decidable(place):
                return None
            if self._is_cut(place):
                return self._cut(place)
            self._candidates.pop(0)
        return None

    def finish(self) -> Iterator[Segment]:
        """What is left at the end of the video: the last segment, and one before it where a cut was still undecided."""
        while self._candidates:
            place = self._candidates[0]
            if self._is_long_enough(place) and self._is_cut(place):
                yield self._cut(place)
            else:
                self._candidates.pop(0)
        if self._packets:
            yield self._segment(len(self._packets), overlap=0, cut=None)

    def _append(self, packet: CodedPacket) -> None:
        kind: CutKind | None = None
        if packet.flags & FLAG_KEY:
            kind = cut_kind(self.stream.codec, self.stream.extradata, packet.data)
        if packet.pts == UNKNOWN:
            # No order to cut by from here on; what was a candidate cannot be judged any more.
            self._cuttable = False
            self._candidates.clear()
        self._packets.append(packet)
        self._kinds.append(kind)
        self._bytes += len(packet.data)
        if self._cuttable and kind is not None and len(self._packets) > 1:
            elapsed = self._seconds(packet.pts - self._packets[0].pts)
            if elapsed >= _LEAST_SECONDS:
                self._candidates.append(len(self._packets) - 1)
        if self._bytes > _MOST_BUFFERED or self._spilled:
            self._spill()

    def _spill(self) -> None:
        """Let go of the data up to the first packet that may begin the next segment."""
        end = self._candidates[0] if self._candidates else len(self._packets)
        start = 0 if not self._spilled else self._spilled_to
        self._packets[start:end] = [self._without_data(packet) for packet in self._packets[start:end]]
        self._spilled, self._spilled_to = True, end
        self._bytes = sum(len(packet.data) for packet in self._packets[end:])

    def _without_data(self, packet: CodedPacket) -> CodedPacket:
        # Whether it is shown is all that is asked of the data later.
        shown = is_shown(self.stream.codec, packet.data) if packet.data else True
        flags = packet.flags if shown else packet.flags | FLAG_DISCARD
        return packet._replace(data=b"", flags=flags)

    def _is_decidable(self, place: int) -> bool:
        """Whether enough follows to know that the rest is long enough and which packets lead."""
        rest = self._packets[place:]
        if len(rest) <= max(_LOOK_AHEAD_PACKETS, self.lookahead_frames + _LEAST_REST_FRAMES):
            return False
        return self._seconds(max(packet.pts for packet in rest) - rest[0].pts) >= _LEAST_REST_SECONDS

    def _is_long_enough(self, place: int) -> bool:
        """Whether the rest of the video, which ends here, is long enough for a segment of its own."""
        rest = [packet for packet in self._packets[place:] if self._is_shown(packet)]
        if len(rest) < _LEAST_REST_FRAMES:
            return False
        end = max(packet.pts + packet.duration for packet in rest)
        return self._seconds(end - self._packets[place].pts) >= _LEAST_REST_SECONDS

    def _is_cut(self, place: int) -> bool:
        key, rest = self._packets[place], self._packets[place + 1 :]
        leading = _leading(key, rest)
        if any(packet.pts < key.pts for packet in rest[leading:]):
            return False  # Reordered beyond what a GOP may: no order to cut by.
        if any(packet.pts >= key.pts for packet in self._packets[:place]):
            return False  # Something before the key packet is shown after it.
        return self._kinds[place] == "open" or not leading

    def _cut(self, place: int) -> Segment:
        key, rest = self._packets[place], self._packets[place + 1 :]
        is_open = self._kinds[place] == "open"
        leading = _leading(key, rest)
        overlap = 1 + leading if is_open and leading else 0
        overlap = max(overlap, self._lookahead(place))
        segment = self._segment(place, overlap=overlap, cut=key.pts if overlap else None, leading=leading)
        self._packets = self._packets[place:]
        self._kinds = self._kinds[place:]
        self._candidates = [
            other - place
            for other in self._candidates[1:]
            if self._seconds(self._packets[other - place].pts - key.pts) >= _LEAST_SECONDS
        ]
        self._after_open_cut = bool(overlap and is_open and leading)
        self._spilled, self._spilled_to = False, 0
        self._bytes = sum(len(packet.data) for packet in self._packets)
        self.first += place
        self.index += 1
        return segment

    def _lookahead(self, place: int) -> int:
        """Packets of the next segment up to its `lookahead_frames`-th shown frame."""
        if not self.lookahead_frames:
            return 0
        rest = [packet.pts for packet in self._packets[place:] if not packet.flags & FLAG_DISCARD]
        rest = [pts for pts in rest if pts >= self._packets[place].pts]
        wanted = set(sorted(rest)[: self.lookahead_frames])
        last = max(i for i, packet in enumerate(self._packets[place:]) if packet.pts in wanted)
        return last + 1

    def _segment(self, count: int, *, overlap: int, cut: int | None, leading: int = 0) -> Segment:
        own = self._packets[:count]
        hidden = _leading(own[0], own[1:]) if self._after_open_cut else 0
        shown = [packet for place, packet in enumerate(own) if not 1 <= place <= hidden and self._is_shown(packet)]
        lead = self._packets[count + 1 : count + 1 + leading] if overlap else []
        shown += [packet for packet in lead if self._is_shown(packet)]
        times = [packet.pts for packet in shown if packet.pts != UNKNOWN]
        begin = own[0].pts if hidden else -_OPEN_END
        emit = (begin, cut if cut is not None else _OPEN_END) if hidden or cut is not None else None
        if self.index == 0:
            self._origin = min(times, default=None)
        return Segment(
            index=self.index,
            first=self.first,
            count=count + overlap,
            reader=self.reader,
            hidden=hidden,
            emit=emit,
            origin=self._origin,
            frames=len(shown),
            first_pts=min(times, default=None),
            end_pts=max((packet.pts + packet.duration for packet in shown if packet.pts != UNKNOWN), default=None),
            kept=None if self._spilled else tuple(self._packets[: count + overlap]),
        )

    def _is_shown(self, packet: CodedPacket) -> bool:
        # A spilled packet has no data left to look at; `_without_data` marked it.
        return not packet.flags & FLAG_DISCARD and (not packet.data or is_shown(self.stream.codec, packet.data))

    def _seconds(self, ticks: int) -> Fraction:
        return ticks * Fraction(*self.stream.time_base)


def _leading(key: CodedPacket, rest: list[CodedPacket]) -> int:
    """How many packets right after `key` are shown before it."""
    count = 0
    for packet in rest:
        if packet.pts == UNKNOWN or packet.pts >= key.pts:
            break
        count += 1
    return count


def with_emit(stream: StreamDescription, segment: Segment) -> StreamDescription:
    """The stream's description as START of `segment` says it."""
    return replace(stream, emit=segment.emit, origin=segment.origin)
