# SPDX-License-Identifier: MIT
"""What stands beside the picture: sound, subtitles, data, attachments, covers, chapters and metadata, copied "
"untouched."""

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, cast

import av
import av.audio
import av.container
import av.error
import av.stream
import av.video.stream

from vireo_media.container import find_video, is_picture_only
from vireo_media.probing import VideoInput

__all__ = ["CopiedStreams", "heard_packets"]

# What a muxer writes itself, or what was true of the source's file only.
_NOT_COPIED = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER", "software", "DURATION", "duration",
    "vendor_id", "BPS", "alpha_mode", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "filename", "mimetype",
}  # fmt: skip
_STATISTICS = ("_STATISTICS", "BPS-", "DURATION-", "NUMBER_OF_")
_EVERY_TRACK_HAS = {"handler_name", "creation_time"}
"""Tags of a track in mp4 and mov that say nothing of their own."""

_MOV_LANGUAGES = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "nld": "dut", "kat": "geo", "deu": "ger",
    "ell": "gre", "isl": "ice", "mkd": "mac", "msa": "may", "fas": "per", "bod": "tib", "cym": "wel", "swe": "sve",
    "fre": "fra", "cze": "ces", "rum": "ron", "slo": "slk",
}  # fmt: skip
"""Codes of languages (ISO 639-2 has two for some) that libav's muxer of mov does not know -> those that it does."""

