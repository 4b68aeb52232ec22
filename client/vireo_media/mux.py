# SPDX-License-Identifier: MIT
"""Segments' packets and the source's other streams into one file, which appears under its name only when it is "
"whole."""

import contextlib
import ctypes
import io
import math
import os
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.container
import av.error
import av.video.stream
import numpy as np

from vireo_media.coded import CodedSegment, Joined, join
from vireo_media.container import is_picture_only, libav_packet
from vireo_media.copying import CopiedStreams
from vireo_media.dts import DtsBuilder
from vireo_media.errors import FramesLostError, OutputError, OutputExistsError, VireoError
from vireo_media.matroska import reserved_name, write_aspect
from vireo_media.playlist import output_folder, playlist_options, settle_playlist
from vireo_media.probing import VideoInput
from vireo_media.settling import settle
from vireo_media.templates import add_video_stream
from vireo_media.times import DURATION, FLAG_KEY, FLAGS, PTS

__all__ = ["FORMATS", "MuxResult", "check_codec", "check_output", "encoder_defaults", "mux"]

FORMATS: Mapping[str, str] = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".m3u8": "hls",
}
"""Suffix of an output -> FFmpeg's name of its format."""

_BITEXACT = 0x400
"""AVFMT_FLAG_BITEXACT: no random ids and no dates, so the same packets give the same bytes."""

_MOST_TIMESCALE = 100_000_000

_CHROMA_LOCATIONS = {
    "h264": ("left", "center", "topleft"),
    "hevc": ("left", "center", "topleft"),
    "av1": ("left", "topleft"),
}
"""Where chroma may lie that the coded headers can say; of other codecs all take it to lie left."""

_NO_ROTATION = ("mpegts",)
_MATROSKA = ("matroska", "webm")
"""They keep times to the millisecond, and libav writes no sample aspect ratio into them (see `matroska`)."""


@dataclass(frozen=True, kw_only=True)
class MuxResult:
    """What was written: frames, their span in seconds, and what the container could not hold."""

    frames: int
    duration_seconds: float
    sounds_left_out: int
    warnings: tuple[str, ...]


Check = Callable[[Path, MuxResult], None]
"""Looks at a written file before it takes its name; raises FramesLostError where it is not what it should be."""


def encoder_defaults(format: str) -> Mapping[str, Any]:
    """What to ask of the encoder where the caller says nothing: a codec that the container holds and many players know;
    for HLS key frames every 2 s, so that fragments are even and the same in every rendition.
    """
    return {"codec": "av1" if format == "webm" else "h264"} | ({"keyint": 2} if format == "hls" else {})


def check_codec(format: str, codec: str) -> None:
    """Refuse a codec that the container cannot hold, before any work. Raises OutputError."""
    try:
        with av.open(io.BytesIO(), "w", format="mp4" if format == "hls" else format) as container:
            container.add_mux_stream(codec)
    except ValueError as error:
        raise OutputError(
            f"output: a {format!r} file cannot hold codec {codec!r} ({error}); "
            "choose another container (mkv holds every codec) or another codec"
        ) from error


def check_output(output: str | os.PathLike[str], *, overwrite: bool) -> str:
    """Refuse an output that could not be written, before any work. Returns FFmpeg's name of its format.

    Raises OutputError, OutputExistsError.
    """
    path = Path(output)
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"output {str(path)!r}: the suffix {path.suffix!r} names no container that can be written; "
            f"allowed are {', '.join(FORMATS)}, and for the numbers of an extraction .json, .jsonl, .csv or -; choose "
            "one of them"
        )
    if path.is_dir():
        raise OutputError(f"output {str(path)!r} is a folder; allowed is the name of a file; add one")
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"output {str(path)!r} is there already; nothing was done; choose another name, or allow it (--overwrite)"
        )
    if not path.parent.is_dir():
        raise OutputError(f"output {str(path)!r}: there is no folder {str(path.parent)!r}; make it or choose another")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"output {str(path)!r}: its folder cannot be written to; change its permissions or choose another"
        )
    return FORMATS[path.suffix.lower()]


