# SPDX-License-Identifier: MIT
"""Opening an input, finding its video stream, and reading its packets; what cannot be read says so in one message."""

import contextlib
import io
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import av.container
import av.error
import av.video.stream
from av.stream import Disposition

from vireo_media.addresses import display_name, is_address, open_address
from vireo_media.errors import InputError, InputMissingError
from vireo_media.fields import FieldPairs
from vireo_media.integrity import check_whole, is_mp4, is_short_ts, is_upright
from vireo_media.reordering import lasting_until, says_when_shown, times_of_showing
from vireo_media.times import FLAG_CORRUPT, FLAG_DISCARD, FLAG_KEY, UNKNOWN, CodedPacket, clock
from vireo_media.vops import single_pictures

__all__ = [
    "EXACT_CROPPING",
    "MediaSource",
    "find_video",
    "is_picture_only",
    "libav_packet",
    "media_errors",
    "read_packets",
]

_VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,asf,ogg,ivf,nut,mxf,gxf,dv,rm,obu,h264,hevc,av1,m4v,"
    "mpegvideo,vc1,mjpeg,yuv4mpegpipe,gif,apng"
)
_SOUND_FORMATS = "mp3,wav,w64,flac,aac,aiff,caf,ac3,eac3,dts,amr,au"

_OPEN_OPTIONS = {
    # Only these demuxers: others read text as pictures (tty) or open further files and addresses (hls, concat, image2),
    # which a server that is handed a file by a stranger must never do.
    "format_whitelist": f"{_VIDEO_FORMATS},{_SOUND_FORMATS}",
    "protocol_whitelist": "file",
}

_QUICK_OPTIONS = {"skip_frame": "all"}
# Note [Opening without decoding]
# libavformat decodes a picture of each stream while it opens, to learn what headers may not tell: 4 ms at 720p. In MP4
# and MOV times, sizes and codecs are all in the container, and packets are the same without it. In Matroska the
# decoding times of H.264 come from that look.

EXACT_CROPPING = {"flags": "+unaligned"}
"""Options of a libavcodec decoder. By default it leaves columns at the left edge that the stream says to cut off, so
that rows begin at round addresses; the picture would be wider than what players show."""

_CONTAINERS = "mp4, mov, mkv, webm, ts, avi, flv and other video containers"


class MediaSource:
    """An input that can be opened any number of times: a path, an address, a file's bytes, or a seekable file object.

    A file object is read by one reader at a time. `name` is what messages call it. `playlist` allows an HLS
    playlist, which names further files: for results of our own only. `remarks` are what reading it found
    that people should know, for the warnings of a result. `has_decoding_times`: see `read_decoding_times`.
    `reorder_depth` is how many packets later than decoded its pictures are shown, where the container says only when
    they are decoded; `probing` finds it.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        name: str | None = None,
        playlist: bool = False,
    ) -> None:
        self._source = source
        self._options = _OPEN_OPTIONS | ({"format_whitelist": "hls,mov,mp4,m4a"} if playlist else {})
        if name is None:
            name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the media given"
            name = display_name(name) if is_address(source) else name
        self.name = name
        self.remarks: dict[str, str] = {}
        self.has_decoding_times = False
        self.reorder_depth = 0
        self._checked = self._is_short_ts = False
        self.is_mp4 = self.is_upright_mp4 = False
        """Known when it was opened: whether it is MP4, MOV or their kin, and one of which no track is to be turned."""

    def read_decoding_times(self) -> None:
        """Take the times of this input for those of decoding (see `probing`): pictures are shown in their order at
        these times.
        """
        self.has_decoding_times = True
        self.remarks["decoding times"] = (
            "its times are in the order in which pictures are decoded, not shown, as after a copy from AVI: they were "
            "given to the pictures in the order of showing"
        )

    @contextlib.contextmanager
    def open(self, *, quick: bool = False) -> Iterator[av.container.InputContainer]:
        """The demuxer of this input, from its beginning; closed with the block. `quick`: for who wants packets, and no
        pixel format. Raises InputError.
        """
        if not self._checked:
            self._check()
            self._checked = True
        options = self._options | (_QUICK_OPTIONS if quick and self.is_mp4 else {})
        with media_errors(self.name, "opening"):
            file: Any = f"file:{os.fspath(cast(str, self._source))}" if self._is_path else self._stream()
            format = "mpegts" if self._is_short_ts else None
            container = av.open(file, "r", format=format, options=options, metadata_errors="replace")
        try:
            with container:
                yield container
        finally:
            if is_address(self._source) and not isinstance(file, str):
                file.close()

    @contextlib.contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The bytes of this input, from its beginning; closed with the block. A file object that is being read is put
        back where it was. Raises InputError.
        """
        if not self._is_path:
            place = None if isinstance(self._source, str | bytes) else cast(BinaryIO, self._source).tell()
            stream = self._stream()
            yield stream
            if place is not None:
                stream.seek(place)
            elif is_address(self._source):
                stream.close()
            return
        path = Path(cast(str, self._source))
        try:
            file = path.open("rb")
        except OSError as error:
            raise InputError(
                f"input {self.name!r} cannot be read ({error.strerror}); check its permissions and its disk"
            ) from error
        with file:
            yield file

    @property
    def _is_path(self) -> bool:
        return isinstance(self._source, str | os.PathLike) and not is_address(self._source)

    def _stream(self) -> BinaryIO:
        if isinstance(self._source, str) and is_address(self._source):
            return open_address(self._source)
        if isinstance(self._source, bytes):
            return io.BytesIO(self._source)
        file = cast(BinaryIO, self._source)
        file.seek(0)
        return file

    def _check(self) -> None:
        """What libav would report in words that help nobody."""
        if self._is_path:
            path = Path(cast(str, self._source))
            if not path.exists():
                raise InputMissingError(f"input {self.name!r}: there is no such file; check its name and folder")
            if path.is_dir():
                raise InputError(f"input {self.name!r} is a folder; allowed is one media file; name the file in it")
        with self.file() as file:
            self._check_bytes(file)

    def _check_bytes(self, file: BinaryIO) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size == 0:
            raise InputError(
                f"input {self.name!r} is empty (0 bytes); allowed are {_CONTAINERS}; fetch or export it again"
            )
        self.is_mp4 = is_mp4(file)
        self.is_upright_mp4 = self.is_mp4 and is_upright(file)
        file.seek(0)
        self._is_short_ts = is_short_ts(file, size)
        self.remarks |= check_whole(file, size, name=self.name, is_far=is_address(self._source))


