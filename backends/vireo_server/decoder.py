# SPDX-License-Identifier: MIT
"""Packets to frames: one libav decoder a stream."""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from vireo_media.bitstream import cut_kind, is_shown
from vireo_media.container import EXACT_CROPPING, libav_packet
from vireo_media.description import StreamDescription
from vireo_media.quantization import DECODER_OPTIONS, QuantizerReader

from vireo_server.cropping import Cropper
from vireo_server.decoded_picture import Picture
from vireo_server.deinterlacing import Deinterlacer
from vireo_server.errors import BadInput, clock, codec_errors
from vireo_server.formats import UNKNOWN
from vireo_server.nvdec import DevicePicture, Nvdec

_Frames = npt.NDArray[np.uint8]

#: libavcodec's packet flags: a key packet; the demuxer saw that data is missing or damaged; decode, but do not give out
#: (what an edit list cuts away).
_KEY, _CORRUPT, _DISCARD = 1, 2, 4

#: FFmpeg's descriptor name -> the decoder, where the decoder of the same name needs a GPU.
_DECODERS = {"av1": "libdav1d"}

#: Codecs with packets that never become a picture and do not say so, so that a count proves nothing.
_HIDDEN_PICTURES = {"mpeg4", "msmpeg4v3"}

_MOST_NAMED = 8

_DEEPEST_REORDERING = 16