def mux(
    output: str | os.PathLike[str] | BinaryIO,
    *,
    segments: Sequence[CodedSegment],
    source: VideoInput,
    format: str | None = None,
    fragmented: bool = False,
    check: Check | None = None,
) -> MuxResult:
    """Write the file: `segments` as its video, everything else copied from `source`.

    `output` is a path, replaced in one step when all is written and on disk, or a file object, for which `format`
    must be named. `fragmented` writes mp4 and mov in fragments, one a key frame, which can be played while they are
    fetched. Format "hls" (a path ending in .m3u8) writes a playlist and, beside it, fragments of about 4 s that begin
    at key frames.

    `check` is given what was written before it takes its name; where it raises FramesLostError, the file is kept
    beside `output` as `<name>.differs.<suffix>`. Raises OutputError, ExchangeError where segments do not fit together,
    InputError where the source cannot be read.
    """
    joined = join(segments)
    _give_memory_back()
    if not isinstance(output, str | os.PathLike):
        if format is None:
            raise OutputError(
                "output: a file object has no name to tell its container by; give `format`, such as 'mp4'"
            )
        if format == "hls":
            raise OutputError("output: HLS is many files; allowed is a path that ends in .m3u8, not a file object")
        return _write(output, joined, format=format, source=source, fragmented=fragmented)
    path = Path(output)
    format = format or FORMATS[path.suffix.lower()]
    if format == "hls":
        return _write_playlist(path, joined, source=source, check=check)
    part = path.with_name(f".{path.name}.part")
    try:
        result = _write(part, joined, format=format, source=source, fragmented=fragmented)
        if check is not None:
            with _kept_aside(part, path):
                check(part, result)
        settle(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if isinstance(error, VireoError):
            raise
        raise OutputError(
            f"output {str(path)!r}: writing it failed: {error.strerror or error}; check the space on the disk"
        ) from error
    except BaseException:  # Ctrl-C too leaves nothing behind.
        part.unlink(missing_ok=True)
        raise
    return result


def _give_memory_back() -> None:
    """Let the C library return what the segments' packets left free.

    The index of an mp4 grows with the video, 64 bytes a packet of picture and sound while it is written. With this it
    takes the place of what was needed before, not room beside it. Other C libraries than glibc have no such call.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def _kept_aside(written: Path, path: Path) -> Iterator[None]:
    """What turns out to differ from its source is there to be looked at, but never under the name of a result."""
    try:
        yield
    except FramesLostError as error:
        aside = path.with_name(f"{path.stem}.differs{path.suffix if written.is_file() else ''}")
        if aside.is_dir():
            shutil.rmtree(aside)
        os.replace(written, aside)
        raise FramesLostError(f"{error}; what was written is kept as {str(aside)!r}") from error


def _write_playlist(path: Path, joined: Joined, *, source: VideoInput, check: Check | None) -> MuxResult:
    """The playlist and its fragments, made in a folder of their own; the playlist takes its place last."""
    with output_folder(path) as folder, _output_errors("hls"):
        result = _write(folder / path.name, joined, format="hls", source=source)
        if check is not None:
            with _kept_aside(folder, path):
                check(folder / path.name, result)
        settle_playlist(folder, path)
    return result


def _write(
    target: Path | BinaryIO, joined: Joined, *, format: str, source: VideoInput, fragmented: bool = False
) -> MuxResult:
    with contextlib.ExitStack() as reading, _output_errors(format):
        reader = reading.enter_context(source.source.open())
        _give_memory_back()
        scale = _movie_timescale(reader, joined.time_base)
        if format == "hls":
            assert isinstance(target, Path)
            options = playlist_options(target, movie_timescale=scale)
        else:
            options = _options(format, scale, is_file=isinstance(target, Path), fragmented=fragmented)
        file: Any = str(target) if isinstance(target, Path) else target
        with av.open(file, "w", format=format, container_options=options) as writer:
            writer.flags |= _BITEXACT
            warnings = list(source.source.remarks.values())
            video = _add_video(writer, joined, source, warnings)
            # An mp4 would hide pictures before time 0 behind an edit list: in the file and never seen.
            shift = max(Fraction(0), -joined.first * joined.time_base)
            if shift:
                warnings.append(
                    f"the picture begins before time 0, which players hide: all times, picture and sound, moved by "
                    f"{float(shift):.3f} s"
                )
            copied = CopiedStreams(reader, writer, video=video, source=source, warnings=warnings, shift=shift)
            aspect = Fraction(*(joined.output.get("sample_aspect_ratio") or (1, 1)))
            says_aspect = format in _MATROSKA and aspect != 1
            if says_aspect:
                video.metadata["title"] = reserved_name(video.metadata.get("title", ""))
            writer.start_encoding()
            if format in _MATROSKA and not joined.in_milliseconds:
                warnings.append(
                    f"{format} keeps times to the millisecond: frames move by up to 0.5 ms; mp4 keeps them exactly"
                )
            packets = _video_packets(joined, video, shift=shift)
            for packet in _for_fragments(packets, joined, shift=shift) if format == "hls" else packets:
                copied.write_until(packet.dts * packet.time_base)
                writer.mux(packet)
            copied.write_rest()
            # Before the index is written, which takes as much memory as the source's own.
            reading.close()
            _give_memory_back()
        if says_aspect:
            with open(target, "r+b") if isinstance(target, Path) else contextlib.nullcontext(target) as written:
                write_aspect(written, aspect)
    with _output_errors(format):
        first = joined.first * joined.time_base + shift
        warnings += _check_written(target, joined, format=format, first=first, copied=copied)
    return MuxResult(
        frames=joined.frames,
        duration_seconds=float((joined.end - joined.first) * joined.time_base),
        sounds_left_out=copied.sounds_left_out,
        warnings=tuple(warnings),
    )


def _check_written(
    target: Path | BinaryIO, joined: Joined, *, format: str, first: Fraction, copied: CopiedStreams
) -> list[str]:
    """Read the file back: every frame must be in it. Returns what the container changed.

    Muxers drop what they cannot place, and say so in a log only.
    """
    if isinstance(target, Path):
        file: Any = f"file:{target}"
    else:
        target.seek(0)
        file = target
    with av.open(file, "r", format=format) as reader:
        stream = next(stream for stream in reader.streams.video if not is_picture_only(stream))
        changed = copied.missing_tags(reader)
        base, aspect = stream.time_base or Fraction(1), stream.sample_aspect_ratio or Fraction(1)
        found, earliest = 0, 2**63
        for packet in reader.demux(stream):
            if packet.pts is not None:
                found, earliest = found + 1, min(earliest, packet.pts)
    if found != joined.frames:
        raise OutputError(
            f"output: {found!r} frames are in the {format!r} file that was written, of {joined.frames!r}; allowed is "
            "every frame; choose another container, and report this"
        )
    wanted = Fraction(*(joined.output.get("sample_aspect_ratio") or (1, 1)))
    if aspect != wanted:
        changed.append(
            f"{format} with {joined.output['codec']} does not say the sample aspect ratio of {wanted.numerator}:"
            f"{wanted.denominator}, so players show the picture with another width; mp4 and mov say it"
        )
    codec, location = joined.output["codec"], joined.output["color"]["chroma_location"] or "left"
    if location not in _CHROMA_LOCATIONS.get(codec, ("left",)):
        changed.append(
            f"{codec} does not say that chroma lies {location}, so players may show colours up to half a pixel off; "
            "h264 and hevc say it"
        )
    shift = earliest * base - first
    if abs(shift) >= Fraction(1, 1000):
        changed.append(
            f"{format} holds no negative times: all of them, picture and sound, moved by {float(shift):.3f} s"
        )
    return changed


def _options(format: str, movie_timescale: int, *, is_file: bool, fragmented: bool) -> dict[str, str]:
    """The muxer's own options."""
    if format not in ("mp4", "mov"):
        return {}
    options = {"movie_timescale": str(movie_timescale)}
    if fragmented:  # The header waits for the first fragment, or it could not say when each track starts.
        options["movflags"] = "+frag_keyframe+delay_moov+default_base_moof"
    elif is_file:  # The index in front, so that a player on the network can start at once; it takes a second pass.
        options["movflags"] = "+faststart"
    return options


def _movie_timescale(reader: av.container.InputContainer, time_base: Fraction) -> int:
    """Ticks a second for the start of a track that begins later than the file.

    By default they are milliseconds: too coarse for a start of video and sound that is exact.
    """
    rates = [stream.codec_context.sample_rate for stream in reader.streams.audio if stream.codec_context is not None]
    scale = math.lcm(time_base.denominator, *(rate for rate in rates if rate))
    return scale if scale <= _MOST_TIMESCALE else time_base.denominator


def _add_video(
    writer: av.container.OutputContainer, joined: Joined, source: VideoInput, warnings: list[str]
) -> av.video.stream.VideoStream:
    stream = add_video_stream(writer, joined.output, list(islice(joined.segments[0].packets(), 2)))
    stream.time_base = joined.time_base
    rotation = int(joined.output.get("rotation") or 0)
    if rotation and writer.format.name in _NO_ROTATION:
        warnings.append(f"{writer.format.name} cannot hold the rotation of {rotation} degrees; mp4, mov and mkv can")
    elif source.display_matrix is not None and rotation == source.description.rotation:
        # Turns and flips as they are; the shift is in pixels of the source's size, and players ignore it.
        matrix = list(source.display_matrix)
        matrix[6] = matrix[7] = 0
        stream.set_display_matrix(matrix)
    elif rotation:
        stream.set_display_rotation(rotation)
    return stream


def _video_packets(joined: Joined, stream: av.video.stream.VideoStream, *, shift: Fraction) -> Iterator[Any]:
    """The packets in the file's order, with DTS rebuilt (see `dts`), all of them later by `shift` seconds."""
    base = joined.time_base
    ticks = round(shift / base)
    builder = DtsBuilder(depth=joined.depth, step=joined.step)
    for segment in joined.segments:
        rows = segment.timing().tolist()
        decoding = builder.of([row[PTS] for row in rows])
        for data, row, dts in zip(segment.packets(), rows, decoding, strict=True):
            packet = libav_packet(data, pts=row[PTS] + ticks, dts=dts + ticks, duration=row[DURATION], time_base=base)
            packet.is_keyframe = bool(row[FLAGS] & FLAG_KEY)
            packet.stream = stream
            yield packet


def _for_fragments(packets: Iterator[Any], joined: Joined, *, shift: Fraction) -> Iterator[Any]:
    """The packets with durations by which fragments meet: libav's HLS muxer lets a fragment begin where the durations
    of the one before end, of its last packet for decoding, of its last picture for showing."""
    times = np.sort(np.concatenate([segment.timing()[:, PTS] for segment in joined.segments]))
    times = (times + round(shift / joined.time_base)).tolist()
    last: Any = None
    for packet in packets:
        if last is not None:
            place = bisect_right(times, last.pts)
            following = times[place : place + 1]
            if packet.is_keyframe and following != [packet.pts]:
                last.duration = packet.dts - last.dts
            elif following:
                last.duration = following[0] - last.pts
            yield last
        last = packet
    yield last


@contextlib.contextmanager
def _output_errors(format: str) -> Iterator[None]:
    """The one place where libav's errors about an output become ours."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise OutputError(
            f"output: writing the {format!r} file failed: {error.strerror or error}; "
            "check the space on the disk, or choose another container (mkv holds nearly everything)"
        ) from error