@contextlib.contextmanager
def media_errors(name: str, doing: str) -> Iterator[None]:
    """The one place where libav's errors about an input become ours. `doing` is a verb: "opening", "reading"."""
    try:
        yield
    except av.error.FFmpegError as error:
        if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
            what = "it is not a media file, or it is damaged" if doing == "opening" else "its data is damaged"
        else:
            what = error.strerror or type(error).__name__
        raise InputError(
            f"input {name!r}: {doing} it failed: {what}; allowed are {_CONTAINERS}; check the file, or remux it"
        ) from error


def is_picture_only(stream: av.video.stream.VideoStream) -> bool:
    """Whether a video stream is a cover or thumbnails, not a video."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def find_video(container: av.container.InputContainer, name: str) -> av.video.stream.VideoStream:
    """The video stream to work on: the default one, else the first; covers are not video. Raises InputError."""
    videos = [stream for stream in container.streams.video if not is_picture_only(stream)]
    if not videos:
        held = ", ".join(stream.type for stream in container.streams) or "no stream"
        cover = " and a cover picture" if container.streams.video else ""
        raise InputError(
            f"input {name!r} has no video stream: it holds {held}{cover}; allowed is a file with a video stream; "
            "check that it is the right file"
        )
    video = next((stream for stream in videos if stream.disposition & Disposition.default), videos[0])
    if video.codec_context is None:
        raise InputError(f"input {name!r}: no decoder is known for its video stream; re-encode it to H.264 or HEVC")
    video.codec_context.options = dict(EXACT_CROPPING)
    if not video.codec_context.width or not video.codec_context.height:
        raise InputError(
            f"input {name!r}: its video stream has no picture size, so its start is missing or damaged; "
            "fetch or export it again"
        )
    return video


def libav_packet(data: bytes, *, pts: int, dts: int, duration: int, time_base: Fraction) -> "av.Packet[Any]":
    """A libav packet of `data`; times in `time_base`, UNKNOWN where unknown.

    `av.Packet(data)` would refer to the bytes themselves, and decoders and filters read up to 64 bytes beyond a
    packet's end: what lies there in memory then decides whether MPEG-4 looks damaged. A packet made by its size is
    padded with zeros.
    """
    packet: av.Packet[Any] = av.Packet(len(data))
    if data:
        packet.update(data)
    packet.pts = None if pts == UNKNOWN else pts
    packet.dts = None if dts == UNKNOWN else dts
    packet.duration = duration
    packet.time_base = time_base
    return packet


# Note [Two pictures with one time]
# Broken recorders and joined files have them. No container that is written can say both, and everything here knows a
# picture by its time. So the second one is moved by one tick, the least that tells them apart, and the muxer says so.
# A decoder reorders over at most 16 pictures; the times of the last 64 are enough to look at.
_REMEMBERED = 64
_MOST_BACK_SECONDS = 1


def read_packets(source: MediaSource) -> Iterator[CodedPacket]:
    """The packets of the video stream, one a picture, in the file's order, lazily; no two have one time. Raises
    InputError.
    """
    with source.open(quick=True) as container, media_errors(source.name, "reading"):
        stream = find_video(container, source.name)
        context = stream.codec_context
        pairs = FieldPairs(context.codec.canonical_name, context.extradata or b"")
        packets = _whole_pictures(_timed_packets(source, container, stream), pairs)
        if source.is_mp4 and stream.duration and not source.has_decoding_times:
            packets = lasting_until(packets, (stream.start_time or 0) + stream.duration)
        yield from packets if not source.reorder_depth else times_of_showing(packets, depth=source.reorder_depth)


def _whole_pictures(packets: Iterator[CodedPacket], pairs: FieldPairs) -> Iterator[CodedPacket]:
    """Both fields of a picture in one packet, with the first one's times; it lasts until the next begins."""
    picture: CodedPacket | None = None
    is_pair, lasts = False, 0
    for packet in packets:
        if pairs.is_second(packet.data) and picture is not None:
            is_pair = True
            flags = picture.flags | packet.flags & FLAG_CORRUPT
            picture = picture._replace(data=picture.data + packet.data, flags=flags)
            continue
        if picture is not None:
            if is_pair and UNKNOWN not in (picture.dts, packet.dts):
                lasts = packet.dts - picture.dts
                picture = picture._replace(duration=lasts)
            yield picture
        picture, is_pair = packet, False
    if picture is not None:
        yield picture._replace(duration=lasts) if is_pair and lasts else picture


