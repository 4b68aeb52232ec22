# SPDX-License-Identifier: MIT
"""An output stream for packets that were encoded elsewhere, with everything a muxer asks of it.

# Note [Templates from the coded stream itself]
PyAV makes output streams from an encoder or from an input stream; a bare one (`add_mux_stream`) takes neither
extradata nor colours. Opening an encoder only for its tags costs gigabytes with SVT-AV1 at 4K. So the first packets
are read back as a raw stream, which makes libavformat parse profile, colours, aspect and chroma location out of them,
and that input stream is the template. FFV1 has no raw form; its encoder is cheap and opened for a file of one packet.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

import av
import av.container
import av.error
import av.video.stream

from vireo_media.container import libav_packet
from vireo_media.errors import OutputError
from vireo_media.mastering import hdr_boxes, with_boxes
from vireo_media.probing import MATRICES, PRIMARIES, RANGES, TRANSFERS

__all__ = ["add_video_stream"]

_BARE_FORMATS = ("h264", "hevc")
_IVF = ("av1", "vp9", "vp8")
_MILLISECOND = Fraction(1, 1000)


def add_video_stream(
    container: av.container.OutputContainer, output: Mapping[str, Any], first_packets: Sequence[bytes]
) -> av.video.stream.VideoStream:
    """Add the stream that REPORT.output describes. `first_packets`: a key packet and the one after it, if there is one.

    Raises OutputError where the container cannot hold the codec.
    """
    codec = str(output["codec"])
    extradata = base64.b64decode(output.get("extradata") or "")
    try:
        with av.open(_coded_file(codec, extradata, output, first_packets), "r") as reader:
            template = reader.streams.video[0]
            if boxes := hdr_boxes(output.get("hdr")):
                with av.open(with_boxes(template, first_packets[0], boxes), "r") as movie:
                    stream = container.add_stream_from_template(movie.streams.video[0], opaque=True)
            else:
                stream = container.add_stream_from_template(template, opaque=True)
    except (ValueError, av.error.FFmpegError) as error:
        raise OutputError(
            f"output: a {container.format.name!r} file cannot hold codec {codec!r} ({error}); "
            "choose another container (mkv holds every codec) or another codec"
        ) from error
    context = stream.codec_context
    if extradata:
        context.extradata = extradata
    if output.get("frame_rate"):
        context.framerate = Fraction(*output["frame_rate"])
    if output.get("sample_aspect_ratio"):
        context.sample_aspect_ratio = Fraction(*output["sample_aspect_ratio"])
    color = output.get("color") or {}
    for attribute, name, numbers in (
        ("colorspace", "matrix", MATRICES),
        ("color_range", "range", RANGES),
        ("color_trc", "transfer", TRANSFERS),
        ("color_primaries", "primaries", PRIMARIES),
    ):
        number = next((number for number, known in numbers.items() if known == color.get(name)), None)
        if number is not None:
            setattr(context, attribute, number)
    if codec == "hevc" and container.format.name in ("mp4", "mov", "ipod"):
        context.codec_tag = "hvc1"  # Apple's players open no other.
    return stream


def _coded_file(codec: str, extradata: bytes, output: Mapping[str, Any], first_packets: Sequence[bytes]) -> io.BytesIO:
    """The first packets in a form that libavformat reads by itself."""
    file = io.BytesIO()
    if codec in _BARE_FORMATS:
        file.write(extradata)
        file.writelines(first_packets)
    else:
        is_ivf = codec in _IVF
        with av.open(file, "w", format="ivf" if is_ivf else "matroska") as writer:
            stream = _bare_stream(writer, codec, output) if is_ivf else _encoder_stream(writer, codec, output)
            for place, data in enumerate(first_packets):
                packet = libav_packet(data, pts=place, dts=place, duration=1, time_base=_MILLISECOND)
                packet.is_keyframe, packet.stream = place == 0, stream
                writer.mux(packet)
    file.seek(0)
    return file


def _bare_stream(
    container: av.container.OutputContainer, codec: str, output: Mapping[str, Any]
) -> av.video.stream.VideoStream:
    stream = cast(
        av.video.stream.VideoStream,
        container.add_mux_stream(codec, width=output["width"], height=output["height"]),
    )
    stream.time_base = _MILLISECOND
    return stream


def _encoder_stream(
    container: av.container.OutputContainer, codec: str, output: Mapping[str, Any]
) -> av.video.stream.VideoStream:
    stream = cast(av.video.stream.VideoStream, container.add_stream(codec))
    context = stream.codec_context
    context.width, context.height = output["width"], output["height"]
    context.pix_fmt = output.get("pixel_format") or "yuv420p"
    context.time_base = _MILLISECOND
    context.thread_count = 1
    context.open()
    return stream
