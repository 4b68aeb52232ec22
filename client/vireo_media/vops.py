# SPDX-License-Identifier: MIT
"""The pictures (VOPs) in packets of MPEG-4 part 2.

# Note [One picture a packet]
DivX and Xvid put a B-picture into the packet of the picture that it refers to, and a VOP that is not coded ("nothing
new") where it belongs. Here each picture gets the packet that is its own. libavcodec's filter for this takes small
pictures for VOPs that are not coded; the bit that says so is read here. Without packing such a VOP means that the
picture before stays: it never becomes a picture, and is left out.

Sources: ISO/IEC 14496-2, 6.2.3 (VideoObjectLayer) and 6.2.5 (VideoObjectPlane).
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import av

from vireo_media.parameter_sets import Bits

__all__ = ["has_packed_pictures", "single_pictures"]

_VOP = b"\0\0\1\xb6"
_INTRA = 0
_EXTENDED_ASPECT_RATIO = 15
_VBV_BITS = 79
_MOST_OF_A_HEADER = 64


def has_packed_pictures(packet: bytes) -> bool:
    """Whether a packet holds more pictures than one."""
    return packet.count(_VOP) > 1


def single_pictures(packets: Iterator["av.Packet[Any]"], extradata: bytes) -> Iterator["av.Packet[Any]"]:
    """The packets with one picture each; those that hold none are left out."""
    time_bits = _time_bits(extradata)
    waiting: deque[bytes] = deque()
    last: Any = None
    for packet in packets:
        if not packet.size:
            continue
        data, last = bytes(packet), packet
        time_bits = _time_bits(data) or time_bits
        found = [picture for picture in _split(data) if _is_coded(picture, time_bits)]
        if not waiting and found == [data]:
            yield packet
            continue
        waiting += found
        if waiting:
            yield _with(packet, waiting.popleft())
    for place, picture in enumerate(waiting, 1):  # A file that was cut before their own packets.
        yield _with(last, picture, later=place)


def _with(packet: "av.Packet[Any]", data: bytes, *, later: int = 0) -> "av.Packet[Any]":
    """`data` in place of what is in a packet, `later` by so many packets."""
    ticks = later * (packet.duration or 1)
    single: av.Packet[Any] = av.Packet(data)
    single.pts, single.dts = (None if time is None else time + ticks for time in (packet.pts, packet.dts))
    single.time_base, single.duration = packet.time_base, packet.duration
    single.is_keyframe = data[data.index(_VOP) + len(_VOP)] >> 6 == _INTRA
    return single


def _split(data: bytes) -> Iterator[bytes]:
    """The pictures of a packet, headers with the first one; all of it where there is none."""
    start, search = 0, data.find(_VOP)
    while (end := data.find(_VOP, search + 1)) > 0 and search >= 0:
        yield data[start:end]
        start = search = end
    yield data[start:]


def _is_coded(data: bytes, time_bits: int) -> bool:
    place = data.find(_VOP)
    if place < 0 or not time_bits:
        return True
    bits = Bits(data[place + len(_VOP) : place + _MOST_OF_A_HEADER])
    try:
        bits.take(2)  # vop_coding_type
        while bits.take(1):  # modulo_time_base
            pass
        bits.take(1 + time_bits + 1)
        return bool(bits.take(1))
    except IndexError:
        return True


def _time_bits(headers: bytes) -> int:
    """How many bits a VOP's time takes; 0 where `headers` hold no VideoObjectLayer."""
    place = headers.find(b"\0\0\1")
    while place >= 0 and headers[place + 3 : place + 4] and not 0x20 <= headers[place + 3] <= 0x2F:
        place = headers.find(b"\0\0\1", place + 3)
    if place < 0:
        return 0
    bits = Bits(headers[place + 4 : place + _MOST_OF_A_HEADER])
    try:
        bits.take(1 + 8)
        if bits.take(1):
            bits.take(4 + 3)
        if bits.take(4) == _EXTENDED_ASPECT_RATIO:
            bits.take(8 + 8)
        if bits.take(1):
            bits.take(2 + 1)
            if bits.take(1):
                bits.take(_VBV_BITS)
        bits.take(2 + 1)
        return max((bits.take(16) - 1).bit_length(), 1)
    except IndexError:
        return 0
