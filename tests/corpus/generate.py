# SPDX-License-Identifier: MIT
"""The torture corpus: small clips of everything that video tools lose frames, times, sound or colour over.

Every frame carries its number in its pixels (`vireo_media.testing`), so loss, doubling and order are seen. A `Case`
says how its clip is made and what must come out of `passthrough`; `python tests/corpus/generate.py FOLDER` writes them
all. PyAV alone makes them.
"""

import io
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import av.logging
import av.stream
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream
from vireo_media.mastering import insert_boxes
from vireo_media.testing import numbered_clip, numbered_luma

SIZE = (160, 96)
_CROPS = b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa"
_QUIET = "log-level=none:pools=1"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One clip: how it is made, and what must come out.

    `comes` and `gives` are the two cells of the README's table. `clip` are arguments of `numbered_clip`, or `make`
    writes the file. `numbers` are the frames that must come out, by default `0..frames-1`. `times` are their times in
    seconds from the first, by default one frame each at 25 a second. `begins` is the time of the source's first
    picture where libav only guesses it. `color` are tags that the result
    must have. `error` is what a refusal must say. `notes` are
    words that a note or warning of the run must hold. `tolerance` is by how many seconds a time may be off: half a
    millisecond where the container counts in milliseconds.
    """

    name: str
    group: str
    comes: str
    gives: str = "every frame, exact times"
    suffix: str
    frames: int = 30
    clip: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[Path, int], None] | None = None
    output: str = ".mp4"
    options: Mapping[str, Any] = field(default_factory=dict)
    numbers: Sequence[int] | None = None
    begins: Fraction | None = None
    times: Callable[[int], Sequence[Fraction]] | None = None
    tolerance: Fraction = Fraction(0)
    size: tuple[int, int] = SIZE
    pixel_format: str = "yuv420p"
    color: Mapping[str, str] = field(default_factory=dict)
    segments: int | None = None
    error: str | None = None
    notes: Sequence[str] = ()

    def write(self, folder: Path) -> Path:
        """Make the clip in `folder`."""
        path = folder / f"{self.name}{self.suffix}"
        if self.make is not None:
            self.make(path, self.frames)
        else:
            numbered_clip(path, frames=self.frames, **{"size": SIZE, "gop": 12, **self.clip})
        return path

    @property
    def expected_numbers(self) -> list[int]:
        """The numbers that must be read, in order."""
        return list(range(self.frames)) if self.numbers is None else list(self.numbers)

    @property
    def expected_times(self) -> list[Fraction]:
        """The time of each expected frame in seconds from the first."""
        count = len(self.expected_numbers)
        times = list(self.times(count)) if self.times else [Fraction(i, 25) for i in range(count)]
        return [time - times[0] for time in times]


def _copy(reader: Any, writer: Any, change: Callable[[Any, int], Any]) -> None:
    """Copy every stream, each packet through `change(packet, its place in the stream)`, which may give None."""
    copies = {stream.index: writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
    places = dict.fromkeys(copies, 0)
    for packet in reader.demux():
        if not packet.size:
            continue
        place, places[packet.stream_index] = places[packet.stream_index], places[packet.stream_index] + 1
        is_picture = isinstance(copies[packet.stream_index], VideoStream)
        packet = change(packet, place) if is_picture else packet
        if packet is not None:
            packet.stream = copies[packet.stream_index]
            writer.mux(packet)


def _remuxed(
    path: Path, frames: int, change: Callable[[Any, int], Any], *, via: str, options: Any = None, **clip: Any
) -> None:
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, container=via, **{"size": SIZE, "gop": 12, **clip})
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w", container_options=dict(options or {})) as writer:
        _copy(reader, writer, change)


def _raw(path: Path, frames: int, *, format: str, codec: str) -> None:
    numbered_clip(str(path), frames=frames, size=SIZE, gop=12, codec=codec, bframes=0, container=format)


def _edit_list(path: Path, frames: int) -> None:
    """The first 5 frames before time 0: the mp4 muxer writes an edit list that hides them, and the demuxer marks their
    packets to be decoded and not shown."""

    def earlier(packet: Any, place: int) -> Any:
        shift = round(Fraction(5, 25) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    _remuxed(path, frames, earlier, via="mp4", gop=30, options={"avoid_negative_ts": "disabled", "use_editlist": "1"})


def _wraps(path: Path, frames: int) -> None:
    """The clock of a transport stream has 33 bits; here it passes 0 after 5 frames, so the start is before time 0."""

    def earlier(packet: Any, place: int) -> Any:
        shift = round(Fraction(5, 25) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    options = {"avoid_negative_ts": "disabled", "mpegts_copyts": "1"}
    _remuxed(path, frames, earlier, via="mp4", bframes=0, options=options)


def _duplicate_times(path: Path, frames: int) -> None:
    """Frames 10 and 11 have one time, and so have 20 and 21."""

    def change(packet: Any, place: int) -> Any:
        if place in (11, 21):
            packet.pts = packet.dts = packet.pts - 40
        return packet

    _remuxed(path, frames, change, via="matroska", bframes=0)


def _duplicated(count: int) -> list[Fraction]:
    return [Fraction(40 * i - (39 if i in (11, 21) else 0), 1000) for i in range(count)]


def _two_sizes(path: Path, frames: int) -> None:
    parts = []
    for number, size in ((0, SIZE), (frames // 2, (192, 128))):
        raw = io.BytesIO()
        numbered_clip(raw, frames=frames // 2, size=size, gop=12, container="h264", first_number=number, bframes=0)
        parts.append(raw.getvalue())
    path.write_bytes(b"".join(parts))


def _without_times(path: Path, frames: int) -> None:
    """Every third picture from the fifth on has no times: the flags of its PES header say so (ISO/IEC 13818-1),
    and stuffing stands in their place."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mpegts")
    data, picture = bytearray(raw.getvalue()), 0
    for start in range(0, len(data), 188):
        packet = data[start : start + 188]
        header = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if packet[1] & 0x40 and packet[header : header + 4] == b"\0\0\1\xe0":
            if picture >= 5 and picture % 3 == 2:
                data[start + header + 7] &= 0x3F
                first = start + header + 9
                length = packet[header + 8]
                data[first : first + length] = b"\xff" * length
            picture += 1
    path.write_bytes(data)


