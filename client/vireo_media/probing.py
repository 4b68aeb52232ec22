# SPDX-License-Identifier: MIT
"""Probing: from a source to its StreamDescription, with the tags that only a decoded picture carries."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any, cast

import av
import av.container
import av.error
import av.video.stream
from av.sidedata.sidedata import Type

from vireo_media.bitstream import has_own_headers
from vireo_media.chroma import chroma_location, parameter_sets, read_hevc_signal, sample_location
from vireo_media.container import MediaSource, find_video, media_errors
from vireo_media.cropping import Crop, container_crop
from vireo_media.description import FIELD_ORDERS, Rational, StreamDescription
from vireo_media.parameter_sets import H264Parameters, has_frames_only, read_h264, read_h264_set
from vireo_media.reordering import says_when_shown, seen_depth
from vireo_media.side_data import EXIF, VIEW, entries
from vireo_media.vops import has_packed_pictures

__all__ = ["MATRICES", "PRIMARIES", "RANGES", "TRANSFERS", "VideoInput", "is_rgb", "probe"]

# Note [Why probing decodes a picture]
# PyAV does not show a stream's side data (display matrix, mastering display, light level): it appears on decoded frames
# only. So the first picture is decoded here, by a reader of its own. Costs one key frame: more than all else that a
# client does for a short clip. Who wants numbers of a video needs neither light levels nor what is lost; so of MP4 with
# H.264 or HEVC it is left out where nothing could be learnt from it: no field coding, no track that is turned, no
# headers among the pictures.


# FFmpeg's names of its own numbers (libavutil/pixdesc.c); 0 and 2 are reserved and unspecified.
MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp", 15: "ipt-c2",
}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}
_UNSPECIFIED = 2
TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip

_NOT_CODED_AGAIN = {
    Type.A53_CC: "closed captions",
    Type.STEREO3D: "a stereoscopic arrangement",
    Type.SPHERICAL: "a spherical projection",
    Type.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    Type.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    Type.DOVI_METADATA: "Dolby Vision metadata",
    Type.S12M_TIMECODE: "time codes",
    Type.ICC_PROFILE: "an ICC profile",
    EXIF: "EXIF metadata",
    VIEW: "views for two eyes",
}
"""What frames carry beside their pixels that no encoder here writes."""

_MOST_PACKETS = 64
"""How far to look for the first picture: more than any decoder holds back."""
_ENOUGH_PACKETS = 24
"""After so many, times that have followed the order of decoding and the pictures' order too are right."""

_CHROMA_FORMATS, _FOUR_FOUR_FOUR = ("yuv420p", "yuv420p", "yuv422p", "yuv444p"), 3
"""A pixel format with the chroma samples that libav gives to each chroma_format_idc."""

