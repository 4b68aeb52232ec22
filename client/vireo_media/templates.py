# SPDX-License-Identifier: MIT
"""An output stream for packets that were encoded elsewhere, with everything a muxer asks of it.

# Note [Templates from the coded stream itself]
PyAV makes output streams from an encoder or from an input stream; a bare one (`add_mux_stream`) takes neither
extradata nor colours. Opening an encoder only for its tags costs gigabytes with SVT-AV1 at 4K. So the first packets
are read back as a raw stream, which makes libavformat parse profile, colours, aspect and chroma location out of them,
and that input stream is the template. FFV1 has no raw form; its encoder is cheap, so there it is the other way.
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
from vireo_media.probing import MATRICES, PRIMARIES, RANGES, TRANSFERS

__all__ = ["add_video_stream"]

_RAW_FORMATS = {"h264": "h264", "hevc": "hevc", "av1": "ivf", "vp9": "ivf", "vp8": "ivf"}


def add_video_stream(
    container: av.container.OutputContainer, output: Mapping[str, Any], first_packets: Sequence[bytes]
) -> av.video.stream.VideoStream:
    """Add the stream that REPORT.output describes. `first_packets`: a key packet and the one after it, if there is one.

    Raises OutputError where the container cannot hold the codec.
    """
    codec = str(output["codec"])
    extradata = base64.b64decode(output.get("extradata") or "")
    try:
        if codec in _RAW_FORMATS:
            stream = _from_template(container, codec, extradata, output, first_packets)
        else:
            stream = _from_encoder(container, codec, output)
    except (ValueError, av.error.FFmpegError) as error:
        raise OutputError(
            f"output: a {container.format.name!r} file cannot hold codec {codec!r} ({error}); "
            "choose another container (mkv holds every codec) or another codec"
        ) from error
    context = stream.codec_context
    if extradata:
        context.extradata = extradata
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


def _from_template(
    container: av.container.OutputContainer,
    codec: str,
    extradata: bytes,
    output: Mapping[str, Any],
    first_packets: Sequence[bytes],
) -> av.video.stream.VideoStream:
    raw = io.BytesIO()
    if _RAW_FORMATS[codec] == "ivf":
        with av.open(raw, "w", format="ivf") as writer:
            base = Fraction(1, 1000)
            stream = writer.add_mux_stream(codec, width=output["width"], height=output["height"])
            stream.time_base = base
            for place, data in enumerate(first_packets):
                packet = libav_packet(data, pts=place, dts=place, duration=1, time_base=base)
                packet.is_keyframe, packet.stream = place == 0, stream
                writer.mux(packet)
    else:
        raw.write(extradata)
        raw.writelines(first_packets)
    raw.seek(0)
    with av.open(raw, "r", format=_RAW_FORMATS[codec]) as reader:
        stream = container.add_stream_from_template(reader.streams.video[0], opaque=True)
    if output.get("frame_rate"):
        stream.codec_context.framerate = Fraction(*output["frame_rate"])
    return stream


def _from_encoder(
    container: av.container.OutputContainer, codec: str, output: Mapping[str, Any]
) -> av.video.stream.VideoStream:
    rate = Fraction(*output["frame_rate"]) if output.get("frame_rate") else None
    stream = cast(av.video.stream.VideoStream, container.add_stream(codec, rate=rate))
    context = stream.codec_context
    context.width, context.height = output["width"], output["height"]
    context.pix_fmt = output.get("pixel_format") or "yuv420p"
    context.time_base = Fraction(*output["time_base"])
    context.thread_count = 1
    context.open()
    return stream
