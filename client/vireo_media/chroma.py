# SPDX-License-Identifier: MIT
"""What a stream's own headers say of its colours that libav does not: where chroma samples lie, which PyAV 18.1 shows
neither on streams nor on frames, and what HEVC says before anything is decoded.

Sources: ITU-T H.265 7.3.1.2, 7.3.2.2, 7.3.3, 7.3.4, 7.3.7 (with 7-61 and 7-62) and E.2.1, ISO/IEC 14496-15 8.3.3.1.2
(hvcC), the AV1 bitstream specification 5.3 and 5.5, the AV1 codec ISO media file format binding 2.3.3 (av1C). For
H.264 see `parameter_sets`.

# Note [Why libav is not asked]
Its filter `trace_headers` writes every field of these headers to the log, and PyAV's log takes Python's lock whichever
thread of the process says something. PyAV opens and frees codecs while it holds that lock, and waits there for their
threads: one that says something at that moment waits for the lock, and all wait for ever.
"""

from collections.abc import Iterator
from typing import NamedTuple

from av.video.stream import VideoStream

from vireo_media.bitstream import length_size, nal_units
from vireo_media.parameter_sets import Bits, read_h264_set

__all__ = ["HevcSignal", "chroma_location", "parameter_sets", "read_hevc_signal", "sample_location"]

# H.264 and HEVC: chroma_sample_loc_type (ITU-T H.273, table for ChromaLocType); the bottom field's follows the top's.
_SAMPLE_LOC = ("left", "center", "topleft", "top", "bottomleft", "bottom")
# AV1: chroma_sample_position; 0 says nothing.
_SAMPLE_POSITION = {1: "left", 2: "topleft"}

_H264_SET, _HEVC_SET, _AV1_SEQUENCE = 7, 33, 1
_EXTENDED_ASPECT_RATIO = 255
_SRGB = (1, 13, 0)


class HevcSignal(NamedTuple):
    """What the VUI of an HEVC sequence parameter set says: full range or not, (primaries, transfer, matrix) by H.273's
    numbers, and chroma_sample_loc_type_top_field; None where it says nothing."""

    full_range: bool | None = None
    color: tuple[int, int, int] | None = None
    chroma: int | None = None


def chroma_location(stream: VideoStream, key_packet: bytes | None) -> str | None:
    """FFmpeg's name of the chroma location that the headers of `stream` say; None where they say none.

    `key_packet` is a key packet of it, for the headers that stand there.
    """
    if key_packet is None:
        return None
    return read_chroma_location(
        stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b"", key_packet
    )


def read_chroma_location(codec: str, extradata: bytes, packet: bytes) -> str | None:
    """The same of a codec by FFmpeg's name; the first header that says one counts, those of `extradata` first."""
    if codec == "av1":
        begin = 4 if extradata[:1] == b"\x81" else 0
        for header in (*_sequence_headers(extradata[begin:]), *_sequence_headers(packet)):
            try:
                if (position := _position(Bits(header))) is not None:
                    return _SAMPLE_POSITION.get(position)
            except IndexError:
                continue
    elif codec == "hevc":
        return sample_location(next((s.chroma for s in _signals(extradata, packet) if s.chroma is not None), None))
    elif codec == "h264":
        for unit in parameter_sets(codec, extradata, packet):
            parameters = read_h264_set(unit)
            if parameters is not None and parameters.chroma is not None:
                return sample_location(parameters.chroma)
    return None


def read_hevc_signal(extradata: bytes, packet: bytes) -> HevcSignal | None:
    """What the first sequence parameter set says, those of `extradata` first; None where none can be read."""
    return next(_signals(extradata, packet), None)


def _signals(extradata: bytes, packet: bytes) -> Iterator[HevcSignal]:
    for unit in parameter_sets("hevc", extradata, packet):
        try:
            yield _signal(Bits(unit[2:].replace(b"\0\0\3", b"\0\0")))
        except IndexError:
            continue  # Headers that cannot be read are the decoder's to judge.


def sample_location(number: int | None) -> str | None:
    """FFmpeg's name of a chroma_sample_loc_type."""
    return _SAMPLE_LOC[number] if number is not None and number < len(_SAMPLE_LOC) else None


def parameter_sets(codec: str, extradata: bytes, packet: bytes) -> Iterator[bytes]:
    """The sequence parameter sets of the base layer, with their NAL header."""
    units = [*_extradata_units(codec, extradata), *nal_units(codec, extradata, packet)]
    for unit in units:
        if codec == "h264" and unit and unit[0] & 31 == _H264_SET:
            yield unit
        # nal_unit_type, and nuh_layer_id 0
        if codec == "hevc" and len(unit) > 1 and unit[0] & 0x7F == _HEVC_SET << 1 and unit[1] >> 3 == 0:
            yield unit


def _extradata_units(codec: str, extradata: bytes) -> Iterator[bytes]:
    """The NAL units of avcC (its sequence parameter sets alone), hvcC or Annex B."""
    if length_size(codec, extradata) is None:
        yield from nal_units(codec, b"", extradata)
        return
    position = 5 if codec == "h264" else 22
    arrays = 1 if codec == "h264" else extradata[position]
    position += codec == "hevc"
    for _ in range(arrays):
        # avcC: a byte with the count; hvcC: a byte with the type, and two with the count.
        head = extradata[position : position + (1 if codec == "h264" else 3)]
        count = head[0] & 31 if codec == "h264" and head else int.from_bytes(head[1:], "big")
        position += len(head)
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            yield extradata[position + 2 : position + 2 + length]
            position += 2 + length
            if position >= len(extradata):
                return


