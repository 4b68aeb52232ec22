# SPDX-License-Identifier: MIT
"""The written file: every frame at its time, everything else copied, and never half a file under its name."""

import base64
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from vireo_media import mux as mux_module
from vireo_media.coded import CodedSegment
from vireo_media.container import MediaSource
from vireo_media.dts import DtsBuilder, reorder_depth
from vireo_media.errors import ExchangeError, OutputError, OutputExistsError
from vireo_media.mux import check_codec, check_output, encoder_defaults, mux
from vireo_media.probing import VideoInput, probe
from vireo_media.testing import numbered_clip, numbered_frame, read_frames
from vireo_media.times import timing_rows
from vireo_media.verify import verify

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "ffv1": "ffv1"}
OPTIONS = {
    "h264": {"preset": "veryfast", "bf": "3"},
    "hevc": {"preset": "ultrafast", "x265-params": "bframes=3:log-level=none:pools=1"},
    "vp9": {"deadline": "realtime", "cpu-used": "8"},
    "ffv1": {},
}


def encode(
    pts: Sequence[int],
    *,
    index: int = 0,
    first: int = 0,
    codec: str = "h264",
    time_base: tuple[int, int] = (1, 25),
    duration: int = 1,
    **changes: Any,
) -> CodedSegment:
    """A segment as a service gives it back: numbered frames at `pts`, with the encoder's own (useless) DTS."""
    context: Any = av.CodecContext.create(ENCODERS[codec], "w")
    context.width, context.height, context.pix_fmt, context.thread_count = 160, 96, "yuv420p", 1
    context.time_base, context.framerate = Fraction(*time_base), Fraction(25)
    context.flags |= 1 << 22  # global header
    context.options = OPTIONS[codec]
    context.open()
    packets: list[Any] = []
    for place, value in enumerate(pts):
        frame = numbered_frame(first + place, size=(160, 96))
        frame.pts, frame.time_base = value, Fraction(*time_base)
        packets += context.encode(frame)
    packets += context.encode(None)
    output = {
        "codec": codec,
        "extradata": base64.b64encode(context.extradata or b"").decode(),
        "width": 160,
        "height": 96,
        "pixel_format": "yuv420p",
        "time_base": list(time_base),
        "sample_aspect_ratio": None,
        "rotation": 0,
        "color": {
            "matrix": "bt709",
            "range": "tv",
            "transfer": "bt709",
            "primaries": "bt709",
            "chroma_location": "left",
        },
        "hdr": None,
        "frame_rate": [25, 1],
    }
    rows = timing_rows([(packet.pts, -12345, duration, int(packet.is_keyframe)) for packet in packets])
    data = [bytes(packet) for packet in packets]
    return CodedSegment(index=index, output=output | changes, timing=lambda: rows, packets=lambda: data)


@pytest.fixture(scope="session")
def source_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    numbered_clip(path, frames=100, size=(64, 48), audio="aac", metadata={"title": "A title"})
    return path


@pytest.fixture
def source(source_path: Path) -> VideoInput:
    return probe(MediaSource(source_path))


