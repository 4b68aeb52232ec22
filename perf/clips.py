# SPDX-License-Identifier: MIT
"""The videos that everything here is measured on, as packets in memory: no disk and no demuxer in any figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType
from vireo_media.container import MediaSource, read_packets
from vireo_media.description import ENCODER_DEFAULTS, StreamDescription
from vireo_media.probing import probe
from vireo_media.segments import Segment
from vireo_media.times import UNKNOWN, CodedPacket

from perf.machine import ROOT

SAMPLE = ROOT / "demo" / "sample.mp4"
"""640x360, 250 frames at 25 a second, H.264 with B-frames, closed GOPs of 50."""
NETWORK = ROOT / "model_repository" / "super_resolution_network" / "1" / "model.onnx"

_MADE = ROOT / ".cache" / "perf"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video's packets in the file's order, and what START says of it; `encoder` holds the result's codec settings."""

    path: Path
    stream: StreamDescription
    packets: tuple[CodedPacket, ...]

    @property
    def frames(self) -> int:
        """How many pictures it has: one a packet."""
        return len(self.packets)

    @property
    def time_base(self) -> Fraction:
        """Of all time stamps, in seconds."""
        return Fraction(*self.stream.time_base)

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second."""
        assert self.stream.frame_rate is not None, f"{self.path} does not say its frame rate"
        return Fraction(*self.stream.frame_rate)

    @property
    def chosen_encoder(self) -> dict[str, Any]:
        """The codec settings that are not left to the service, as options of a client."""
        return {name: value for name, value in self.stream.encoder.items() if value is not None}

    def first(self, frames: int) -> Clip:
        """The clip's first frames; cut where a GOP ends, so that all of them can be decoded."""
        frames = min(frames, self.frames)
        while 0 < frames < self.frames and self._cuts_a_gop(frames):
            frames += 1
        return replace(self, packets=self.packets[:frames])

    def repeated(self, times: int) -> Clip:
        """The clip several times in a row, its time stamps going on."""
        length = max(packet.pts + packet.duration for packet in self.packets)
        return replace(
            self,
            packets=tuple(
                packet._replace(pts=packet.pts + n * length, dts=packet.dts + n * length)
                for n in range(times)
                for packet in self.packets
            ),
        )

    def encoded_with(self, encoder: Mapping[str, Any]) -> Clip:
        """The same clip, whose result is to be coded so: keys of the contract's `encoder`, e.g. preset."""
        return replace(self, stream=replace(self.stream, encoder={**ENCODER_DEFAULTS, **encoder}))

    def segment(self) -> Segment:
        """The whole clip as one sequence."""
        return Segment(
            index=0,
            first=0,
            reader=lambda: iter(self.packets),
            count=self.frames,
            frames=self.frames,
            kept=self.packets,
        )

    def _cuts_a_gop(self, frames: int) -> bool:
        """Whether a packet behind the cut is shown before one that is left."""
        last = max(packet.pts for packet in self.packets[:frames])
        return any(packet.pts < last for packet in self.packets[frames:])


def load_clip(path: Path) -> Clip:
    """Read a file's video packets. Raises InputError."""
    source = MediaSource(path)
    packets = tuple(read_packets(source))
    assert all(packet.pts != UNKNOWN and packet.dts != UNKNOWN for packet in packets), f"{path} has no full time stamps"
    return Clip(path=path, stream=probe(source).description, packets=packets)


def saved(clip: Clip) -> Clip:
    """The same clip with a file of its own: `path` holds its packets and no others."""
    path = _MADE / f"{clip.path.stem}-first-{clip.frames}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with av.open(str(clip.path)) as source, av.open(str(unfinished), "w", format="mp4") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in islice((packet for packet in source.demux(stream) if packet.size), clip.frames):
            packet.stream = copy
            target.mux(packet)
    unfinished.rename(path)
    return replace(clip, path=path)


def sample_clip() -> Clip:
    """The demo's clip: 640x360, 250 frames."""
    return load_clip(SAMPLE)


def live_clip(frames: int = 150) -> Clip:
    """The sample as a camera would send it: no B-frames, no lookahead, so a packet in is a picture out."""
    path = _MADE / f"live-{frames}.mp4"
    if not path.exists():
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": "20"}
        _write(path, _pictures(SAMPLE, frames=frames), size=(640, 360), options=options)
    return load_clip(path)


def tiny_clip(frames: int = 48) -> Clip:
    """160x96 and next to no work: for what depends on the length alone, and for tests of the programs here."""
    path = _MADE / f"tiny-{frames}.mp4"
    if not path.exists():
        _write(path, _pictures(SAMPLE, frames=frames), size=(160, 96), options={"preset": "ultrafast"})
    return load_clip(path)


def full_hd_clip(frames: int = 150) -> Clip:
    """1920x1080 from the sample's original, enlarged: H.264 with B-frames, closed GOPs of 50.

    Softer than a camera's 1080p, so its codecs have less to do and everything between them weighs more.
    """
    path = _MADE / f"full-hd-{frames}.mp4"
    if not path.exists():
        from vireo_training.degradation import frame_from_rgb
        from vireo_training.sample_clip import frames as originals

        pictures = (frame_from_rgb(picture, pts=n) for n, picture in enumerate(originals(range(frames))))
        options = {"preset": "veryfast", "crf": "20", "x264-params": "keyint=50:min-keyint=50:scenecut=0"}
        _write(path, pictures, size=(1920, 1080), options=options)
    return load_clip(path)


def ultra_hd_clip(frames: int = 48) -> Clip:
    """3840x2160, the same enlarged, 5 frames a second in GOPs of 24: a segment each."""
    path = _MADE / f"ultra-hd-{frames}.mp4"
    if not path.exists():
        options = {"preset": "ultrafast", "crf": "23", "x264-params": "keyint=24:min-keyint=24:scenecut=0"}
        _write(path, _pictures(full_hd_clip().path, frames=frames), size=(3840, 2160), options=options, rate=5)
    return load_clip(path)


def _pictures(path: Path, *, frames: int) -> Any:
    """So many pictures, the file's again and again."""
    while frames > 0:
        with av.open(str(path)) as container:
            for frame in islice(container.decode(video=0), frames):
                frames -= 1
                yield frame


def _write(path: Path, pictures: Any, *, size: tuple[int, int], options: dict[str, str], rate: int = 25) -> None:
    """An mp4 of these pictures, scaled to `size`; it appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 2
        for number, picture in enumerate(pictures):
            frame = picture.reformat(width=size[0], height=size[1], format="yuv420p", interpolation="LANCZOS")
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, rate), PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    unfinished.rename(path)