def _joined(path: Path, frames: int) -> None:
    """Two recordings, one after the other in one file, as `cat` does it: the clock begins anew."""
    parts = []
    for number in (0, frames // 2):
        raw = io.BytesIO()
        numbered_clip(raw, frames=frames // 2, size=SIZE, gop=12, container="mpegts", first_number=number)
        parts.append(raw.getvalue())
    path.write_bytes(b"".join(parts))


def _two_sizes_remuxed(path: Path, frames: int) -> None:
    """The same, with the clock running on."""
    with av.open(str(path), "w") as writer:
        stream: Any = None
        for part, size in enumerate((SIZE, (192, 128))):
            raw, count = io.BytesIO(), frames // 2
            numbered_clip(raw, frames=count, size=size, gop=12, container="h264", first_number=part * count, bframes=0)
            raw.seek(0)
            with av.open(raw) as reader:
                stream = stream or writer.add_stream_from_template(reader.streams.video[0], opaque=True)
                for place, packet in enumerate(packet for packet in reader.demux(0) if packet.size):
                    packet.time_base, packet.stream = Fraction(1, 25), stream
                    packet.pts = packet.dts = part * count + place
                    writer.mux(packet)


def _cover(path: Path, frames: int) -> None:
    picture = io.BytesIO()
    numbered_clip(picture, frames=1, size=(64, 64), codec="mjpeg", pixel_format="yuvj420p", container="matroska")
    clip = io.BytesIO()
    numbered_clip(clip, frames=frames, size=SIZE, audio="aac", container="mp4")
    picture.seek(0), clip.seek(0)
    with av.open(picture) as cover, av.open(clip) as reader, av.open(str(path), "w") as writer:
        first = writer.add_stream_from_template(cover.streams.video[0], opaque=True)
        first.disposition = av.stream.Disposition.attached_pic
        copies = {stream.index: writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
        for source, targets in ((cover, {0: first}), (reader, copies)):
            for packet in source.demux():
                if packet.size:
                    packet.stream = targets[packet.stream_index]
                    writer.mux(packet)


def _rich(path: Path, frames: int) -> None:
    """Two sounds with languages, a subtitle, chapters, a title and a font."""
    words_text = "1\n00:00:00,200 --> 00:00:00,900\nBonjour\n\n2\n00:00:00,950 --> 00:00:01,100\nLe monde\n\n"
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, audio="aac", container="matroska")
    raw.seek(0)
    with (
        av.open(raw) as plain,
        av.open(io.BytesIO(words_text.encode()), format="srt") as words,
        av.open(str(path), "w") as writer,
    ):
        video = writer.add_stream_from_template(plain.streams.video[0], opaque=True)
        sounds = [writer.add_stream_from_template(plain.streams.audio[0]) for _ in range(2)]
        for sound, language in zip(sounds, ("eng", "deu"), strict=True):
            sound.metadata["language"] = language
        subtitle = writer.add_stream_from_template(words.streams.subtitles[0])
        subtitle.metadata["language"] = "fra"
        writer.add_attachment("font.ttf", "font/ttf", b"a font")
        writer.metadata["title"] = "A title"
        base = Fraction(1, 1000)
        chapters = [(0, 600, "One"), (600, 1200, "Two")]
        writer.set_chapters(
            [
                {"id": n, "start": start, "end": end, "time_base": base, "metadata": {"title": title}}
                for n, (start, end, title) in enumerate(chapters, 1)
            ]
        )
        for packet in words.demux(0):
            if packet.size:
                packet.stream = subtitle
                writer.mux(packet)
        for packet in plain.demux():
            for copy in ([video], sounds)[packet.stream_index] if packet.size else []:
                packet.stream = copy
                writer.mux(packet)


def _late_sound(path: Path, frames: int) -> None:
    """The sound begins 11537 samples after the picture, which is no whole number of milliseconds."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, audio="aac", container="mp4")
    raw.seek(0)
    with (
        av.open(raw) as reader,
        av.open(str(path), "w", container_options={"movie_timescale": "48000"}) as writer,
    ):
        copies = [writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams]
        for packet in reader.demux():
            if not packet.size:
                continue
            if packet.stream_index == 1:
                packet.pts, packet.dts = packet.pts + 11537, packet.dts + 11537
            packet.stream = copies[packet.stream_index]
            writer.mux(packet)


def _damaged(path: Path, frames: int) -> None:
    """Noise over the last two thirds of packet 15, well inside its slice data."""
    noise = np.random.default_rng(4).bytes(1 << 16)

    def change(packet: Any, place: int) -> Any:
        if place == 15:
            data = bytes(packet)
            packet.update(data[: len(data) // 3] + noise[: len(data) - len(data) // 3])
        return packet

    _remuxed(path, frames, change, via="mp4", codec="mpeg2video", bframes=0)


def _no_reorder_depth(path: Path, frames: int) -> None:
    """`bitstream_restriction_flag`, the last one of x264's SPS, is 0, and what it announced is gone. Encoders in
    hardware leave it out; a decoder that expects no reordering then gives pictures before it has those that come first.
    """
    numbered_clip(path, frames=frames, size=SIZE, options=_PYRAMID)
    with av.open(str(path)) as reader, av.logging.Capture(local=True) as lines:
        stream = reader.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        av.logging.set_level(av.logging.VERBOSE)
        BitStreamFilterContext("trace_headers", stream)
        av.logging.set_level(None)
    (flag,) = (int(line.split()[0]) for _, _, line in lines if " bitstream_restriction_flag " in line)
    sps = extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]
    flag += 8 * sps.count(b"\0\0\3")  # Bytes that keep start codes out are not counted there.
    bits = f"{int.from_bytes(sps, 'big'):0{len(sps) * 8}b}"
    bits = f"{bits[:flag]}01".ljust(len(bits), "0")  # The flag, the stop bit, and zeros that nobody reads.
    data = path.read_bytes()
    assert bits.count("1") > 20
    assert data.count(sps) == 1
    path.write_bytes(data.replace(sps, int(bits, 2).to_bytes(len(sps), "big")))


def _half_lost(path: Path, frames: int, codec: str) -> None:
    """Noise over the second half of packet 15, put there in the file, so that no muxer stumbles over it."""
    numbered_clip(path, frames=frames, size=SIZE, gop=12, codec=codec)
    with av.open(str(path)) as reader:
        packet = [bytes(packet) for packet in reader.demux(0)][15]
    data = path.read_bytes()
    assert data.count(packet) == 1
    half = len(packet) // 2
    noise = np.random.default_rng(4).bytes(len(packet) - half)
    path.write_bytes(data.replace(packet, packet[:half] + noise))


def _lost_on_the_way(path: Path, frames: int) -> None:
    """Every 40th packet of a transport stream is missing, as over a bad line."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mpegts", bframes=0)
    data = raw.getvalue()
    path.write_bytes(b"".join(data[at : at + 188] for at in range(0, len(data), 188) if at // 188 % 40 != 39))


def _starts_late(path: Path, frames: int) -> None:
    """A recording that starts in the middle of a GOP: the first 4 packets, the key packet among them, are missing."""
    _remuxed(path, frames, lambda packet, place: packet if place >= 4 else None, via="mpegts", bframes=0, gop=10)


def _cropped_mp4(path: Path, frames: int) -> None:
    """`clap` (ISO/IEC 14496-12, 12.1.4): 128x80 pixels in the middle."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mp4")
    path.write_bytes(insert_boxes(raw.getvalue(), struct.pack(">I4s8i", 40, b"clap", 128, 1, 80, 1, 0, 1, 0, 1)))


def _cropped_mkv(path: Path, frames: int) -> None:
    """PixelCropLeft, -Top, -Right and -Bottom (RFC 9559) take the place of a track's name of the same length."""
    crops = b"".join(side + bytes([0x81, cut]) for side, cut in zip(_CROPS, (16, 8, 16, 8), strict=True))
    name = "n" * (len(crops) - 3)
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        copy.metadata["title"] = name
        for packet in reader.demux(0):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    data = path.read_bytes()
    video = data.index(b"\xe0", data.index(name.encode()))  # Then its length, one byte with a 1 in front.
    start, end = video + 2, video + 2 + (data[video + 1] & 0x7F)
    named = b"\x53\x6e" + bytes([0x80 | len(name)]) + name.encode()
    header = data[:video].replace(named, b"") + b"\xe0" + bytes([data[video + 1] + len(crops)])
    assert len(header) == start - len(crops)
    path.write_bytes(header + data[start:end] + crops + data[end:])


def _cropped_sps(path: Path, frames: int) -> None:
    """H.264's own cropping, 8 columns on the left among them: no round address begins there."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        crop = BitStreamFilterContext("h264_metadata=crop_left=8:crop_right=6:crop_top=4:crop_bottom=2", stream, copy)
        for packet in reader.demux(stream):
            for cropped in crop.filter(packet) if packet.size else ():
                cropped.stream = copy
                writer.mux(cropped)


def _decoding_times(path: Path, frames: int) -> None:
    """Every packet's time is when it is decoded, in place of when it is shown."""
    times = iter(range(0, 512 * frames, 512))

    def change(packet: Any, place: int) -> Any:
        packet.pts = packet.dts = next(times)
        return packet

    _remuxed(path, frames, change, via="mp4", options={"video_track_timescale": "12800"})


def _packed(path: Path, frames: int) -> None:
    """As DivX and Xvid have it in AVI: a B-picture in the packet of the one it refers to, and then a packet that says
    "nothing new". A VOP begins with 00 00 01 B6 and two bits of its kind: 0 I, 1 P, 2 B."""
    before: Any = None

    def kind(packet: Any) -> int:
        data = bytes(packet)
        return data[data.index(b"\0\0\1\xb6") + 4] >> 6

    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, gop=12, codec="mpeg4", bframes=1, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        packets = [packet for packet in reader.demux(0) if packet.size]
        for place, packet in enumerate(packets):
            after = packets[place + 1] if place + 1 < len(packets) else None
            data = bytes(packet)
            if kind(packet) == 2:
                data = b"\0\0\1\xb6\x50\x4f"
            elif after is not None and kind(after) == 2:
                data += bytes(after)
            before = av.Packet(data)
            before.pts = before.dts = place
            before.time_base, before.stream, before.is_keyframe = Fraction(1, 25), copy, packet.is_keyframe
            writer.mux(before)


def _starts_open(path: Path, frames: int) -> None:
    """What a cut without coding anew leaves of a video with open GOPs: the pictures before its first key picture have
    times before 0, and refer to what is gone."""
    shift = 0

    def change(packet: Any, place: int) -> Any:
        nonlocal shift
        if not shift and not (place and packet.is_keyframe):
            return None
        shift = shift or packet.pts
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    options = {"avoid_negative_ts": "disabled"}
    raw = io.BytesIO()
    numbered_clip(raw, frames=frames, size=SIZE, options=_OPEN_X264, container="mp4")
    raw.seek(0)
    with av.open(raw) as reader, av.open(str(path), "w", container_options=options) as writer:
        _copy(reader, writer, change)


def _write_pictures(path: Path, pictures: Sequence[bytes], *, format: str) -> None:
    """Coded pictures at 25 a second; `format` is the bare one that tells libav what they are."""
    with (
        av.open(io.BytesIO(b"".join(pictures)), format=format) as reader,
        av.open(str(path), "w") as writer,
    ):
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for place, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.pts = packet.dts = 3600 * place
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 90000), copy, True
            packet.duration = 3600
            writer.mux(packet)


def _fields_h264(path: Path, frames: int) -> None:
    """No encoder here codes H.264 as fields. So this one does: every macroblock is I_PCM, its samples as they are
    (ITU-T H.264 7.3.2 to 7.3.5)."""

    def coded(value: int) -> str:  # ue(v)
        return f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)

    def unit(kind: int, bits: str, rest: bytes = b"") -> bytes:
        data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big") + rest
        return b"\0\0\0\1" + bytes([kind]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)

    width, height = SIZE
    numbers = [0, 0, 0, 4, 1]  # log2_max_frame_num is 4, log2_max_pic_order_cnt_lsb 8, one reference
    size = f"0{coded(width // 16 - 1)}{coded(height // 32 - 1)}"
    sps = f"{77:08b}{0:08b}{30:08b}{''.join(map(coded, numbers))}{size}0010" + "01"  # Main profile, no frames only
    pps = (
        "".join(map(coded, [0, 0]))
        + "00"
        + "".join(map(coded, [0, 0, 0]))
        + "000"
        + "".join(map(coded, [0] * 3))
        + "1001"
    )
    parameters = unit(0x67, sps) + unit(0x68, pps)

    def field(number: int, bottom: int) -> bytes:
        first = number == 0 and not bottom
        luma = numbered_luma(number, width=width, height=height)[bottom::2]
        head = f"{coded(0)}{coded(7)}{coded(0)}{number % 16:04b}1{bottom}{coded(0) if first else ''}"
        head += f"{(2 * number + bottom) % 256:08b}{'00' if first else '0'}{coded(0)}{coded(1)}{coded(25)}"
        blocks = [
            luma[y : y + 16, x : x + 16].tobytes() for y in range(0, height // 2, 16) for x in range(0, width, 16)
        ]
        later = int(coded(25).ljust(16, "0"), 2).to_bytes(2, "big")
        body = later.join(block + bytes([128]) * 128 for block in blocks)
        return unit(0x65 if first else 0x61, head, body + b"\x80")

    pictures = [field(number, 0) + field(number, 1) for number in range(frames)]
    _write_pictures(path, [parameters + pictures[0], *pictures[1:]], format="h264")


def _fields_mpeg2(path: Path, frames: int) -> None:
    """A field of an intra picture is coded as a picture of half the height is. So that is what the encoder codes, and
    the headers say what it is (ISO/IEC 13818-2, 6.2.2.1, 6.2.2.3 and 6.2.3.1)."""
    width, height = SIZE
    context: Any = av.CodecContext.create("mpeg2video", "w")
    context.width, context.height, context.pix_fmt, context.gop_size = width, height // 2, "yuv420p", 0
    context.time_base, context.framerate, context.options = Fraction(1, 50), Fraction(50), {"qmin": "2", "qmax": "4"}
    packets: list[Any] = []
    for place in range(2 * frames):
        luma = numbered_luma(place // 2, width=width, height=height)[place % 2 :: 2]
        planes = np.concatenate([luma.ravel(), np.full(width * height // 4, 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes.reshape(-1, width), format="yuv420p")
        frame.pts = place
        packets += context.encode(frame)
    packets += context.encode(None)
    fields = []
    for place, packet in enumerate(packets):
        data = bytearray(bytes(packet))
        sequence, extension = data.index(b"\0\0\1\xb3"), data.index(b"\0\0\1\xb5")
        picture = data.index(b"\0\0\1\0")
        coding = data.index(b"\0\0\1\xb5", picture)
        data[sequence + 6], data[sequence + 7] = height, data[sequence + 7] & 0xF0 | 3  # 25 frames a second
        data[extension + 5] &= ~0x08  # progressive_sequence
        data[coding + 6] = data[coding + 6] & ~3 | 1 + place % 2  # picture_structure: 1 is the top field
        data[coding + 7] &= ~0xC1  # top_field_first, frame_pred_frame_dct, chroma_420_type
        data[coding + 8] &= ~0x80  # progressive_frame
        fields.append(bytes(data[picture:] if place % 2 else data))
    _write_pictures(path, [a + b for a, b in zip(fields[::2], fields[1::2], strict=True)], format="mpegvideo")


def _no_color(path: Path, frames: int) -> None:
    numbered_clip(path, frames=frames, size=SIZE, gop=12, codec="ffv1", pixel_format="yuva420p")


def _jitter(count: int) -> list[int]:
    return [40 * i + (i * i) % 37 for i in range(count)]


def _paused(count: int) -> list[int]:
    return [i if i < 14 else i + 9 for i in range(count)]


_OPEN_X264 = {"x264-params": "open-gop=1:keyint=27:b-adapt=0:bframes=3:scenecut=0"}
_OPEN_X265 = {"x265-params": f"keyint=27:b-adapt=0:bframes=3:{_QUIET}"}
_PYRAMID = {"x264-params": "keyint=30:bframes=7:b-pyramid=normal:b-adapt=0:scenecut=0"}
_HDR = (
    "hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:chromaloc=2:"
    "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50):max-cll=1000,400"
)
_HDR_COLOR = {"colorspace": 9, "color_trc": 16, "color_primaries": 9, "color_range": 1}
_HALF_MS = Fraction(1, 2000)

_CODECS = "codecs in"
_CONTAINERS = "containers in"
_PICTURES = "pictures"
_TIMES = "times"
_GOPS = "GOPs"
_BESIDE = "beside the picture"
_BROKEN = "damaged or unusual"
_OUT = "formats out"

CASES: tuple[Case, ...] = (
    # Codecs.
    Case(name="h264", group=_CODECS, comes="H.264 with B-frames, mp4, AAC sound", suffix=".mp4", clip={"audio": "aac"}),
    Case(name="hevc", group=_CODECS, comes="HEVC", suffix=".mp4", clip={"codec": "libx265"}),
    Case(name="av1", group=_CODECS, comes="AV1", suffix=".mp4", clip={"codec": "libsvtav1"}),
    Case(name="vp9", group=_CODECS, comes="VP9, WebM", suffix=".webm", clip={"codec": "libvpx-vp9"}),
    Case(
        name="vp8",
        group=_CODECS,
        comes="VP8 with hidden alternate references",
        suffix=".webm",
        clip={"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "1M"}},
    ),
    Case(name="mpeg2", group=_CODECS, comes="MPEG-2 with B-frames", suffix=".ts", clip={"codec": "mpeg2video"}),
    Case(name="mpeg4", group=_CODECS, comes="MPEG-4 part 2 with B-frames", suffix=".mp4", clip={"codec": "mpeg4"}),
    Case(
        name="prores",
        group=_CODECS,
        comes="ProRes 4:2:2 10 bit, mov, PCM sound",
        gives="every frame, 10 bit, 4:2:0 (said)",
        suffix=".mov",
        output=".mov",
        frames=12,
        clip={"codec": "prores_ks", "pixel_format": "yuv422p10le", "audio": "pcm_s16le"},
        pixel_format="yuv420p10le",
        notes=("4:2:0",),
    ),
    Case(name="ffv1", group=_CODECS, comes="FFV1", suffix=".mkv", clip={"codec": "ffv1"}),
    Case(
        name="mjpeg",
        group=_CODECS,
        comes="MJPEG, full range",
        gives="every frame, full range",
        suffix=".avi",
        clip={"codec": "mjpeg", "pixel_format": "yuvj420p"},
        pixel_format="yuvj420p",
    ),
    Case(name="dnxhd", group=_CODECS, comes="DNxHR 4:2:2", gives="every frame, 4:2:0 (said)", suffix=".mov",
         clip={"codec": "dnxhd", "pixel_format": "yuv422p", "size": (256, 128), "options": {"profile": "dnxhr_sq"}},
         size=(256, 128), notes=("4:2:0",)),
    Case(name="sorenson", group=_CODECS, comes="Sorenson H.263, flv", suffix=".flv",
         clip={"codec": "flv", "bframes": 0}, tolerance=_HALF_MS),
    Case(name="wmv", group=_CODECS, comes="WMV 2, asf", suffix=".asf", clip={"codec": "wmv2", "bframes": 0},
         tolerance=_HALF_MS),
    # Containers.
    Case(name="mkv", group=_CONTAINERS, comes="Matroska, Opus sound", suffix=".mkv", output=".mkv",
         clip={"audio": "libopus"}),
    Case(name="mov", group=_CONTAINERS, comes="QuickTime", suffix=".mov", output=".mov", clip={"audio": "aac"}),
    Case(name="ts", group=_CONTAINERS, comes="MPEG-TS, which starts at 1.4 s", gives="every frame, the start kept",
         suffix=".ts", output=".ts", clip={"audio": "aac"}),
    Case(name="avi", group=_CONTAINERS, comes="AVI: H.264 with B-frames and no presentation times",
         gives="every frame, evenly timed", suffix=".avi", clip={"audio": "mp3"},
         begins=Fraction(0)),
    Case(name="avi_gap", group=_CONTAINERS, comes="AVI with pictures left out by its recorder",
         gives="the others, each at its own time", suffix=".avi", frames=20,
         clip={"codec": "mpeg4", "bframes": 0, "pts": [*range(10), *range(15, 25)], "time_base": Fraction(1, 25)},
         times=lambda count: [Fraction(i if i < 10 else i + 5, 25) for i in range(count)]),
    *(
        Case(name=f"avi_gap_{codec}", group=_CONTAINERS, comes=f"the same with B-frames, {name}",
             gives="the others, each at its own time", suffix=".avi",
             clip={"codec": codec, "pts": _paused(30), "time_base": Fraction(1, 25), "options": options},
             times=lambda count: [Fraction(tick, 25) for tick in _paused(count)])
        for codec, name, options in (("libx264", "H.264", _PYRAMID), ("mpeg4", "MPEG-4", {}))
    ),
    Case(name="flv", group=_CONTAINERS, comes="FLV: H.264", suffix=".flv", clip={"audio": "aac"}, tolerance=_HALF_MS),
    Case(name="fragmented_in", group=_CONTAINERS, comes="fragmented mp4", suffix=".mp4",
         clip={"audio": "aac", "container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    Case(name="packed", group=_CONTAINERS, comes="AVI: DivX or Xvid with packed B-frames",
         gives="every frame, evenly timed", suffix=".avi", frames=29, make=_packed),
    Case(name="decoding_times", group=_CONTAINERS,
         comes="mp4 or asf whose times are those of decoding, as copied from AVI",
         gives="every frame, in the right order (said)", suffix=".mp4", make=_decoding_times,
         notes=("in which pictures are decoded",)),
    Case(name="elementary", group=_CONTAINERS, comes="a bare H.264 stream without times",
         gives="every frame, evenly timed", suffix=".h264",
         make=lambda path, frames: _raw(path, frames, format="h264", codec="libx264")),
    Case(name="edit_list", group=_CONTAINERS, comes="mp4 with an edit list that hides the first 5 frames",
         gives="the other frames, exact times", suffix=".mp4", make=_edit_list, numbers=range(5, 30)),
    # Pictures.
    Case(name="ten_bit", group=_PICTURES, comes="10 bit", gives="10 bit", suffix=".mp4",
         clip={"codec": "libx265", "pixel_format": "yuv420p10le"}, pixel_format="yuv420p10le"),
    Case(name="twelve_bit", group=_PICTURES, comes="12 bit", gives="10 bit (said)", suffix=".mkv",
         clip={"codec": "ffv1", "pixel_format": "yuv420p12le"}, pixel_format="yuv420p10le", notes=("12 bit",)),
    Case(name="yuv422", group=_PICTURES, comes="4:2:2", gives="4:2:0 (said)", suffix=".mp4",
         clip={"pixel_format": "yuv422p"}, notes=("4:2:0",)),
    Case(name="yuv444_10", group=_PICTURES, comes="4:4:4 10 bit", gives="4:2:0 10 bit (said)", suffix=".mp4",
         clip={"pixel_format": "yuv444p10le"}, pixel_format="yuv420p10le", notes=("4:2:0",)),
    Case(name="rgb", group=_PICTURES, comes="RGB", gives="BT.709 4:2:0 (said)",
         color={"matrix": "bt709", "range": "tv"}, suffix=".mkv",
         clip={"codec": "libx264rgb", "pixel_format": "rgb24"}, notes=("4:2:0",)),
    Case(name="alpha", group=_PICTURES, comes="alpha", gives="the picture without it (said)", suffix=".mkv",
         make=_no_color, notes=("alpha",)),
    Case(name="alpha_webm", group=_PICTURES, comes="VP9 or VP8 with alpha, WebM", gives="the picture without it (said)",
         suffix=".webm", clip={"codec": "libvpx-vp9", "pixel_format": "yuva420p", "options": {"auto-alt-ref": "0"}},
         notes=("alpha",)),
    Case(name="png", group=_PICTURES, comes="PNG with alpha, mov", gives="BT.709 4:2:0 (said)", suffix=".mov",
         clip={"codec": "png", "pixel_format": "rgba"}, notes=("alpha", "RGB")),
    Case(name="gray", group=_PICTURES, comes="grey", gives="the same grey", suffix=".mkv",
         clip={"codec": "ffv1", "pixel_format": "gray"}, pixel_format="yuvj420p", notes=("gray",)),
    Case(name="odd_h264", group=_PICTURES, comes="an odd size, to H.264",
         gives="one column and row more (said)", suffix=".mkv", clip={"codec": "ffv1", "size": (159, 95)},
         size=(160, 96), notes=("even sizes",)),
    Case(name="odd_av1", group=_PICTURES, comes="an odd size, to AV1, VP9 or FFV1", gives="the same size",
         suffix=".mkv", output=".mkv", options={"codec": "ffv1"}, clip={"codec": "ffv1", "size": (159, 95)},
         size=(159, 95)),
    Case(name="rotated", group=_PICTURES, comes="rotation by a display matrix", gives="the same rotation",
         suffix=".mp4", clip={"rotation": 90}),
    Case(name="sar", group=_PICTURES, comes="a sample aspect ratio", gives="the same ratio", suffix=".mp4",
         output=".ts",
         clip={"color": {"sample_aspect_ratio": Fraction(16, 11)}}),
    Case(name="sar_matroska", group=_PICTURES, comes="the same, to mkv or webm", gives="the same ratio", suffix=".mp4",
         output=".webm", clip={"color": {"sample_aspect_ratio": Fraction(16, 11)}}, tolerance=_HALF_MS),
    Case(name="cropped_mp4", group=_PICTURES, comes="mp4 or mov that crops its pictures (clean aperture)",
         gives="the picture that players show (said)", suffix=".mp4", make=_cropped_mp4, size=(128, 80),
         notes=("to 128x80",)),
    Case(name="cropped_mkv", group=_PICTURES, comes="mkv or webm that crops its pictures",
         gives="the picture that players show (said)", suffix=".mkv", make=_cropped_mkv, size=(128, 80),
         notes=("to 128x80",)),
    Case(name="cropped_sps", group=_PICTURES, comes="H.264 or HEVC that crops on any side",
         gives="the picture that players show", suffix=".mp4", make=_cropped_sps, size=(146, 90)),
    Case(name="interlaced", group=_PICTURES, comes="interlaced H.264", gives="deinterlaced, a frame a frame (said)",
         suffix=".mp4", clip={"options": {"x264-params": "tff=1:keyint=12:scenecut=0"}}, notes=("deinterlace",)),
    Case(name="interlaced_off", group=_PICTURES, comes="the same with deinterlace=off", gives="as it was coded",
         suffix=".mp4", clip={"options": {"x264-params": "tff=1:keyint=12:scenecut=0"}},
         options={"deinterlace": "off"}, notes=("interlaced",)),
    Case(name="interlaced_mpeg2", group=_PICTURES, comes="interlaced MPEG-2", gives="deinterlaced (said)",
         suffix=".ts", clip={"codec": "mpeg2video", "options": {"flags": "+ildct+ilme+cgop", "field_order": "tt"}},
         notes=("deinterlace",)),
    Case(name="fields_h264", group=_PICTURES, comes="H.264 coded as fields, MPEG-TS (two packets a picture)",
         gives="deinterlaced, a frame a frame (said)", suffix=".ts", make=_fields_h264, notes=("deinterlace",)),
    Case(name="fields_h264_off", group=_PICTURES, comes="the same with deinterlace=off", gives="as it was coded",
         suffix=".ts", make=_fields_h264, options={"deinterlace": "off"}, notes=("interlaced",)),
    Case(name="fields_mpeg2", group=_PICTURES, comes="MPEG-2 coded as fields", gives="deinterlaced (said)",
         suffix=".ts", make=_fields_mpeg2, notes=("deinterlace",)),
    Case(name="tagged", group=_PICTURES, comes="BT.709, full range, chroma centred", gives="the same tags",
         color={"matrix": "bt709", "range": "pc", "chroma_location": "center"},
         suffix=".mp4", clip={"options": {"x264-params": "chromaloc=1:keyint=12"},
                              "color": {"color_range": 2, "colorspace": 1, "color_trc": 1, "color_primaries": 1}},
         pixel_format="yuvj420p"),
    Case(name="untagged", group=_PICTURES, comes="no colour tags",
         color={"matrix": "smpte170m", "range": "tv"},
         gives="tagged by the one rule, BT.601 at this size",
         suffix=".mp4"),
    Case(name="hdr10", group=_PICTURES, comes="HDR10: PQ, BT.2020, mastering display, MaxCLL",
         color={"matrix": "bt2020nc", "transfer": "smpte2084", "chroma_location": "topleft"},
         gives="all of it, in the stream and in the container", suffix=".mkv", output=".mp4",
         options={"codec": "hevc"}, frames=12,
         clip={"codec": "libx265", "pixel_format": "yuv420p10le", "color": _HDR_COLOR,
               "options": {"x265-params": f"{_HDR}:{_QUIET}"}}, pixel_format="yuv420p10le"),
    # Times.
    Case(name="vfr", group=_TIMES, comes="a variable frame rate", suffix=".mkv",
         clip={"pts": _jitter(30), "time_base": Fraction(1, 1000)},
         times=lambda count: [Fraction(t, 1000) for t in _jitter(count)]),
    Case(name="ntsc", group=_TIMES, comes="24000/1001 frames a second", suffix=".mp4",
         clip={"fps": Fraction(24000, 1001)}, times=lambda count: [Fraction(1001 * i, 24000) for i in range(count)]),
    Case(name="negative", group=_TIMES, comes="a start before time 0 (MPEG-TS whose clock wraps)",
         gives="moved to 0 with the sound (said)", suffix=".ts", make=_wraps, notes=("before time 0",)),
    Case(name="duplicate_pts", group=_TIMES, comes="two frames with one time",
         gives="both, the second one tick later (said)", suffix=".mkv", make=_duplicate_times, times=_duplicated,
         notes=("one time",)),
    Case(name="missing_pts", group=_TIMES, comes="MPEG-TS, pictures without times among them",
         gives="those evenly timed, the others exact", suffix=".ts", make=_without_times),
    Case(name="late_sound", group=_TIMES, comes="sound that starts later", gives="the same offset, to the sample",
         suffix=".mp4", make=_late_sound),
    Case(name="one_frame", group=_TIMES, comes="one frame", gives="one frame", suffix=".mp4", frames=1),
    Case(name="one_frame_ts", group=_TIMES, comes="one frame, to MPEG-TS", gives="one frame", suffix=".mp4", frames=1,
         output=".ts"),
    Case(name="two_frames_hevc", group=_TIMES, comes="two frames, to HEVC", gives="two frames", suffix=".mp4",
         frames=2, options={"codec": "hevc"}),
    # GOPs.
    Case(name="one_gop", group=_GOPS, comes="one GOP", suffix=".mp4", frames=60, clip={"gop": 250}),
    Case(name="pyramid", group=_GOPS, comes="a B-pyramid, 7 deep", suffix=".mp4", frames=60,
         clip={"options": _PYRAMID}),
    Case(name="open_h264", group=_GOPS, comes="open GOPs, H.264", gives="every frame, cut into segments",
         suffix=".mp4", frames=160, clip={"options": _OPEN_X264}, segments=2),
    Case(name="open_hevc", group=_GOPS, comes="open GOPs, HEVC (x265's default)",
         gives="every frame, cut into segments", suffix=".mkv", frames=160,
         clip={"codec": "libx265", "options": _OPEN_X265}, segments=2),
    Case(name="no_reorder_depth", group=_GOPS, comes="a B-pyramid in H.264 that does not say how deep it is",
         suffix=".mkv", make=_no_reorder_depth, frames=60),
    Case(name="refresh", group=_GOPS, comes="intra refresh: one key frame for all", suffix=".mp4", frames=60,
         clip={"options": {"x264-params": "intra-refresh=1:keyint=25"}}),
    # Beside.
    Case(name="rich", group=_BESIDE, comes="two sounds, a subtitle, chapters, a title, a font; to mkv",
         gives="all of it, untouched", suffix=".mkv", output=".mkv", make=_rich),
    Case(name="rich_to_mp4", group=_BESIDE, comes="the same, to mp4", gives="what mp4 can hold; the rest is named",
         suffix=".mkv", make=_rich, notes=("subtitle stream", "font.ttf")),
    Case(name="cover", group=_BESIDE, comes="a cover picture", gives="the cover beside the video", suffix=".mp4",
         make=_cover),
    # Broken.
    Case(name="two_sizes", group=_BROKEN, comes="a size that changes in the middle",
         gives="an error with the time and both sizes", suffix=".h264", make=_two_sizes, error="160x96 to 192x128"),
    Case(name="two_sizes_searched", group=_BROKEN, comes="another size from the middle on, in a container with times",
         gives="the same, before any work", suffix=".mkv", frames=160, make=_two_sizes_remuxed,
         error="input .*160x96 to 192x128 at 00:00:03"),
    Case(name="joined", group=_BROKEN, comes="MPEG-TS files that were joined with `cat`",
         gives="an error: the clock jumps back", suffix=".ts", frames=160, make=_joined, error="clock jumps back"),
    Case(name="damaged", group=_BROKEN, comes="a damaged picture", gives="an error with its time", suffix=".mkv",
         make=_damaged, error="on_corrupt"),
    Case(name="damaged_conceal", group=_BROKEN, comes="the same with on_corrupt=conceal",
         gives="every time filled once; what was concealed is said", suffix=".mkv", make=_damaged,
         options={"on_corrupt": "conceal"}, numbers=[*range(15), *[-1] * 9, *range(24, 30)], notes=("conceal",)),
    *(
        Case(name=f"half_lost_{codec}", group=_BROKEN, comes=f"a half of a packet lost, {name}, on_corrupt=conceal",
             gives="every time filled once", suffix=".mkv", options={"on_corrupt": "conceal"},
             make=partial(_half_lost, codec=codec), numbers=[*range(12), *[-1] * 12, *range(24, 30)])
        for codec, name in (("libx264", "H.264"), ("libx265", "HEVC"), ("libvpx-vp9", "VP9"), ("libsvtav1", "AV1"),
                            ("mpeg4", "MPEG-4"))
    ),
    Case(name="lost_on_the_way", group=_BROKEN, comes="MPEG-TS with lost packets", gives="an error with its time",
         suffix=".ts", make=_lost_on_the_way, error="on_corrupt"),
    Case(name="starts_late", group=_BROKEN, comes="a recording that starts between key frames",
         gives="every frame from the first key frame on", suffix=".ts", output=".ts", make=_starts_late,
         numbers=range(10, 30)),
    Case(name="starts_open", group=_BROKEN, comes="a cut without coding anew, which begins at an open GOP",
         gives="every frame that is whole", suffix=".mkv", frames=60, make=_starts_open, numbers=range(27, 60)),
    # Out.
    Case(name="to_hevc", group=_OUT, comes="to HEVC, mp4 or mkv", suffix=".mp4", options={"codec": "hevc"}),
    Case(name="to_av1", group=_OUT, comes="to AV1, WebM or mp4", suffix=".mp4", output=".webm",
         tolerance=_HALF_MS),
    Case(name="to_vp9", group=_OUT, comes="to VP9, mkv", suffix=".mp4", output=".mkv", options={"codec": "vp9"},
         tolerance=_HALF_MS),
    Case(name="to_ffv1", group=_OUT, comes="to FFV1, lossless", suffix=".mp4", output=".mkv",
         options={"codec": "ffv1"}),
    Case(name="to_hls", group=_OUT, comes="to HLS: out.m3u8",
         gives="a playlist and fMP4 fragments of 4 s that begin at key frames", suffix=".mp4", frames=110,
         output=".m3u8", clip={"gop": 250, "audio": "aac"}),
    Case(name="keyint", group=_OUT, comes="keyint=0.4", gives="a key frame every 0.4 s", suffix=".mp4", frames=60,
         clip={"gop": 250}, options={"keyint": 0.4}),
)  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        case.write(folder)
        print(f"{case.name}{case.suffix}: {case.comes}")