def sound(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("lengths", [(100,), (40, 1, 2, 3, 54), (1, 99), (98, 2)])
@pytest.mark.parametrize(("codec", "suffix"), [("h264", "mp4"), ("hevc", "mp4"), ("h264", "mov"), ("vp9", "webm")])
def test_segments_of_any_length_join(
    tmp_path: Path, source: VideoInput, lengths: Sequence[int], codec: str, suffix: str
) -> None:
    """Parts of 1 and 2 frames too: their encoders' DTS would end the file early (x264) or be rubbish (x265)."""
    segments, first = [], 0
    for index, length in enumerate(lengths):
        segments.append(encode(range(first, first + length), index=index, first=first, codec=codec))
        first += length
    path = tmp_path / f"out.{suffix}"
    result = mux(path, segments=segments, source=source)
    shown = list(read_frames(path))
    assert [number for _, number in shown] == list(range(100))
    assert [time for time, _ in shown] == [Fraction(i, 25) for i in range(100)]
    assert (result.frames, result.duration_seconds) == (100, 4.0)
    with av.open(str(path)) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.size]
        assert times == sorted(set(times))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_frame_that_the_muxer_drops_is_noticed(
    tmp_path: Path, source: VideoInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = mux_module._video_packets
    monkeypatch.setattr(mux_module, "_video_packets", lambda *args, **kwargs: list(packets(*args, **kwargs))[:-1])
    with pytest.raises(OutputError, match="9 frames are in the 'mp4' file that was written, of 10"):
        mux(tmp_path / "out.mp4", segments=[encode(range(10))], source=source)
    assert list(tmp_path.iterdir()) == []


def test_joined_pictures_are_those_of_the_parts(tmp_path: Path, source: VideoInput) -> None:
    parts = [encode(range(50), first=0), encode(range(50, 100), index=1, first=50)]
    expected = []
    for number, part in enumerate(parts):
        mux(tmp_path / f"{number}.mp4", segments=[part], source=source)
        expected += pictures(tmp_path / f"{number}.mp4")
    mux(tmp_path / "joined.mp4", segments=parts, source=source)
    assert pictures(tmp_path / "joined.mp4") == expected


def pictures(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [np.ascontiguousarray(frame.to_ndarray()).tobytes() for frame in container.decode(video=0)]


@pytest.mark.parametrize("time_base", [(1, 1000), (1001, 24000), (1, 90000)])
def test_a_variable_frame_rate_keeps_every_time(tmp_path: Path, source: VideoInput, time_base: tuple[int, int]) -> None:
    pts = [7 + 40 * i + (i * i) % 37 for i in range(60)]
    parts = [encode(pts[:35], time_base=time_base), encode(pts[35:], index=1, first=35, time_base=time_base)]
    mux(tmp_path / "out.mp4", segments=parts, source=source)
    shown = list(read_frames(tmp_path / "out.mp4"))
    assert shown == [(Fraction(value) * Fraction(*time_base), number) for number, value in enumerate(pts)]


def test_sound_and_metadata_are_copied_untouched(tmp_path: Path, source: VideoInput, source_path: Path) -> None:
    mux(tmp_path / "out.mp4", segments=[encode(range(100))], source=source)
    assert sound(tmp_path / "out.mp4") == sound(source_path)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["title"] == "A title"
        assert container.streams.video[0].codec_tag == "avc1"


def test_everything_beside_the_picture_is_copied(tmp_path: Path) -> None:
    """Two sounds with languages, a subtitle, chapters and a font, in Matroska."""
    path = rich_file(tmp_path)
    result = mux(tmp_path / "out.mkv", segments=[encode(range(50))], source=probe(MediaSource(path)))
    assert result.warnings == ()
    with av.open(str(path)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        kinds = [
            (stream.type, stream.metadata.get("language"), stream.metadata.get("title")) for stream in after.streams
        ]
        assert kinds == [
            ("video", "jpn", "A picture"),
            ("audio", "eng", "Main"),
            ("audio", "deu", None),
            ("subtitle", "fra", None),
            ("attachment", None, None),
        ]
        assert [chapter["metadata"] for chapter in after.chapters()] == [{"title": "One"}, {"title": "Two"}]
        assert [(c["start"], c["end"]) for c in after.chapters()] == [(c["start"], c["end"]) for c in before.chapters()]
        assert after.streams[4].data == b"a font"
        assert after.streams[4].metadata == {"filename": "font.ttf", "mimetype": "font/ttf"}
        assert [stream.disposition for stream in after.streams] == [stream.disposition for stream in before.streams]
        assert len({stream.disposition for stream in after.streams}) == 4
    for index in (1, 2, 3):
        assert packets_of(tmp_path / "out.mkv", index) == packets_of(path, index) != []


def packets_of(path: Path, index: int) -> list[tuple[int, int, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux(index) if packet.size]


def rich_file(folder: Path) -> Path:
    path = folder / "rich.mkv"
    numbered_clip(folder / "plain.mkv", frames=50, size=(64, 48), audio="aac", bframes=0)
    # A part of a subtitle file, so that libav makes the packets.
    srt = "1\n00:00:00,500 --> 00:00:01,000\nBonjour\n\n2\n00:00:01,200 --> 00:00:01,900\nLe monde\n\n"
    with (
        av.open(str(folder / "plain.mkv")) as plain,
        av.open(io.BytesIO(srt.encode()), format="srt") as words,
        av.open(str(path), "w") as writer,
    ):
        picture, tone = plain.streams.video[0], plain.streams.audio[0]
        copies = {
            0: [writer.add_stream_from_template(picture, opaque=True)],
            1: [writer.add_stream_from_template(tone), writer.add_stream_from_template(tone)],
        }
        copies[0][0].metadata.update({"language": "jpn", "title": "A picture"})
        copies[0][0].disposition = Disposition.original | Disposition.default
        copies[1][0].disposition = Disposition.dub | Disposition.default
        copies[1][0].metadata.update({"language": "eng", "title": "Main"})
        copies[1][1].metadata.update({"language": "deu"})
        subtitle = writer.add_stream_from_template(words.streams.subtitles[0])
        subtitle.metadata["language"] = "fra"
        subtitle.disposition = Disposition.forced
        writer.add_attachment("font.ttf", "font/ttf", b"a font")
        base = Fraction(1, 1000)
        writer.set_chapters(
            [
                {"id": 1, "start": 0, "end": 1000, "time_base": base, "metadata": {"title": "One"}},
                {"id": 2, "start": 1000, "end": 2000, "time_base": base, "metadata": {"title": "Two"}},
            ]
        )
        for packet in words.demux(0):
            if packet.size:
                packet.stream = subtitle
                writer.mux(packet)
        for packet in plain.demux():
            for copy in copies[packet.stream_index] if packet.size else []:
                packet.stream = copy
                writer.mux(packet)
    return path


def test_what_the_container_cannot_hold_is_named(tmp_path: Path) -> None:
    path = rich_file(tmp_path)
    result = mux(tmp_path / "out.mp4", segments=[encode(range(50))], source=probe(MediaSource(path)))
    assert [warning.split(" was ")[0] for warning in result.warnings] == [
        "subtitle stream #3 (subrip)",
        "attachment stream #4 (font.ttf)",
    ]
    assert all("mp4 cannot hold it" in warning for warning in result.warnings)
    result = mux(tmp_path / "out.ts", segments=[encode(range(50))], source=probe(MediaSource(path)))
    assert any("2 chapters were left out" in warning for warning in result.warnings)
    assert any("subtitle stream #3 (subrip) was left out: mpegts" in warning for warning in result.warnings)
    result = mux(tmp_path / "out.webm", segments=[encode(range(50), codec="vp9")], source=probe(MediaSource(path)))
    assert sum("aac" in warning for warning in result.warnings) == 2


@pytest.mark.parametrize(
    ("codec", "location", "is_said"), [("vp9", "topleft", False), ("vp9", "left", True), ("hevc", "topleft", True)]
)
def test_where_chroma_lies_is_said_in_words_where_the_codec_does_not(
    tmp_path: Path, source: VideoInput, codec: str, location: str, is_said: bool
) -> None:
    segment = encode(range(3), codec=codec)
    segment = replace(
        segment, output={**segment.output, "color": {**segment.output["color"], "chroma_location": location}}
    )
    warnings = mux(tmp_path / "out.mkv", segments=[segment], source=source).warnings
    assert any("does not say that chroma lies topleft" in warning for warning in warnings) != is_said


@pytest.mark.parametrize(("layout", "is_kept"), [("stereo", True), ("7.1", True), ("hexadecagonal", False)])
def test_pcm_without_a_layout_goes_to_mp4_where_one_is_usual(tmp_path: Path, layout: str, is_kept: bool) -> None:
    """Matroska, MXF and AVI say how many channels it has and no more; libav's mp4 muxer wants to know which."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as writer:
        video, sound = writer.add_stream("ffv1", rate=25), writer.add_stream("pcm_s16le", rate=48000, layout=layout)
        video.width, video.height = 64, 48
        for place in range(5):
            picture = numbered_frame(place, size=(64, 48))
            picture.pts, picture.time_base = place, Fraction(1, 25)
            samples = av.AudioFrame(format="s16", layout=layout, samples=1920)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = 48000, 1920 * place, Fraction(1, 48000)
            writer.mux([*video.encode(picture), *sound.encode(samples)])
        writer.mux([*video.encode(None), *sound.encode(None)])
    source = probe(MediaSource(path))
    result = mux(tmp_path / "out.mp4", segments=[encode(range(5))], source=source)
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert [stream.layout.name for stream in written.streams.audio] == [layout] * is_kept
    assert any("pcm_s16le" in warning and "left out" in warning for warning in result.warnings) != is_kept
    assert verify(path, tmp_path / "out.mp4", with_sound=is_kept).differences == ()


@pytest.mark.parametrize(("name", "fragmented"), [("out.mkv", False), ("out.mp4", True), ("out.mp4", False)])
def test_sound_that_an_edit_list_hides_is_not_heard_anywhere(tmp_path: Path, name: str, fragmented: bool) -> None:
    """An mp4 that was cut without coding anew: a second of picture and sound before time 0."""
    raw = io.BytesIO()
    numbered_clip(raw, frames=50, size=(160, 96), gop=50, audio="aac", container="mp4")
    raw.seek(0)
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(raw) as reader, av.open(str(tmp_path / "in.mp4"), "w", container_options=options) as writer:
        copies = [writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams]
        for packet in reader.demux():
            if packet.size:
                shift = round(1 / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream_index]
                writer.mux(packet)
    source = probe(MediaSource(tmp_path / "in.mp4"))
    target = tmp_path / name
    mux(target, segments=[encode(range(25), first=25)], source=source, fragmented=fragmented)
    with av.open(str(target)) as written:
        packets = [packet for packet in written.demux() if packet.size]
        first = [
            min(packet.pts * packet.time_base for packet in packets if packet.stream_index == index) for index in (0, 1)
        ]
    # The packet in which it begins to be heard, and the one with which a decoder begins.
    assert Fraction(1024, 48000) < first[0] - first[1] < Fraction(2 * 1024, 48000)
    assert verify(tmp_path / "in.mp4", target).differences == ()


def test_chapters_of_mp4_are_a_track_there_and_written_anew(tmp_path: Path) -> None:
    mux(tmp_path / "in.mp4", segments=[encode(range(50))], source=probe(MediaSource(rich_file(tmp_path))))
    source = probe(MediaSource(tmp_path / "in.mp4"))
    for name in ("out.mp4", "out.mkv"):
        warnings = mux(tmp_path / name, segments=[encode(range(50))], source=source).warnings
        assert not any("left out" in warning for warning in warnings)
        with av.open(str(tmp_path / name)) as after:
            assert [chapter["metadata"] for chapter in after.chapters()] == [{"title": "One"}, {"title": "Two"}]
    warnings = mux(tmp_path / "out.ts", segments=[encode(range(50))], source=source).warnings
    left_out = [warning.partition(":")[0] for warning in warnings if "left out" in warning]
    assert left_out == ["2 chapters were left out", "tags were left out"]


def tagged_file(folder: Path) -> Path:
    """A film with tags that only some containers hold, and a cover as mp4 has it."""
    plain, cover, path = (folder / name for name in ("plain.mp4", "cover.mov", "tagged.mp4"))
    numbered_clip(plain, frames=10, size=(64, 48), audio="aac", bframes=0)
    numbered_clip(cover, frames=1, size=(32, 32), codec="png", pixel_format="rgb24")
    with av.open(str(plain)) as reader, av.open(str(cover)) as picture, av.open(str(path), "w") as writer:
        video, sound = (writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams)
        video.metadata.update({"title": "A track", "language": "swe"})
        sound.metadata["language"] = "deu"
        image = writer.add_stream_from_template(picture.streams.video[0], opaque=True)
        image.disposition = Disposition.attached_pic
        writer.metadata.update({"title": "A film", "show": "A series"})
        for source, copies in ((picture, [image]), (reader, [video, sound])):
            for packet in source.demux():
                if packet.size:
                    packet.stream = copies[packet.stream_index]
                    writer.mux(packet)
    return path


def test_tags_that_a_container_cannot_hold_are_named(tmp_path: Path) -> None:
    source = probe(MediaSource(tagged_file(tmp_path)))
    lost = {}
    for name in ("out.mp4", "out.mkv", "out.mov", "out.ts"):
        warnings = mux(tmp_path / name, segments=[encode(range(10))], source=source).warnings
        lost[name] = [warning.partition(": ")[2].partition(": ")[0] for warning in warnings if "tags were" in warning]
    assert lost.pop("out.ts") == ["language, title of video stream #0; show, title of the file"]
    assert lost == {"out.mp4": [], "out.mkv": [], "out.mov": ["show of the file"]}
    titles = {"out.mp4": "name", "out.mkv": "title", "out.mov": "name"}
    for name, key in titles.items():
        with av.open(str(tmp_path / name)) as written:
            assert written.streams.video[0].metadata[key] == "A track"
            languages = [written.streams.get(**{kind: 0})[0].metadata["language"] for kind in ("video", "audio")]
            assert languages == (["sve", "ger"] if name == "out.mov" else ["swe", "deu"])


def test_a_cover_stays_one_or_is_named(tmp_path: Path) -> None:
    source = probe(MediaSource(tagged_file(tmp_path)))
    for name, stays in (("out.mp4", True), ("out.mkv", True), ("out.mov", False), ("out.ts", False)):
        warnings = mux(tmp_path / name, segments=[encode(range(10))], source=source).warnings
        assert any("cannot hold covers" in warning for warning in warnings) == (not stays)
        with av.open(str(tmp_path / name)) as written:
            covers = [stream for stream in written.streams.video if stream.disposition & Disposition.attached_pic]
            assert len(covers) == stays
            assert len(written.streams.video) == 1 + stays
    with av.open(str(tmp_path / "out.mkv")) as written:
        assert written.streams.video[1].metadata["mimetype"] == "image/png"
        assert next(written.decode(video=1)).width == 32


def test_a_time_code_stays_and_nothing_is_said(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mov"), "w") as writer:
        stream: Any = writer.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "01:00:00:00"
        for number in range(10):
            writer.mux(stream.encode(numbered_frame(number, size=(64, 48))))
        writer.mux(stream.encode())
    source = probe(MediaSource(tmp_path / "in.mov"))
    for name in ("out.mov", "out.mp4", "out.mkv"):
        assert mux(tmp_path / name, segments=[encode(range(10))], source=source).warnings == ()
        with av.open(str(tmp_path / name)) as after:
            video = after.streams.video[0]
            assert (video.metadata.get("timecode") or video.metadata.get("TIMECODE")) == "01:00:00:00"


def test_a_second_video_stream_is_named(tmp_path: Path, source_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(source_path)) as reader, av.open(str(path), "w") as writer:
        copies = [writer.add_stream_from_template(reader.streams.video[0], opaque=True) for _ in range(2)]
        for packet in reader.demux(video=0):
            for copy in copies if packet.size else []:
                packet.stream = copy
                writer.mux(packet)
    result = mux(tmp_path / "out.mkv", segments=[encode(range(10))], source=probe(MediaSource(path)))
    assert any("video stream #1 (h264) was left out" in warning for warning in result.warnings)


def test_hevc_in_mp4_is_tagged_hvc1_and_colours_are_written(tmp_path: Path, source: VideoInput) -> None:
    mux(tmp_path / "out.mp4", segments=[encode(range(10), codec="hevc")], source=source)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_tag == "hvc1"
        context = stream.codec_context
        assert (context.colorspace, context.color_range, context.color_trc, context.color_primaries) == (1, 1, 1, 1)


MASTERING = {
    "red": [[35400, 50000], [14600, 50000]],
    "green": [[8500, 50000], [39850, 50000]],
    "blue": [[6550, 50000], [2300, 50000]],
    "white": [[15635, 50000], [16450, 50000]],
    "min_luminance": [50, 10000],
    "max_luminance": [10000000, 10000],
}
LIGHT = {"max_content": 1000, "max_average": 400}


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("hevc", "mp4"), ("h264", "mov"), ("hevc", "mkv"), ("vp9", "webm"), ("vp9", "mp4"), ("ffv1", "mkv")],
)
@pytest.mark.parametrize(
    "hdr",
    [
        {"mastering_display": MASTERING, "content_light": LIGHT},
        {"mastering_display": None, "content_light": LIGHT},
        {"mastering_display": MASTERING, "content_light": None},
    ],
)
def test_the_container_says_the_mastering_display(
    tmp_path: Path, source: VideoInput, codec: str, suffix: str, hdr: dict[str, Any]
) -> None:
    """The coded stream here says nothing of it, so what is read back is what the container says."""
    path = tmp_path / f"out.{suffix}"
    mux(path, segments=[encode(range(5), codec=codec, hdr=hdr)], source=source)
    assert as_numbers(probe(MediaSource(path)).description.hdr) == as_numbers(hdr)
    assert [number for _, number in read_frames(path)] == list(range(5))
    if suffix in ("mp4", "mov"):
        data = path.read_bytes()
        assert (b"mdcv" in data, b"clli" in data) == tuple(value is not None for value in hdr.values())


def as_numbers(value: Any) -> Any:
    """JSON with its [n, d] pairs as fractions, because Matroska keeps floating-point numbers."""
    if isinstance(value, dict):
        return {key: as_numbers(item) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return round(Fraction(*value), 6)
    return [as_numbers(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_rotation_is_kept(tmp_path: Path, angle: int) -> None:
    numbered_clip(tmp_path / "in.mp4", frames=10, size=(64, 48), rotation=angle)
    source = probe(MediaSource(tmp_path / "in.mp4"))
    segment = encode(range(10), rotation=source.description.rotation)
    for name in ("out.mp4", "out.mov", "out.mkv"):
        assert mux(tmp_path / name, segments=[segment], source=source).warnings == ()
        assert probe(MediaSource(tmp_path / name)).description.rotation == source.description.rotation
    assert "cannot hold the rotation" in mux(tmp_path / "out.ts", segments=[segment], source=source).warnings[0]


def test_a_rotation_that_is_the_services_own_is_written(tmp_path: Path, source: VideoInput) -> None:
    mux(tmp_path / "out.mp4", segments=[encode(range(10), rotation=90)], source=source)
    assert probe(MediaSource(tmp_path / "out.mp4")).description.rotation == 90


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("h264", "mp4"), ("hevc", "mov"), ("vp9", "mp4"), ("vp9", "webm"), ("ffv1", "mkv"), ("h264", "ts")],
)
def test_the_container_says_the_sample_aspect_ratio_or_a_warning_does(
    tmp_path: Path, source: VideoInput, codec: str, suffix: str
) -> None:
    """The coded stream here says nothing of it, and VP9 and FFV1 never do."""
    path = tmp_path / f"out.{suffix}"
    result = mux(path, segments=[encode(range(5), codec=codec, sample_aspect_ratio=[16, 11])], source=source)
    said = probe(MediaSource(path)).description.sample_aspect_ratio
    warned = any("does not say the sample aspect ratio of 16:11" in warning for warning in result.warnings)
    assert (said or (1, 1), warned) == (((1, 1), True) if suffix == "ts" else ((16, 11), False))


@pytest.mark.parametrize("name", [None, "Main", "N" * 200])
def test_the_shape_of_pixels_moves_nothing_else_in_a_matroska_file(tmp_path: Path, name: str | None) -> None:
    named, path, target = tmp_path / "source.mkv", tmp_path / "out.mkv", io.BytesIO()
    numbered_clip(named, frames=5, size=(64, 48))
    with av.open(str(named)) as reader, av.open(str(tmp_path / "named.mkv"), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        copy.metadata.update({"title": name} if name else {})
        for packet in reader.demux(0):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    source = probe(MediaSource(tmp_path / "named.mkv"))
    segments = [encode(range(50), codec="vp9", sample_aspect_ratio=[16, 11])]
    mux(path, segments=segments, source=source)
    mux(target, segments=segments, source=source, format="matroska")
    assert target.getvalue() == path.read_bytes()
    header = re.search(rb"\x16\x54\xae\x6b(..)\xbf\x84(....)", path.read_bytes(), re.DOTALL)
    assert header is not None  # Tracks, whose first element is the checksum of the others.
    end = header.start(2) - 2 + (int.from_bytes(header[1], "big") & 0x3FFF)
    assert int.from_bytes(header[2], "little") == zlib.crc32(path.read_bytes()[header.end() : end])
    with av.open(str(path)) as written:
        stream = written.streams.video[0]
        assert (stream.metadata.get("title"), stream.sample_aspect_ratio) == (name, Fraction(16, 11))
        written.seek(1000000, backward=True)
        assert next(written.decode(stream)).time is not None
    assert [number for _, number in read_frames(path)] == list(range(50))


def test_lossless_ffv1_goes_into_mkv(tmp_path: Path, source: VideoInput) -> None:
    segment = encode(range(10), codec="ffv1")
    mux(tmp_path / "out.mkv", segments=[segment], source=source)
    assert [number for _, number in read_frames(tmp_path / "out.mkv")] == list(range(10))
    with pytest.raises(OutputError, match=r"'webm' file cannot hold codec 'ffv1'.*choose another container"):
        mux(tmp_path / "out.webm", segments=[segment], source=source)
    with pytest.raises(OutputError, match="cannot hold codec 'h264'"):
        check_codec("webm", "h264")
    check_codec("webm", encoder_defaults("webm")["codec"])
    check_codec("mp4", encoder_defaults("mp4")["codec"])


def test_times_between_milliseconds_are_named_where_they_move(tmp_path: Path, source: VideoInput) -> None:
    exact, between = encode(range(10)), encode(range(10), time_base=(1001, 24000))
    assert mux(tmp_path / "out.webm", segments=[vp9(exact)], source=source).warnings[1:] == ()
    assert "to the millisecond" in mux(tmp_path / "out.mkv", segments=[between], source=source).warnings[0]
    assert mux(tmp_path / "out.mp4", segments=[between], source=source).warnings == ()


def test_sound_that_begins_before_time_0_moves_all_where_it_must_not_and_is_said(
    tmp_path: Path, source: VideoInput
) -> None:
    """The source's AAC has its 1024 samples of priming there; Matroska holds none before 0."""
    result = mux(tmp_path / "out.mkv", segments=[encode(range(10))], source=source)
    assert result.warnings == ("matroska holds no negative times: all of them, picture and sound, moved by 0.021 s",)
    assert next(iter(read_frames(tmp_path / "out.mkv")))[0] == Fraction(21, 1000)
    assert packets_of(tmp_path / "out.mkv", 1)[0][0] == 0


def vp9(segment: CodedSegment) -> CodedSegment:
    return encode(segment.timing()[:, 0].tolist(), codec="vp9")


def test_the_same_packets_give_the_same_bytes(tmp_path: Path, source: VideoInput) -> None:
    parts = [encode(range(50)), encode(range(50, 100), index=1, first=50)]
    for suffix in ("mp4", "mkv", "mov", "ts"):
        files = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
        for file in files:
            mux(file, segments=parts, source=source)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_object_can_be_written(tmp_path: Path, source: VideoInput) -> None:
    target = io.BytesIO()
    mux(target, segments=[encode(range(100))], source=source, format="mp4")
    assert [number for _, number in read_frames(target.getvalue())] == list(range(100))
    with pytest.raises(OutputError, match="give `format`"):
        mux(io.BytesIO(), segments=[encode(range(3))], source=source)


def test_segments_that_do_not_fit_are_refused(tmp_path: Path, source: VideoInput) -> None:
    first = encode(range(10))
    for second, words in (
        (encode(range(10, 20), index=1, extradata="AAAA"), "another extradata than segment 0"),
        (encode(range(10, 20), index=1, codec="hevc"), "another codec, extradata"),
        (encode(range(9, 20), index=1), "segment 1 begins at 00:00:00.360, before the one before it ends"),
    ):
        with pytest.raises(ExchangeError, match=words):
            mux(tmp_path / "out.mp4", segments=[first, second], source=source)
    timing = first.timing().copy()
    timing[3, 0] = -(2**63)
    with pytest.raises(ExchangeError, match="frames without a time"):
        mux(tmp_path / "out.mp4", segments=[replace(first, timing=lambda: timing)], source=source)
    with pytest.raises(OutputError, match="no frame came back"):
        mux(tmp_path / "out.mp4", segments=[encode([])], source=source)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug"), OSError(28, "No space left on device")])
def test_nothing_is_left_behind_when_writing_fails(
    tmp_path: Path, source: VideoInput, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output that was there stays as it was."""
    path = tmp_path / "out.mp4"
    path.write_text("before")

    def broken() -> Any:
        yield from list(encode(range(5)).packets())[:3]
        raise error

    segment = replace(encode(range(5)), packets=broken)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        mux(path, segments=[segment], source=source)
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    assert check_output(tmp_path / "new.MKV", overwrite=False) == "matroska"
    (tmp_path / "there.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    assert check_output(tmp_path / "there.mp4", overwrite=True) == "mp4"
    for name, words in (
        ("clip.avi", r"suffix '\.avi' names no container.*allowed are \.mp4, \.m4v"),
        ("folder.mp4", "is a folder"),
        ("none/clip.mp4", "there is no folder"),
    ):
        with pytest.raises(OutputError, match=words):
            check_output(tmp_path / name, overwrite=True)
    with pytest.raises(OutputExistsError, match="is there already"):
        check_output(tmp_path / "there.mp4", overwrite=False)


@pytest.mark.parametrize(
    ("pts", "depth"),
    [([], 0), ([5], 0), ([0, 1, 2], 0), ([0, 2, 1], 1), ([0, 4, 2, 1, 3], 2), ([0, 8, 4, 2, 1, 3, 6, 5, 7], 3)],
)
def test_the_reorder_depth_is_the_smallest_that_decodes_in_time(pts: list[int], depth: int) -> None:
    assert reorder_depth(pts) == depth
    times = list(DtsBuilder(depth=depth, step=1).of(pts))
    assert times == sorted(set(times))
    assert all(dts <= value for dts, value in zip(times, pts, strict=True))
    if depth:
        times = list(DtsBuilder(depth=depth - 1, step=1).of(pts))
        assert any(dts > value for dts, value in zip(times, pts, strict=True))


def test_every_suffix_has_a_muxer() -> None:
    for format in mux_module.FORMATS.values():
        assert av.format.ContainerFormat(format, "w").is_output


def test_fragments_begin_at_key_frames_and_say_when_each_track_starts(tmp_path: Path, source: VideoInput) -> None:
    """Nothing but the header differs for a player: the same times, and the sound as far from the picture."""
    segments = [encode(range(0, 80)), encode(range(80, 160), index=1, first=80)]
    mux(tmp_path / "plain.mp4", segments=segments, source=source)
    result = mux(tmp_path / "fragmented.mp4", segments=segments, source=source, fragmented=True)
    assert result.frames == 160
    data = (tmp_path / "fragmented.mp4").read_bytes()
    assert data.count(b"moof") >= 2
    assert data.index(b"moov") < data.index(b"moof")
    for index in (0, 1):
        times = [[row[0] for row in packets_of(tmp_path / name, index)] for name in ("plain.mp4", "fragmented.mp4")]
        assert times[0] == times[1] != []


def test_a_picture_before_time_0_moves_everything_with_it(tmp_path: Path, source: VideoInput) -> None:
    """In an mp4 those pictures would lie behind the edit list."""
    result = mux(tmp_path / "out.mp4", segments=[encode(range(-5, 45))], source=source)
    assert any("moved by 0.200 s" in warning for warning in result.warnings)
    assert [number for _, number in read_frames(tmp_path / "out.mp4")] == list(range(50))
    before, after = packets_of(source_file(source), 1), packets_of(tmp_path / "out.mp4", 1)
    assert after[0][0] - before[0][0] == 48000 // 5


def test_chapters_move_with_the_picture(tmp_path: Path) -> None:
    source = probe(MediaSource(rich_file(tmp_path)))
    mux(tmp_path / "out.mkv", segments=[encode(range(-5, 45))], source=source)
    with av.open(str(tmp_path / "out.mkv")) as after:
        times = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in after.chapters()]
    assert times == [(Fraction(1, 5), Fraction(6, 5)), (Fraction(6, 5), Fraction(11, 5))]


def source_file(source: VideoInput) -> Path:
    return Path(source.source.name)