class Decoder:
    """One stream's libav decoder: packets in, pictures in display order out.

    Args:
        description: what START said of the stream.
        threads: of libavcodec.
        neighbours: whether the packets of a picture's neighbours come too; deinterlacing looks at them.
        quantizers: whether it is asked how coarsely pictures were quantised, which takes time.
        nvdec: the GPU's decoders, where there are any and the frames are wanted there.

    Raises:
        BadInput: the codec or its extradata cannot be opened.
    """

    def __init__(
        self,
        description: StreamDescription,
        *,
        threads: int,
        neighbours: bool = True,
        quantizers: bool = True,
        nvdec: Nvdec | None = None,
    ) -> None:
        self.description, self._neighbours, self._threads = description, neighbours, threads
        #: Why NVDEC does not decode this stream; empty where it does, or where there is none.
        self.why_software = nvdec.unfit(description) if nvdec is not None else ""
        self._nvdec = None if self.why_software else nvdec
        #: The packets of a stream of which NVDEC has given no picture yet.
        self._tried: list[Any] = []
        self._is_tried = self._nvdec is not None
        self._time_base = Fraction(*description.time_base)
        self._durations: dict[int, int] = {}
        self._discarded: set[int] = set()
        self._keys: set[int] = set()
        self._corrupt: set[int] = set()
        self._conceals = description.decoder.get("on_corrupt") == "conceal"
        self._concealed: list[int] = []
        self._last: av.VideoFrame | DevicePicture | None = None
        self._latest = UNKNOWN
        self._early: list[Picture] = []
        self._filled: set[int] = set()
        self._decoded_until = UNKNOWN
        self._deinterlacer = Deinterlacer()
        self._cropper = None if description.crop is None else Cropper(description.crop)
        self._interlaced = False
        self._leaves_fields = description.decoder.get("deinterlace") == "off"
        self._without_pts: deque[int] = deque()
        self._quantizers = QuantizerReader(description.codec) if quantizers else None
        self._flushed = False
        try:
            self._context = self._open()
        except BadInput as error:
            if self._nvdec is None:
                raise
            self._to_software(f"NVDEC cannot be opened: {getattr(error.__cause__, 'strerror', error.message)}")

    def _open(self) -> Any:
        description = self.description
        with codec_errors(
            f"opening the decoder of {description.codec}", stage="decode", advice="check codec and extradata of STREAM"
        ):
            context: Any
            if self._nvdec is not None:
                context = self._nvdec.create(description.codec)
            else:
                context = av.CodecContext.create(_DECODERS.get(description.codec, description.codec), "r")
            # Threads would each hold some of NVDEC's few surfaces, and it works beside them anyway.
            context.thread_count = self._threads if self._nvdec is None else 1
            context.width, context.height = description.decoded_size
            if description.extradata:
                context.extradata = description.extradata
            options = EXACT_CROPPING | ({} if self._quantizers is None else DECODER_OPTIONS)
            if description.codec == "h264":
                # Where a stream does not say how deep it reorders, libavcodec starts with not at all, and loses or
                # misplaces pictures until it has learnt better. Strictly, it waits for as many as the level allows.
                options["strict"] = "strict"
            context.options = options
            context.open()
        return context

    def decode(self, data: bytes, timing: npt.NDArray[np.int64]) -> list[Picture]:
        """The pictures that one packet completes.

        Args:
            data: the packet as the demuxer gave it.
            timing: its row of PACKET_TIMING, (4,) int64: pts, dts, duration, flags.
        """
        pts, dts, duration, flags = (int(value) for value in timing)
        if self._flushed:
            raise BadInput(
                "a packet came after the flush (a request with no packets); begin a new stream",
                stage="decode",
                seconds=self.seconds(pts),
            )
        if pts == UNKNOWN:
            self._without_pts.append(dts)
        elif not data or is_shown(self.description.codec, data):
            self._durations[pts] = max(duration, 0)
            if flags & _DISCARD:
                self._discarded.add(pts)
            if flags & _CORRUPT:
                self._corrupt.add(pts)
            if flags & _KEY:
                self._keys.add(pts)
        if not data:
            return []  # To libav an empty packet is the end. Its picture is missed when the stream ends.
        held = [] if self._neighbours else self._begin_anew_at(data)
        self._decoded_until = max(self._decoded_until, dts if dts != UNKNOWN else pts)
        packet = libav_packet(data, pts=pts, dts=dts, duration=max(duration, 0), time_base=self._time_base)
        if self._quantizers is not None:
            self._quantizers.read_packet(data)
        packet.is_keyframe = bool(flags & _KEY)  # PNG adds a picture that is none to the one before it.
        return self._cropped(self._deinterlaced([*held, *self._pictures(self._decoded(packet, pts))]))

    def _begin_anew_at(self, data: bytes) -> list[Picture]:
        """Begin anew at the key packet of an open group whose predecessors were left out; what was held before it.

        H.264 and HEVC tell only how far a picture is from the last one in the order of display, and little of that:
        with what lies between left out it would be misread.
        """
        description = self.description
        if self._decoded_until == UNKNOWN or cut_kind(description.codec, description.extradata, data) != "open":
            return []
        pictures = self._pictures(self._decoded(None, UNKNOWN))
        self._context.flush_buffers()
        return pictures

    def flush(self) -> list[Picture]:
        """What the decoder still held; afterwards it takes no packets. Again: nothing."""
        if self._flushed:
            return []
        self._flushed = True
        pictures = self._pictures(self._decoded(None, UNKNOWN))
        pictures += self._missing_at_the_end()
        return self._cropped([*self._deinterlaced(pictures), *self._held_fields(UNKNOWN)])

    def seconds(self, pts: int) -> float | None:
        """A pts as a time in the video, None when it is unknown."""
        return None if pts == UNKNOWN else pts * self._time_base.numerator / self._time_base.denominator

    @property
    def held(self) -> int:
        """Pictures that went in as packets and have not come out."""
        return len(self._durations) + len(self._without_pts) + len(self._early) + self._deinterlacer.held

    @property
    def notes(self) -> list[str]:
        """What the caller must know of the pictures, when all have been given."""
        notes = []
        if self._interlaced and self._leaves_fields:
            notes.append("the source is interlaced and was left as it is (deinterlace=off)")
        elif self._interlaced:
            notes.append("the source is interlaced; it was deinterlaced, a frame a frame (off: deinterlace=off)")
        if self._concealed:
            named = ", ".join(clock(self.seconds(pts) or 0.0) for pts in self._concealed[:_MOST_NAMED])
            more = f" and {len(self._concealed) - _MOST_NAMED} more" if len(self._concealed) > _MOST_NAMED else ""
            notes.append(
                f"{len(self._concealed)} pictures are damaged or missing in the source and were concealed "
                f"(on_corrupt=conceal): at {named}{more}"
            )
        return notes

    def _decoded(self, packet: Any, pts: int) -> list[av.VideoFrame]:
        doing = f"decoding a packet of {self.description.codec}"
        try:
            with self._errors(doing if packet is not None else f"ending the decoder of {self.description.codec}", pts):
                frames: list[av.VideoFrame]
                frames = self._tried_first(packet) if self._is_tried else self._context.decode(packet)
                return frames
        except BadInput:
            if not self._conceals:
                raise
            return []

    def _tried_first(self, packet: Any) -> list[av.VideoFrame]:
        """The frames of one more packet of a stream that NVDEC has not proven itself with; see the notes in nvdec."""
        assert self._nvdec is not None
        self._tried.append(packet)
        frames: list[av.VideoFrame]
        try:
            frames = self._context.decode(packet)
            why = self._nvdec.refusal(frames[0], size=self.description.decoded_size) if frames else ""
        except av.FFmpegError as error:
            frames, why = [], f"NVDEC failed: {error.strerror or type(error).__name__}"
        if why:
            tried = self._tried
            self._to_software(why)
            frames = [frame for one in tried for frame in self._context.decode(one)]
        elif frames or packet is None:
            self._is_tried, self._tried = False, []
        return frames

    def _to_software(self, why: str) -> None:
        self.why_software, self._nvdec, self._is_tried, self._tried = why, None, False, []
        self._context = self._open()

    def _kept(self, frame: av.VideoFrame) -> av.VideoFrame | DevicePicture:
        """The picture as it may wait. What must be deinterlaced after all comes to the host for it."""
        if self._nvdec is None or frame.format.name != "cuda":  # libav leaves NVDEC where a stream's headers change.
            return frame
        self._interlaced = self._interlaced or frame.interlaced_frame
        if self._interlaced and not self._leaves_fields:
            return self._nvdec.download(frame)
        return self._nvdec.copy(frame)

    def _deinterlaced(self, pictures: list[Picture]) -> list[Picture]:
        done = []
        for picture in pictures:
            if isinstance(picture.frame, DevicePicture):
                # It was copied before the first interlaced picture was decoded, and is shown after it.
                done += [*self._held_fields(picture.pts), picture]
                continue
            self._interlaced = self._interlaced or picture.frame.interlaced_frame
            if not self._interlaced or self._leaves_fields:
                done.append(picture)
                continue
            with self._errors("deinterlacing", picture.pts):
                beside = picture.pts, picture.duration, picture.quantizer_step
                pushed = self._deinterlacer.push(picture.frame, beside)
                if not self._neighbours:
                    pushed += self._deinterlacer.flush()
            done += [Picture(frame, *beside) for frame, beside in pushed]
        return done

    def _held_fields(self, pts: int) -> list[Picture]:
        """What the deinterlacer still held."""
        with self._errors("deinterlacing", pts):
            return [Picture(frame, *beside) for frame, beside in self._deinterlacer.flush()]

    def _cropped(self, pictures: list[Picture]) -> list[Picture]:
        """What the container says to cut off goes last: fields are rows of the whole picture."""
        cropper = self._cropper
        if cropper is None:
            return pictures
        assert not any(isinstance(picture.frame, DevicePicture) for picture in pictures)  # See Nvdec.unfit.
        return [replace(picture, frame=cropper.cropped(cast(av.VideoFrame, picture.frame))) for picture in pictures]

    def _pictures(self, frames: list[av.VideoFrame]) -> list[Picture]:
        pictures = []
        for frame in frames:
            step = self._quantizers.step(frame) if self._quantizers is not None and self._nvdec is None else None
            pts = UNKNOWN if frame.pts is None else frame.pts
            if self._without_pts and pts not in self._durations:
                # AVI has no pts, and what libav makes of its dts are guesses: pictures come out in display order, and
                # their times are the decoding times in order.
                pts = self._without_pts.popleft()
            duration = self._durations.pop(pts, 0) or frame.duration or 0
            if pts in self._discarded or not (self._is_wanted(pts) or self.is_reference(pts)):
                self._discarded.discard(pts)
                continue
            self._check(frame, pts)
            picture = Picture(self._kept(frame), pts, duration, step)
            if pts == UNKNOWN:  # Then the decoder's order is all there is.
                pictures += [*self._in_order(all_of_them=True), picture]
            else:
                insort(self._early, picture, key=lambda picture: picture.pts)
        return pictures + self._in_order()

    def _in_order(self, *, all_of_them: bool = False) -> list[Picture]:
        """The pictures that are next, and what stands in for lost ones before them.

        Where a key packet is missing, or a container's times contradict the order that was coded, a decoder gives
        pictures out of the order of their times. No packet that is still to come is shown before it is decoded, so
        what is shown before the decoding time of the last packet is complete.
        """
        ready: list[Picture] = []
        all_of_them = all_of_them or self._flushed
        while self._early and (
            all_of_them or self._early[0].pts <= self._decoded_until or len(self._early) > _DEEPEST_REORDERING
        ):
            picture = self._early.pop(0)
            if picture.pts in self._filled:
                continue  # It came after a later one, and its place was filled.
            self._check_order(picture.pts)
            if self._conceals:
                ready += self._fill(picture.frame, before=picture.pts)
            self._last = picture.frame
            ready.append(picture)
        return ready

    def is_reference(self, pts: int) -> bool:
        """Whether a picture is shown after what the stream gives out, and was decoded for its neighbours only."""
        return self.description.emit is not None and pts >= self.description.emit[1]

    def take_key(self, pts: int) -> bool:
        """Whether a picture came as a key packet. To be asked once."""
        is_key = pts in self._keys
        self._keys.discard(pts)
        return is_key

    def _is_wanted(self, pts: int) -> bool:
        emit = self.description.emit
        return emit is None or pts == UNKNOWN or emit[0] <= pts < emit[1]

    def _check(self, frame: av.VideoFrame, pts: int) -> None:
        if frame.is_corrupt or pts in self._corrupt:
            if not self._conceals:
                raise BadInput(
                    "this picture is marked corrupt: part of its data is missing or damaged; mend or re-encode the "
                    "source, or set on_corrupt=conceal",
                    stage="decode",
                    seconds=self.seconds(pts),
                )
            self._concealed.append(pts)
        expected = self.description.decoded_size
        if (frame.width, frame.height) != expected:
            raise BadInput(
                f"the picture changes from {expected[0]}x{expected[1]} to {frame.width}x{frame.height} in the "
                "middle of the "
                "stream; a stream has one size: split or re-encode the source there",
                stage="decode",
                seconds=self.seconds(pts),
            )

    def _check_order(self, pts: int) -> None:
        """A damaged header can join two packets into one, whose picture then has the time of an earlier one."""
        if pts <= self._latest:
            raise BadInput(
                f"this picture came after that of {clock(self.seconds(self._latest) or 0.0)}: the data between them is "
                "damaged, or the container's times contradict the order of the pictures; remux the source with new "
                "times, re-encode it, or set on_corrupt=conceal",
                stage="decode",
                seconds=self.seconds(pts),
            )
        self._latest = pts

    def _lost(self, *, before: int | None = None) -> list[int]:
        """Times of packets that gave no picture, though one that is shown later (than `before`) came out."""
        if self.description.codec in _HIDDEN_PICTURES and not self._conceals:
            return []
        lost = (pts for pts in set(self._durations) - self._discarded if self._is_wanted(pts))
        return sorted(pts for pts in lost if before is None or pts < before)

    def _fill(self, frame: av.VideoFrame | DevicePicture, *, before: int | None) -> list[Picture]:
        """What stands in for lost pictures: the one before, or `frame` at the very beginning."""
        lost = self._lost(before=before)
        self._concealed += lost
        self._filled.update(lost)
        return [Picture(self._last or frame, pts, self._durations.pop(pts)) for pts in lost]

    def _missing_at_the_end(self) -> list[Picture]:
        missing = self._lost()
        if missing and self._conceals and self._last is not None:
            return self._fill(self._last, before=None)
        if missing:
            raise BadInput(
                f"{len(missing)} of the packets gave no picture, the first at "
                f"{clock(self.seconds(missing[0]) or 0.0)}: their "
                f"data is damaged or they refer to pictures that are not there; mend or re-encode the source, or set "
                "on_corrupt=conceal",
                stage="decode",
                seconds=self.seconds(missing[0]),
            )
        return []

    def _errors(self, doing: str, pts: int) -> Any:
        return codec_errors(
            doing,
            stage="decode",
            seconds=self.seconds(pts),
            advice="the data is damaged there; mend or re-encode the source, or set on_corrupt=conceal",
        )
