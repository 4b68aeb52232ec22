# SPDX-License-Identifier: MIT
"""What a coded packet says of itself: where a video may be cut, which packets never become a picture, and to which no
other picture refers.

Sources: ITU-T H.264 7.4.1 (nal_ref_idc), table 7-1, D.1.1 and D.1.8, ITU-T H.265 table 7-1, ISO/IEC 13818-2 6.2.2.6,
RFC 6386 (VP8) section 9.1, the VP9 bitstream specification sections 6.1 and 6.2 and annex B.
"""

from collections.abc import Iterator
from typing import Literal

__all__ = ["CutKind", "cut_kind", "has_own_headers", "is_disposable", "is_shown", "length_size", "nal_units"]

CutKind = Literal["closed", "open"]
"""What a key packet promises: nothing after it refers to what was before ("closed"), or only its leading pictures do,
which are shown before it ("open")."""

_H264_IDR, _H264_SEI, _H264_SPS = 5, 6, 7
_HEVC_IDR, _HEVC_CRA, _HEVC_SPS, _HEVC_SEI = (19, 20), 21, 33, 39
_RECOVERY_POINT, _DISPLAY_ORIENTATION = 6, 47
_MPEG_GOP_HEADER = b"\0\0\1\xb8"


def cut_kind(codec: str, extradata: bytes, data: bytes) -> CutKind | None:
    """Where a key packet of `codec` may begin a segment; None: nowhere.

    For H.264 and HEVC the NAL types decide: the key flag of a container also marks open GOPs and intra refresh. Other
    codecs have the time stamps alone (see `segments`).
    """
    if codec == "hevc":
        for unit in nal_units(codec, extradata, data):
            kind = unit[0] >> 1 & 63
            if kind < 32:  # The first coded slice: all slices of a picture have one type.
                return "closed" if kind in _HEVC_IDR else "open" if kind == _HEVC_CRA else None
        return None
    if codec == "h264":
        recovers = False
        for unit in nal_units(codec, extradata, data):
            kind = unit[0] & 31
            if kind == _H264_SEI:
                recovers = recovers or _recovers_at_once(unit[1:])
            elif 1 <= kind <= 5:
                return "closed" if kind == _H264_IDR else "open" if recovers else None
        return None
    if codec in ("mpeg1video", "mpeg2video"):
        header = data.find(_MPEG_GOP_HEADER)
        # 25 bits of time code, then closed_gop.
        is_closed = header >= 0 and len(data) > header + 7 and data[header + 7] & 0x40
        return "closed" if is_closed else "open"
    # MPEG-4 part 2 has B-pictures after its key pictures, and a decoder leaves them out where their reference is
    # missing.
    return "open" if codec == "mpeg4" else "closed"


def nal_units(codec: str, extradata: bytes, data: bytes) -> Iterator[bytes]:
    """The NAL units of an H.264 or HEVC packet, in length-prefixed (avcC, hvcC) or Annex B form."""
    size = length_size(codec, extradata)
    if size is None:
        yield from _annex_b_units(data)
        return
    position = 0
    while position + size < len(data):
        length = int.from_bytes(data[position : position + size], "big")
        unit = data[position + size : position + size + length]
        if not unit:
            return
        yield unit
        position += size + length


def is_shown(codec: str, data: bytes) -> bool:
    """Whether a packet becomes a picture. VP8 and VP9 carry alternate references in packets that are never shown."""
    if codec == "vp8":
        return bool(data[0] >> 4 & 1)
    if codec == "vp9" and data[-1] & 0xE0 != 0xC0:  # A superframe always ends in a shown frame.
        bit = 5 if data[0] >> 4 & 3 != 3 else 4  # Frame marker (2), profile (2), a reserved bit for profile 3.
        shows_existing = data[0] >> (bit - 2) & 1
        # Then frame_type and show_frame.
        return bool(shows_existing or (data[0] >> (bit - 4) & 1))
    return True


def has_own_headers(codec: str, extradata: bytes, data: bytes) -> bool:
    """Whether an H.264 or HEVC packet carries headers that may contradict the container's: a sequence parameter set, or
    a message (SEI) that says how its picture is to be turned.
    """
    for unit in nal_units(codec, extradata, data):
        kind = unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63
        if kind == (_H264_SPS if codec == "h264" else _HEVC_SPS):
            return True
        is_sei = kind == (_H264_SEI if codec == "h264" else _HEVC_SEI)
        messages = _messages(unit[1 if codec == "h264" else 2 :]) if is_sei else ()
        if any(number == _DISPLAY_ORIENTATION for number, _ in messages):
            return True
    return False


def is_disposable(codec: str, extradata: bytes, data: bytes) -> bool:
    """Whether no other picture refers to the one in this packet, so that it can be left out and all others stay what
    they are. False wherever that is not certain.
    """
    size = length_size(codec, extradata)
    if size is None:
        return False
    position = 0
    while position + size < len(data):
        header = data[position + size]
        if codec == "h264" and 1 <= header & 31 <= 5:
            return header & 0x60 == 0
        if codec == "hevc" and header >> 1 & 63 < 32:
            # Even types below 16 are sub-layer non-reference pictures, which pictures of higher layers may refer to.
            one_layer = extradata[21] >> 3 & 7 == 1
            return one_layer and header >> 1 & 63 < 16 and not header & 2
        position += size + int.from_bytes(data[position : position + size], "big")
    return False


def length_size(codec: str, extradata: bytes) -> int | None:
    """Bytes of a NAL unit's length in H.264 and HEVC, None for Annex B."""
    if codec == "h264" and len(extradata) >= 7 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    # libavcodec's own test for hvcC (libavcodec/hevc/parse.c): Annex B would begin with 00 00 01 or 00 00 00 01.
    if codec == "hevc" and len(extradata) >= 23 and (extradata[0] or extradata[1] or extradata[2] > 1):
        return (extradata[21] & 3) + 1
    return None


def _annex_b_units(data: bytes) -> Iterator[bytes]:
    start = data.find(b"\0\0\1")
    while start >= 0:
        end = data.find(b"\0\0\1", start + 3)
        unit = data[start + 3 : end if end >= 0 else len(data)]
        if unit:
            yield unit
        start = end


def _messages(sei: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of an SEI, without its NAL header: payload type and payload, to the end of the SEI at most."""
    position = 0
    while position + 2 <= len(sei):
        numbers = []
        for _ in range(2):  # payload type, payload size
            number = 0
            while position < len(sei) and sei[position] == 255:
                number, position = number + 255, position + 1
            if position >= len(sei):
                return
            numbers.append(number + sei[position])
            position += 1
        yield numbers[0], sei[position : position + numbers[1]]
        position += numbers[1]


def _recovers_at_once(sei: bytes) -> bool:
    """Whether an H.264 SEI has a recovery point with recovery_frame_cnt 0: all that is shown from here on is right."""
    # ue(v): a first bit of 1 is the value 0.
    return any(kind == _RECOVERY_POINT and payload[:1] >= b"\x80" for kind, payload in _messages(sei))
