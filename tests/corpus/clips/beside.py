# SPDX-License-Identifier: MIT
"""Clips with something beside the picture."""

import io
from fractions import Fraction
from pathlib import Path

import av
import av.stream
from vireo_media.testing import numbered_clip

from .case import SIZE, Case

GROUP = "beside the picture"


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


CASES = (
    Case(name="rich", group=GROUP, comes="two sounds, a subtitle, chapters, a title, a font; to mkv",
         gives="all of it, untouched", suffix=".mkv", output=".mkv", make=_rich),
    Case(name="rich_to_mp4", group=GROUP, comes="the same, to mp4", gives="what mp4 can hold; the rest is named",
         suffix=".mkv", make=_rich, notes=("subtitle stream", "font.ttf")),
    Case(name="cover", group=GROUP, comes="a cover picture", gives="the cover beside the video", suffix=".mp4",
         make=_cover),
)  # fmt: skip