_IN_TS = {
    "mp2",
    "mp3",
    "aac",
    "aac_latm",
    "ac3",
    "eac3",
    "dts",
    "truehd",
    "opus",
    "s302m",
    "dvb_subtitle",
    "dvb_teletext",
}
"""Sounds and subtitles for which MPEG-TS has a type. libav's muxer takes all others as private data, which no player
reads."""

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Number of channels -> the layout that libav takes for it by default. Its mp4 muxer refuses PCM that says none, and so
do MXF, AVI and Matroska."""

_IMAGES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "bmp": ("cover.bmp", "image/bmp")}
"""Codec of a cover -> its name and media type as an attachment."""


class CopiedStreams:
    """The source's other streams on their way into the output, in step with the picture.

    Adds a stream for each that the container can hold, and a warning for each that it cannot; then `write_until` and
    `write_rest` copy their packets as they are, with the source's own time stamps, later by `shift` seconds.
    """

    def __init__(
        self,
        reader: av.container.InputContainer,
        writer: av.container.OutputContainer,
        *,
        video: av.video.stream.VideoStream,
        source: VideoInput,
        warnings: list[str],
        shift: Fraction = Fraction(0),
    ) -> None:
        self._writer = writer
        self._source = source.source
        self._shift = shift
        self._tags: list[tuple[str, int | None, dict[str, str]]] = []
        self.sounds_left_out = 0
        self._outputs: dict[int, av.stream.Stream] = {}
        original = find_video(reader, source.source.name)
        original.discard = av.stream.Discard.all
        self._copy_tags(original, video)
        video.disposition = original.disposition
        chapters = reader.chapters()
        for stream in reader.streams:
            # mp4 and mov hold chapters as a track too, which libav marks: it has read them.
            is_chapters = bool(chapters) and stream.type == "data" and stream.discard == av.stream.Discard.all
            if stream.index != original.index and not is_chapters:
                self._add(stream, warnings)
        writer.metadata.update(_kept(reader.metadata))
        self._tags.append(("the file", None, _kept(reader.metadata)))
        self._copy_chapters(chapters, warnings)
        copied = [stream for stream in reader.streams if stream.index in self._outputs]
        self._packets = heard_packets(reader.demux(*copied)) if copied else iter(())
        self._next: Any = None

    def write_until(self, seconds: Fraction) -> None:
        """Write the packets that come before `seconds`."""
        while (packet := self._peek()) is not None and (packet.dts is None or self._seconds(packet) <= seconds):
            self._write(packet)

    def write_rest(self) -> None:
        """Write the packets that are left."""
        while (packet := self._peek()) is not None:
            self._write(packet)

    def _peek(self) -> Any:
        while self._next is None:
            packet = next(self._packets, None)
            if packet is None:
                return None
            if packet.size:
                self._next = packet
        return self._next

    def _seconds(self, packet: Any) -> Fraction:
        return Fraction(packet.dts * packet.time_base) + self._shift

    def _write(self, packet: Any) -> None:
        self._next = None
        if self._shift:
            ticks = round(self._shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.stream = self._outputs[packet.stream_index]
        self._writer.mux(packet)

    def _add(self, stream: av.stream.Stream, warnings: list[str]) -> None:
        self.sounds_left_out += stream.type == "audio"
        what = f"{stream.type} stream #{stream.index} ({_codec_name(stream)})"
        format = self._writer.format.name
        if isinstance(stream, av.video.stream.VideoStream) and not is_picture_only(stream):
            warnings.append(f"{what} was left out: one video stream is worked on, the others are not copied")
            return
        if format == "hls" and not self._plays_in_mp4(stream):
            warnings.append(f"{what} was left out: HLS here holds the video and sounds that mp4 holds; mkv holds it")
            return
        if stream.type in ("data", "attachment") and not self._holds_bare(stream):
            # A time code is in the video's metadata too: mp4 and mov get a track of it again, Matroska a tag.
            if "timecode" not in stream.metadata or format not in ("mp4", "mov", "matroska"):
                warnings.append(f"{what} was left out: {format} cannot hold it; mkv may")
            return
        if isinstance(stream, av.video.stream.VideoStream) and format != "mp4":  # A cover, as others are left out.
            if format != "matroska" or not self._attach(stream):
                warnings.append(f"{what} was left out: {format} cannot hold covers; mp4 can")
            return
        copy = self._added(stream) if format != "mpegts" or _codec_name(stream) in _IN_TS else None
        if copy is None:
            other = "mp4 or mov may" if format == "matroska" else "mkv holds nearly everything"
            warnings.append(f"{what} was left out: {format} cannot hold it; {other}")
            return
        self._copy_tags(stream, copy)
        if not isinstance(stream, av.stream.AttachmentStream):
            self._outputs[stream.index] = copy
        copy.disposition = stream.disposition
        self.sounds_left_out -= stream.type == "audio"

    def _added(self, stream: av.stream.Stream) -> av.stream.Stream | None:
        """The output's stream for one of the source; None where its muxer refuses it."""
        layout = self._missing_layout(stream)
        if layout == "":
            return None
        try:
            copy = self._writer.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            return None
        if layout is not None:
            cast(av.audio.AudioStream, copy).codec_context.layout = layout
        return copy

    def _missing_layout(self, stream: av.stream.Stream) -> str | None:
        """What the muxer must be told of the channels, "" where nothing can be said of so many, else None."""
        if not isinstance(stream, av.audio.AudioStream) or self._writer.format.name not in ("mp4", "hls"):
            return None
        is_bare = _codec_name(stream).startswith("pcm_") and stream.layout.name.endswith(" channels")
        return _LAYOUTS.get(stream.layout.nb_channels, "") if is_bare else None

    def _copy_tags(self, stream: av.stream.Stream, copy: av.stream.Stream) -> None:
        tags = _kept(stream.metadata)
        if "title" not in tags and "name" in tags:  # mp4 and mov are read with one word and written with the other.
            tags["title"] = tags.pop("name")
        if self._writer.format.name == "mov" and "language" in tags:
            tags["language"] = _MOV_LANGUAGES.get(tags["language"], tags["language"])
        copy.metadata.update(tags)
        own = {key: value for key, value in tags.items() if key.lower() not in _EVERY_TRACK_HAS and value != "und"}
        self._tags.append((f"{stream.type} stream #{stream.index}", copy.index, own))

    def missing_tags(self, written: av.container.InputContainer) -> list[str]:
        """What of the metadata is not in the file that was written, as warnings for people."""
        missing = []
        for what, index, tags in self._tags:
            held = [written.metadata] if index is None else []
            # HLS has those of the file in its streams.
            if index is None or index < len(written.streams):
                held += [stream.metadata for stream in written.streams if index in (None, stream.index)]
            found = {key.lower() for metadata in held for key in metadata}
            found |= {"title"} if "name" in found else set()
            lost = [key for key in tags if key.lower() not in found and key.lower().partition("-")[0] not in found]
            if lost:
                missing.append(f"{', '.join(sorted(lost))} of {what}")
        if not missing:
            return []
        return [f"tags were left out: {'; '.join(missing)}: {self._writer.format.name} cannot hold them; mkv can"]

    def _attach(self, cover: av.stream.Stream) -> bool:
        """Matroska holds a cover as an attachment; as a stream it would be a second video."""
        name, media_type = _IMAGES.get(_codec_name(cover), ("", ""))
        with self._source.open() as reader:
            pictures = [bytes(packet) for packet in reader.demux(reader.streams[cover.index]) if packet.size]
        if len(pictures) != 1 or not name:
            return False
        said = cover.metadata
        self._writer.add_attachment(said.get("filename", name), said.get("mimetype", media_type), pictures[0])
        return True

    def _holds_bare(self, stream: av.stream.Stream) -> bool:
        """Streams without a codec: PyAV does not ask the muxer, and a muxer that cannot refuses the whole header."""
        return stream.type == "attachment" and self._writer.format.name == "matroska"

    @staticmethod
    def _plays_in_mp4(stream: av.stream.Stream) -> bool:
        """The HLS muxer refuses nothing by itself and fails when the header is written."""
        if stream.type != "audio":
            return False
        try:
            with av.open(io.BytesIO(), "w", format="mp4") as trial:
                trial.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            return False
        return True

    def _copy_chapters(self, chapters: list[Any], warnings: list[str]) -> None:
        if not chapters:
            return
        if self._writer.format.name in ("mpegts", "hls"):
            name = self._writer.format.name
            warnings.append(f"{len(chapters)} chapters were left out: {name} cannot hold them; mp4, mov and mkv can")
            return
        for chapter in chapters:
            ticks = round(self._shift / (chapter["time_base"] or 1))
            chapter["start"], chapter["end"] = chapter["start"] + ticks, chapter["end"] + ticks
        self._writer.set_chapters(chapters)


def heard_packets(packets: Iterator[Any]) -> Iterator[Any]:
    """The packets less those that an edit list hides, but for the last one before each that is heard: a decoder of
    sound begins with it.

    Where an mp4 was cut without coding anew, seconds of sound may be hidden before the first picture.
    """
    hidden: dict[int, Any] = {}
    for packet in packets:
        before = hidden.pop(packet.stream_index, None)
        if packet.is_discard:
            hidden[packet.stream_index] = packet
            continue
        if before is not None and packet.size:
            yield before
        yield packet


def _codec_name(stream: av.stream.Stream) -> str:
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return stream.name or "unknown codec"


def _kept(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key not in _NOT_COPIED and not key.startswith(_STATISTICS)}
