# SPDX-License-Identifier: MIT
"""Pictures whose container says when they are decoded, not when they are shown.

# Note [Times of showing from those of decoding]
AVI has a place a packet, and some of them empty: then the picture before stays. A player decodes a packet at its place
and shows what its decoder gives then; where pictures are reordered over a depth of d, the k-th picture that is shown is
given with the (k + d)-th packet. Muxers that copy into AVI write the same: they place packets by times of decoding,
which encoders make of those of showing in just this way. So the k-th picture is shown at the place of packet k + d. All
of it less what the first one waits, as sound and picture begin together there.

Packed B-pictures (DivX, Xvid; see `vops`) have a depth of 0: their packet holds what must be decoded before them, too.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import av.container
import av.video.stream

from vireo_media.dts import reorder_depth
from vireo_media.times import FLAG_DISCARD, UNKNOWN, CodedPacket

__all__ = ["lasting_until", "says_when_shown", "seen_depth", "times_of_showing"]

_MOST_REORDERED = 32
"""Packets, fields among them: no codec reorders further."""


def says_when_shown(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> bool:
    """Whether the container has times of showing. What libav gives of AVI is a guess, wrong with B-pictures."""
    return container.format.name != "avi" or bool(stream.codec_context.codec.intra_only)


def seen_depth(decoded: Sequence[int | None], shown: Sequence[int | None]) -> int:
    """Over how many packets pictures were reordered, by the order in which they were `decoded` and `shown`, the same
    names in both; what was decoded and is not shown yet comes later."""
    places = {name: place for place, name in enumerate(shown)}
    return reorder_depth([places.get(name, len(shown) + place) for place, name in enumerate(decoded)])


def times_of_showing(packets: Iterator[CodedPacket], *, depth: int) -> Iterator[CodedPacket]:
    """The packets, each k-th one with the time at which the k-th picture is shown in place of its `dts`; see the note.

    The last `depth` pictures follow each other as long as their packets last: of a pause there the container says
    nothing.
    """
    waiting: deque[CodedPacket] = deque()
    wait: int | None = None
    last = UNKNOWN
    for packet in packets:
        waiting.append(packet)
        if len(waiting) <= depth or UNKNOWN in (packet.dts, waiting[0].dts):
            continue
        if wait is None:
            wait = packet.dts - waiting[0].dts
        last = packet.dts - wait
        yield waiting.popleft()._replace(dts=last)
    for packet in waiting:
        last = packet.dts if last == UNKNOWN else last + max(packet.duration, 1)
        yield packet._replace(dts=last)


def lasting_until(packets: Iterator[CodedPacket], end: int) -> Iterator[CodedPacket]:
    """The packets, of which the last picture shown lasts until `end`.

    MP4 says how long packets last for decoding. Of pictures that are reordered the last one shown has a duration that
    is another's; but the track says when it ends.
    """
    recent: deque[CodedPacket] = deque()
    for packet in packets:
        recent.append(packet)
        if len(recent) > _MOST_REORDERED:
            yield recent.popleft()
    last = max((packet.pts for packet in recent if not packet.flags & FLAG_DISCARD), default=UNKNOWN)
    for packet in recent:
        is_last = UNKNOWN < last < end and packet.pts == last and packet is not recent[-1]
        yield packet._replace(duration=end - last) if is_last else packet