_FULL_RANGE = ("yuvj", "gray", "ya")
"""Pixel formats whose black is 0 where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class VideoInput:
    """A probed source: what START says of it, and what the muxer needs beside that.

    `display_matrix` is the container's 3 x 3 matrix as 9 ints (16.16 fixed point, the last column 2.30), None without
    one. `container` is the demuxer's name. `bits` are those of a sample, 8 where no picture was decoded.
    `duration_seconds` is what the container says, None where it says nothing; `begin_seconds` is where it says that
    the stream begins.
    """

    source: MediaSource
    description: StreamDescription
    container: str
    bits: int = 8
    duration_seconds: float | None = None
    begin_seconds: Fraction = Fraction(0)
    display_matrix: tuple[int, ...] | None = None


def probe(source: MediaSource, *, for_numbers: bool = False) -> VideoInput:
    """Open `source` and describe its video stream; `for_numbers`: no video is made of it. Raises InputError."""
    if for_numbers and (found := _described(source, decodes=False)) is not None:
        return found
    found = _described(source, decodes=True)
    assert found is not None
    return found


def _described(source: MediaSource, *, decodes: bool) -> VideoInput | None:
    """What the source is, None where it cannot be told without decoding."""
    with source.open(quick=not decodes) as container, media_errors(source.name, "opening"):
        stream = find_video(container, source.name)
        said = _numbers(stream.codec_context)  # Decoding may change it.
        frame, key_packet = (
            _first_picture(source, container, stream) if decodes else (None, _first_key(container, stream))
        )
        if not decodes and not _headers_tell_all(source, stream, key_packet):
            return None
        context = stream.codec_context
        parameters = read_h264(context.extradata or b"") if not decodes else None
        color = _color(stream, frame, key_packet, said) if parameters is None else _h264_color(context, parameters)
        side_data = _side_data(frame)
        _note_losses(source, stream, side_data)
        width, height = (frame.width, frame.height) if frame is not None else (context.width, context.height)
        crop = _crop(source, container, stream, size=(width, height), format=_format(context, parameters))
        left, top, right, bottom = crop or (0, 0, 0, 0)
        matrix = side_data.get(Type.DISPLAYMATRIX)
        description = StreamDescription(
            codec=context.codec.canonical_name,
            extradata=context.extradata or b"",
            time_base=_rational(stream.time_base) or (1, 1000),
            width=width - left - right,
            height=height - top - bottom,
            crop=crop,
            frame_rate=_rational(stream.guessed_rate) or _rational(stream.average_rate),
            sample_aspect_ratio=_aspect(stream, parameters),
            rotation=int(frame.rotation) if frame is not None else 0,
            field_order=_field_order(context.field_order, frame),
            color=color,
            hdr=_hdr(side_data),
            frames_total=stream.frames or None,
        )
        return VideoInput(
            source=source,
            description=description,
            container=container.format.name,
            bits=8 if frame is None else max(component.bits for component in frame.format.components),
            duration_seconds=_duration(container, stream),
            begin_seconds=(stream.start_time or 0) * (stream.time_base or Fraction(1)),
            display_matrix=struct.unpack("<9i", matrix) if matrix is not None and len(matrix) == 36 else None,
        )


def _numbers(tags: Any) -> tuple[int, int, int, int]:
    """Primaries, transfer, matrix and range."""
    return int(tags.color_primaries), int(tags.color_trc), int(tags.colorspace), int(tags.color_range)


def _color(
    stream: av.video.stream.VideoStream,
    frame: av.VideoFrame | None,
    key_packet: bytes | None,
    said: tuple[int, int, int, int],
) -> dict[str, str | None]:
    """What the coded headers say, and where they say nothing what the container `said`, as in libav's decoder of H.264;
    those of HEVC and AV1 forget it, and that of HEVC says nothing before it has decoded."""
    context = stream.codec_context
    inner = _numbers(frame if frame is not None else context)
    if context.codec.canonical_name == "hevc":
        signal = read_hevc_signal(context.extradata or b"", key_packet or b"")
        if signal is not None:
            inner = (*(signal.color or (_UNSPECIFIED,) * 3), _coded_range(signal.full_range))
    primaries, transfer, matrix = (
        outer if coded == _UNSPECIFIED else coded for coded, outer in zip(inner[:3], said[:3], strict=True)
    )
    color = {
        "matrix": _matrix(stream, matrix),
        "range": RANGES.get(inner[3] or said[3]),
        "transfer": TRANSFERS.get(transfer),
        "primaries": PRIMARIES.get(primaries),
        "chroma_location": chroma_location(stream, key_packet),
    }
    if color["range"] is None and (stream.pix_fmt or "").startswith(_FULL_RANGE):
        color["range"] = "pc"
    return color


def _coded_range(full: bool | None) -> int:
    """FFmpeg's number of a range; 0 where nothing is said."""
    return 0 if full is None else 1 + full


def _h264_color(context: Any, parameters: H264Parameters) -> dict[str, str | None]:
    """What the decoder would say: the coded headers' word, where they have one, before the container's."""
    primaries, transfer, matrix = parameters.color or _numbers(context)[:3]
    is_known = matrix or parameters.chroma_format == _FOUR_FOUR_FOUR  # Other pictures cannot be RGB.
    return {
        "matrix": MATRICES.get(matrix) if is_known else None,
        "range": RANGES.get(_coded_range(parameters.full_range) or int(context.color_range)),
        "transfer": TRANSFERS.get(transfer),
        "primaries": PRIMARIES.get(primaries),
        "chroma_location": sample_location(parameters.chroma),
    }