def _signal(bits: Bits) -> HevcSignal:
    """Of an HEVC sequence parameter set behind its NAL header."""
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    _skip_profile_tier_level(bits, layers)
    bits.unsigned()
    if bits.unsigned() == 3:
        bits.take(1)
    bits.unsigned()
    bits.unsigned()
    if bits.take(1):
        bits.skip_unsigned(4)
    bits.skip_unsigned(2)
    order_bits = bits.unsigned() + 4
    bits.skip_unsigned(3 * (layers + 1 if bits.take(1) else 1))
    bits.skip_unsigned(6)
    if bits.take(1) and bits.take(1):
        _skip_scaling_lists(bits)
    bits.take(2)
    if bits.take(1):
        bits.take(8)
        bits.skip_unsigned(2)
        bits.take(1)
    sets: list[_References] = []
    for _ in range(bits.unsigned()):
        sets.append(_reference_set(bits, sets))
    if bits.take(1):
        for _ in range(bits.unsigned()):
            bits.take(order_bits + 1)
    bits.take(2)
    if not bits.take(1):
        return HevcSignal()
    if bits.take(1) and bits.take(8) == _EXTENDED_ASPECT_RATIO:
        bits.take(32)
    if bits.take(1):
        bits.take(1)
    full_range = color = None
    if bits.take(1):
        bits.take(3)
        full_range = bool(bits.take(1))
        if bits.take(1):
            color = bits.take(8), bits.take(8), bits.take(8)
    return HevcSignal(full_range, color, bits.unsigned() if bits.take(1) else None)


def _skip_profile_tier_level(bits: Bits, layers: int) -> None:
    bits.take(96)
    said = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in said:
        bits.take(88 * profile + 8 * level)


def _skip_scaling_lists(bits: Bits) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not bits.take(1):
                bits.unsigned()
                continue
            bits.skip_unsigned((size > 1) + min(64, 1 << (4 + 2 * size)))


_References = tuple[list[int], list[int]]
"""How far before and behind a picture those lie that it refers to, in the order of the standard."""


def _reference_set(bits: Bits, before: list[_References]) -> _References:
    """st_ref_pic_set: of its own, or as a change of the one before."""
    if not before or not bits.take(1):
        counts = bits.unsigned(), bits.unsigned()
        found: _References = ([], [])
        for deltas, count, sign in zip(found, counts, (-1, 1), strict=True):
            place = 0
            for _ in range(count):
                place += sign * (bits.unsigned() + 1)
                bits.take(1)
                deltas.append(place)
        return found
    sign = bits.take(1)
    step = (1 - 2 * sign) * (bits.unsigned() + 1)
    earlier, later = before[-1]
    # The same place in both lists; the step itself, from the picture before, comes last.
    used = [bool(bits.take(1)) or bool(bits.take(1)) for _ in range(len(earlier) + len(later) + 1)]
    of_earlier = list(zip(earlier, used, strict=False))
    of_later = list(zip(later, used[len(earlier) :], strict=False))
    negative = [*reversed(of_later), (0, used[-1]), *of_earlier]
    positive = [*reversed(of_earlier), (0, used[-1]), *of_later]
    return (
        [delta + step for delta, use in negative if use and delta + step < 0],
        [delta + step for delta, use in positive if use and delta + step > 0],
    )


def _sequence_headers(data: bytes) -> Iterator[bytes]:
    """The payloads of the sequence header OBUs of a packet."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 4 else 1
        size = len(data) - position
        if header & 2:
            size, shift = 0, 0
            while position < len(data):
                byte = data[position]
                position += 1
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128 or shift > 56:
                    break
        if header >> 3 & 15 == _AV1_SEQUENCE:
            yield data[position : position + size]
        position += size


def _position(bits: Bits) -> int | None:
    """chroma_sample_position of an AV1 sequence header."""
    profile = bits.take(3)
    bits.take(1)
    reduced = bits.take(1)
    if reduced:
        bits.take(5)
    else:
        _skip_operating_points(bits)
    sizes = bits.take(4) + 1, bits.take(4) + 1
    bits.take(sum(sizes))
    if not reduced and bits.take(1):
        bits.take(7)
    bits.take(3)
    if not reduced:
        bits.take(4)
        has_order = bits.take(1)
        bits.take(2 * has_order)
        screen_content = 1 if bits.take(1) else bits.take(1)
        if screen_content and not bits.take(1):
            bits.take(1)
        bits.take(3 * has_order)
    bits.take(3)
    return _color_position(bits, profile)


def _skip_operating_points(bits: Bits) -> None:
    delay_bits = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            bits.unsigned()
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(42)
    shows_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if shows_delay and bits.take(1):
            bits.take(4)


def _color_position(bits: Bits, profile: int) -> int | None:
    deep = bits.take(1)
    deepest = profile == 2 and deep and bits.take(1)
    grey = profile != 1 and bits.take(1)
    color = (bits.take(8), bits.take(8), bits.take(8)) if bits.take(1) else None
    if grey or color == _SRGB:
        return None
    bits.take(1)
    across = down = profile == 0
    if deepest:
        across = bool(bits.take(1))
        down = across and bool(bits.take(1))
    return bits.take(2) if across and down else None