def _found_packets(
    source: MediaSource, container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator["av.Packet[Any]"]:
    """The packets as libav finds them. Where the header of one is damaged in AVI, it goes on somewhere later and says
    nothing; but the index tells how many there are. So does that of MP4, where an edit list may hide some."""
    named = sum(entry.size > 0 for entry in stream.index_entries) if container.format.name == "avi" else 0
    found = hidden = 0
    for packet in container.demux(stream):
        found += packet.size > 0
        hidden += packet.is_discard
        yield packet
    if source.is_mp4 and stream.frames and (hidden := hidden + max(0, stream.frames - found)):
        source.remarks["hidden"] = (
            f"{hidden} of its {stream.frames} pictures are left out, as in players: its edit list hides them, unless "
            "its index is damaged"
        )
    if found < named:
        raise InputError(
            f"input {source.name!r}: {found} of its {named} pictures can be found: what lies between them is damaged; "
            "allowed is a file with all that its index names; fetch or export it again, or remux it to go on with these"
        )


def _timed_packets(
    source: MediaSource, container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[CodedPacket]:
    recent: deque[int] = deque(maxlen=_REMEMBERED)
    latest = UNKNOWN
    has_pts = says_when_shown(container, stream) and not source.has_decoding_times
    is_matroska = container.format.name == "matroska,webm"
    before_zero = 0
    extradata = stream.codec_context.extradata
    packets = _found_packets(source, container, stream)
    if stream.codec_context.codec.canonical_name == "mpeg4":
        packets = single_pictures(packets, extradata or b"")
    for packet in packets:
        if not packet.size:  # The demuxer's own "end", and AVI's "show the last picture again".
            continue
        if source.has_decoding_times:
            # libav takes those of asf for what they are, and guesses others.
            said = packet.dts if container.format.name == "asf" else packet.pts
            packet.dts = None if said is None else max(said, latest + 1)
        elif is_matroska and packet.pts is None:
            # So libav says that a time is before 0: leading pictures of a video that was cut at an open GOP.
            before_zero -= 1
            packet.pts = before_zero
        if packet.has_sidedata("new_extradata") and bytes(packet.get_sidedata("new_extradata")) != extradata:
            at = clock(packet.pts * packet.time_base) if packet.pts is not None else "an unknown time"
            raise InputError(
                f"input {source.name!r}: its video changes its format at {at}; allowed is one format in a file; "
                "split it there, or re-encode it"
            )
        if packet.dts is not None:
            if (latest - packet.dts) * packet.time_base > _MOST_BACK_SECONDS:
                raise InputError(
                    f"input {source.name!r}: its clock jumps back from {clock(latest * packet.time_base)} to "
                    f"{clock(packet.dts * packet.time_base)}, as in files that were joined as they are; allowed is "
                    "a clock that runs on; split it there, or join its parts with a tool that shifts their times"
                )
            latest = max(latest, packet.dts)
        flags = FLAG_KEY * packet.is_keyframe | FLAG_CORRUPT * packet.is_corrupt | FLAG_DISCARD * packet.is_discard
        pts = packet.pts if has_pts else None
        while pts is not None and pts in recent:
            pts += 1
        if pts is not None:
            recent.append(pts)
            if packet.pts is not None and pts != packet.pts:
                at = clock(pts * packet.time_base)
                source.remarks.setdefault(
                    "one time",
                    f"two pictures have one time at {at}: the second one was moved by "
                    f"{float((pts - packet.pts) * packet.time_base):.6f} s, and so is every other like it",
                )

        yield CodedPacket(
            bytes(packet),
            UNKNOWN if pts is None else pts,
            UNKNOWN if packet.dts is None else packet.dts,
            packet.duration or 0,
            flags,
        )