def _format(context: Any, parameters: H264Parameters | None) -> av.VideoFormat | None:
    """A pixel format whose chroma samples lie as the stream's: without decoding libav knows none of H.264."""
    if context.format is None and parameters is not None and parameters.chroma_format < len(_CHROMA_FORMATS):
        return av.VideoFormat(_CHROMA_FORMATS[parameters.chroma_format])
    return cast("av.VideoFormat | None", context.format)


def _aspect(stream: av.video.stream.VideoStream, parameters: H264Parameters | None) -> Rational | None:
    """The container's word, or the coded headers'."""
    coded = Fraction(*parameters.aspect) if parameters is not None and parameters.aspect is not None else None
    return _rational(stream.sample_aspect_ratio or coded)


def _headers_tell_all(source: MediaSource, stream: av.video.stream.VideoStream, key_packet: bytes | None) -> bool:
    context = stream.codec_context
    codec, extradata = context.codec.canonical_name, context.extradata or b""
    if not source.is_upright_mp4 or not has_frames_only(codec, extradata) or key_packet is None:
        return False
    parameters = read_h264(extradata)
    if parameters is not None and parameters.size != (context.width, context.height):
        return False
    return not has_own_headers(codec, extradata, key_packet)


def _first_key(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> bytes | None:
    """The first key packet; None too where only decoding tells whether the times are those of showing."""
    packets = list(islice((packet for packet in container.demux(stream) if packet.size), _ENOUGH_PACKETS))
    if stream.codec_context.has_b_frames and _rises([packet.pts for packet in packets]):
        return None
    return next((bytes(packet) for packet in packets if packet.is_keyframe), None)


# Note [Times of decoding that pass for times of showing]
# AVI has one time a packet, when it is decoded. Tools that copy H.264 or MPEG-4 with B-frames out of it (and FFmpeg's
# own asf muxer) write that as the time when it is shown. Such a file is known by its times that only rise while its
# decoder gives pictures in another order. Then they are read as what they are (see `reordering`).


def _first_picture(
    source: MediaSource, container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> tuple[av.VideoFrame | None, bytes | None]:
    """The first picture and the first key packet; tells `source` where its times are those of decoding.

    None where nothing decodes: whether that is an error is the decoder's business, not ours.
    """
    context = stream.codec_context
    context.thread_count = 1
    is_guessed = not says_when_shown(container, stream)
    first: av.VideoFrame | None = None
    key: bytes | None = None
    sent: list[int | None] = []
    shown: list[int | None] = []
    is_packed = may_be_decoding_times = False
    for count, packet in enumerate(container.demux(stream)):
        if packet.size:
            if is_guessed:
                packet.pts = packet.dts
            sent.append(packet.pts)
            if key is None and packet.is_keyframe:
                key = bytes(packet)
            if context.codec.canonical_name == "mpeg4":
                is_packed = is_packed or has_packed_pictures(bytes(packet))
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = []
        shown += [frame.pts for frame in frames]
        first = first or (frames[0] if frames else None)
        may_be_decoding_times = bool(context.has_b_frames) and _rises(sent)
        if count >= _MOST_PACKETS or (first is not None and not (may_be_decoding_times and count < _ENOUGH_PACKETS)):
            break
    if may_be_decoding_times and (is_guessed or not _rises(shown)):
        if not is_guessed:
            source.read_decoding_times()
        said = _said_depth(context, key or b"")
        source.reorder_depth = 0 if is_packed else seen_depth(sent, shown) if said is None else said
    return first, key


def _said_depth(context: Any, key_packet: bytes) -> int | None:
    """Over how many packets H.264 says that it reorders: encoders place packets by that, whatever they then do."""
    if context.codec.canonical_name != "h264":
        return None
    units = parameter_sets("h264", context.extradata or b"", key_packet)
    found = (parameters.reorder_depth for unit in units if (parameters := read_h264_set(unit)) is not None)
    return next(found, None)


def _rises(times: Sequence[int | None]) -> bool:
    return all(a is not None and b is not None and a < b for a, b in pairwise(times))


def _crop(
    source: MediaSource,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    *,
    size: tuple[int, int],
    format: av.VideoFormat | None,
) -> Crop | None:
    place = [video.index for video in container.streams.video].index(stream.index)
    with source.file() as file:
        crop = container_crop(
            file,
            container=container.format.name,
            place=place,
            track=stream.id,
            size=size,
            format=format,
        )
    if crop is not None:
        width, height = size[0] - crop[0] - crop[2], size[1] - crop[1] - crop[3]
        source.remarks["crop"] = (
            f"the container crops its pictures of {size[0]}x{size[1]} to {width}x{height}, and players show that: "
            "the result is cropped"
        )
    return crop


def _side_data(frame: av.VideoFrame | None) -> dict[Type, bytes]:
    found: Any = entries(frame) if frame is not None else ()
    return {entry.type: bytes(entry) for entry in found}


def _note_losses(source: MediaSource, stream: av.video.stream.VideoStream, side_data: Mapping[Type, bytes]) -> None:
    """Name what the first picture carries and no result will."""
    lost = list(dict.fromkeys(name for kind, name in _NOT_CODED_AGAIN.items() if kind in side_data))
    if stream.metadata.get("alpha_mode") == "1":  # VP8 and VP9 in WebM: a second coded picture beside each.
        lost.append("alpha")
    if lost:
        source.remarks["lost"] = f"the pictures carry {', '.join(lost)}: left out of the result"


def _duration(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _rational(value: Fraction | None) -> Rational | None:
    return (value.numerator, value.denominator) if value is not None and value > 0 else None


def is_rgb(format: av.VideoFormat | None) -> bool:
    """Whether pictures of a pixel format are RGB, be it in a palette."""
    return format is not None and (format.is_rgb or format.has_palette)


def _matrix(stream: av.video.stream.VideoStream, number: int) -> str | None:
    if is_rgb(stream.codec_context.format):
        return "gbr"
    name = MATRICES.get(number)
    return None if name == "gbr" else name  # PNG says it of grey pictures too.


def _field_order(number: int, frame: av.VideoFrame | None) -> str | None:
    if 1 <= number <= len(FIELD_ORDERS):
        return FIELD_ORDERS[number - 1]
    # Containers that say nothing: a picture knows whether it was coded as fields, though not which one comes first.
    return "tt" if frame is not None and frame.interlaced_frame else None


def _hdr(side_data: Mapping[Type, bytes]) -> dict[str, Any] | None:
    """Mastering display and light level as JSON: rationals as [n, d]; chromaticities red, green, blue, white as [x, y].

    The layouts are libavutil's AVMasteringDisplayMetadata (12 AVRationals, two flags) and AVContentLightMetadata. What
    cannot be (a damaged header) counts as not said.
    """
    mastering = light = None
    data = side_data.get(Type.MASTERING_DISPLAY_METADATA)
    if data is not None and len(data) >= 88:
        numbers = struct.unpack("<22i", data[:88])
        pairs = [list(numbers[i : i + 2]) for i in range(0, 20, 2)]
        has_primaries, has_luminance = (
            flag and all(numerator >= 0 and denominator > 0 for numerator, denominator in values)
            for flag, values in ((numbers[20], pairs[:8]), (numbers[21], pairs[8:]))
        )
        mastering = {
            name: [pairs[2 * i], pairs[2 * i + 1]] if has_primaries else None
            for i, name in enumerate(("red", "green", "blue", "white"))
        }
        mastering["min_luminance"] = pairs[8] if has_luminance else None
        mastering["max_luminance"] = pairs[9] if has_luminance else None
    data = side_data.get(Type.CONTENT_LIGHT_LEVEL)
    if data is not None and len(data) >= 8:
        most, average = struct.unpack("<2I", data[:8])
        if max(most, average) < 1 << 16:  # CTA-861.3 has 16 bits for each.
            light = {"max_content": most, "max_average": average}
    if mastering is None and light is None:
        return None
    return {"mastering_display": mastering, "content_light": light}
