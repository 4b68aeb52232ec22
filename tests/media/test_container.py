# SPDX-License-Identifier: MIT
"""What cannot be read says so in one message: what failed, what came, what is allowed, what to do."""

import ctypes
import io
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from vireo_media.container import MediaSource, libav_packet, read_packets
from vireo_media.errors import InputError, InputMissingError
from vireo_media.probing import probe
from vireo_media.testing import numbered_clip

Clip = Callable[[str], Path]


def message(source: object) -> str:
    with pytest.raises(InputError) as caught:
        probe(MediaSource(source))
    text = str(caught.value)
    assert ";" in text
    assert "\n" not in text
    return text


def test_a_missing_file_is_also_the_builtin_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file; check its name"):
        probe(MediaSource(tmp_path / "none.mp4"))
    assert issubclass(InputMissingError, InputError)


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in message(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "cannot be read" in message(path)


@pytest.mark.parametrize("suffix", ["txt", "mp4", "mkv", "srt", "nfo"])
def test_text_is_no_video_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    """libav would read `.txt` and `.nfo` as ANSI art."""
    path = tmp_path / f"notes.{suffix}"
    path.write_text("Dear diary,\n" * 100)
    assert "not a media file" in message(path)


def test_zero_bytes(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "is empty (0 bytes)" in message(path)


def test_audio_only(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    numbered_clip(clip, frames=10, audio="aac", size=(64, 48))
    path = tmp_path / "sound.m4a"
    with av.open(str(clip)) as reader, av.open(str(path), "w", format="mp4") as writer:
        sound = reader.streams.audio[0]
        copy = writer.add_stream_from_template(sound)
        for packet in reader.demux(sound):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    assert "has no video stream: it holds audio" in message(path)


@pytest.mark.parametrize("name", ["h264", "hevc_open", "vp9", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused_at_once(clip: Clip, tmp_path: Path, name: str, share: float) -> None:
    data = clip(name).read_bytes()
    path = tmp_path / clip(name).name
    path.write_bytes(data[: int(len(data) * share)])
    assert "is cut short" in message(path)


@pytest.mark.parametrize("name", ["h264", "hevc_open", "vp9", "avi", "h264_ts", "mpeg4", "ffv1", "one_frame"])
def test_a_whole_file_is_not_called_cut(clip: Clip, name: str) -> None:
    assert probe(MediaSource(clip(name))).description.width == 160


def test_a_cut_file_with_its_index_in_front(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "front.mp4"
    numbered_clip(path, frames=50, container_options={"movflags": "faststart"}, size=(64, 48))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[: len(data) * 2 // 3])
    assert f"is cut short: {len(data) * 2 // 3} bytes are there of the {len(data)}" in message(path)


def test_bytes_and_file_objects_are_read_like_files(clip: Clip) -> None:
    expected = list(read_packets(MediaSource(clip("h264"))))
    data = clip("h264").read_bytes()
    for source in (data, io.BytesIO(data)):
        media = MediaSource(source, name="MEDIA")
        assert probe(media).description == probe(MediaSource(clip("h264"))).description
        assert list(read_packets(media)) == expected
        assert list(read_packets(media)) == expected


def test_a_playlist_opens_no_other_file(clip: Clip, tmp_path: Path) -> None:
    """A stranger's file must not make a server read files or addresses of its own."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile:{clip('h264_ts')}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {clip('h264')}\n"
    for text in (playlist, concat):
        assert "not a media file" in message(text.encode())
        path = tmp_path / "list.m3u8"
        path.write_text(text)
        assert "not a media file" in message(path)


def test_a_name_with_a_colon_is_a_file(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "http:x y.mp4"
    path.write_bytes(clip("h264").read_bytes())
    assert probe(MediaSource(path)).description.codec == "h264"


def test_a_format_that_changes_in_the_middle_is_refused(tmp_path: Path) -> None:
    """FLV says anew how its video is coded: here another encoder's choice, as where a stream was begun again."""
    parts = []
    for options in ({"x264-params": "keyint=10:bframes=0"}, {"x264-params": "keyint=10:bframes=0:cabac=0"}):
        raw = io.BytesIO()
        numbered_clip(raw, frames=20, size=(64, 48), container="flv", options=options)
        parts.append(raw.getvalue())
    header = 9 + 4  # The file's header, and the size of the tag before the first.
    (tmp_path / "joined.flv").write_bytes(parts[0] + parts[1][header:])
    with pytest.raises(InputError, match=r"its video changes its format at 00:00:.*split it there"):
        list(read_packets(MediaSource(tmp_path / "joined.flv")))


@pytest.mark.parametrize(
    ("table", "row", "place", "number", "said"),
    [
        ("stsz", 9, 0, 1 << 24, "byte [0-9]+ of"),  # the tenth one has 16 MB
        ("stco", 1, 0, 1 << 30, "byte [0-9]+ of"),
        ("stsc", 0, 4, 3, "it has 30 pictures and says where .* are"),
        ("stsc", 0, 0, 2, "chunks of pictures are not in order"),
        ("stco", 0, -4, 0, "does not say where they are"),
    ],
)
def test_an_index_that_contradicts_itself_loses_no_picture_in_silence(
    tmp_path: Path, table: str, row: int, place: int, number: int, said: str
) -> None:
    """libav would read what it finds, and say nothing of the rest."""
    path = damaged_index(tmp_path, table, row, place, number)
    with pytest.raises(InputError, match=f"its index is damaged: .*{said}.*export it again"):
        list(read_packets(MediaSource(path)))


@pytest.mark.parametrize(
    ("table", "row", "place", "number", "said"),
    [
        ("stts", 0, 0, 29, "it has 30 pictures and the durations of 29"),
        ("stts", 0, 4, 4096, "its pictures last 122880 ticks, and the whole 15872"),
        ("ctts", 0, 0, 2, "it has 30 pictures and the times of showing of 31"),
    ],
)
def test_times_that_do_not_add_up_are_said(
    tmp_path: Path, table: str, row: int, place: int, number: int, said: str
) -> None:
    source = MediaSource(damaged_index(tmp_path, table, row, place, number))
    list(read_packets(source))
    assert said in source.remarks["index"]


def damaged_index(folder: Path, table: str, row: int, place: int, number: int) -> Path:
    """An mp4 with another `number` in the four bytes at `place` of a `row` of a `table` of its video."""
    path = folder / "damaged.mp4"
    numbered_clip(path, frames=30, size=(64, 48), gop=12, audio="aac")
    source = MediaSource(path)
    list(read_packets(source))
    assert not source.remarks
    data = bytearray(path.read_bytes())
    width, head = {"stsz": (4, 12), "stco": (4, 8), "stsc": (12, 8), "stts": (8, 8), "ctts": (8, 8)}[table]
    at = data.index(table.encode()) + 4 + head + width * row + place
    data[at : at + 4] = number.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def test_the_last_picture_shown_lasts_until_the_track_ends(tmp_path: Path) -> None:
    """Of a variable frame rate with B-frames: the container has the duration of another picture for it."""
    path = tmp_path / "vfr.mp4"
    times = [i * 40 + (i * i) % 37 for i in range(30)]
    numbered_clip(path, frames=30, size=(64, 48), gop=30, bframes=3, pts=times, time_base=Fraction(1, 1000))
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        end, base = video.start_time + video.duration, video.time_base
        coded = max((packet for packet in container.demux(video) if packet.size), key=lambda packet: packet.pts)
    packets = list(read_packets(MediaSource(path)))
    last = max(packets, key=lambda packet: packet.pts)
    assert last.pts + last.duration == end != coded.pts + coded.duration
    assert [packet.pts * base * 1000 for packet in sorted(packets, key=lambda packet: packet.pts)] == times


@pytest.mark.parametrize("container", ["flv", "matroska"])
def test_zeros_at_the_end_are_said_and_zeros_in_the_middle_are_damage(container: str) -> None:
    raw = io.BytesIO()
    live = {"live": "1"} if container == "matroska" else None  # Of a length that it does not say.
    numbered_clip(raw, frames=20, size=(64, 48), container=container, bframes=0, container_options=live)
    data = raw.getvalue()
    source = MediaSource(data + bytes(500))
    assert len(list(read_packets(source))) == 20
    assert "its last 500 bytes are zeros" in source.remarks["padding"]
    with pytest.raises(InputError, match="begins nothing that its container knows"):
        list(read_packets(MediaSource(data + bytes(500) + b"1")))


def test_a_cover_is_not_the_video(tmp_path: Path) -> None:
    """The cover comes first in the file, and a file with a cover and sound alone is sound."""
    path = tmp_path / "cover.mp4"
    numbered_clip(tmp_path / "cover.mkv", frames=1, size=(32, 32), codec="mjpeg", pixel_format="yuvj420p")
    numbered_clip(tmp_path / "clip.mp4", frames=20, size=(64, 48), audio="aac")
    for with_video in (True, False):
        with (
            av.open(str(tmp_path / "cover.mkv")) as cover,
            av.open(str(tmp_path / "clip.mp4")) as clip,
            av.open(str(path), "w") as writer,
        ):
            copies = {}
            for reader in (cover, clip):
                for stream in reader.streams:
                    if reader is clip and stream.type == "video" and not with_video:
                        continue
                    copies[id(reader), stream.index] = writer.add_stream_from_template(stream, opaque=True)
            copies[id(cover), 0].disposition = av.stream.Disposition.attached_pic
            for reader in (cover, clip):
                for packet in reader.demux():
                    copy = copies.get((id(reader), packet.stream_index))
                    if packet.size and copy is not None:
                        packet.stream = copy
                        writer.mux(packet)
        if with_video:
            assert probe(MediaSource(path)).description.width == 64
            assert len(list(read_packets(MediaSource(path)))) == 20
        else:
            assert "and a cover picture" in message(path)


def test_a_packet_ends_in_zeros_for_readers_that_go_beyond_it() -> None:
    """libav reads up to 64 bytes behind a packet. These lie side by side, so what is behind one is the next."""
    neighbours = [bytes([255]) * 100 for _ in range(1000)]
    for data in neighbours[::100]:
        packet = libav_packet(data, pts=0, dts=0, duration=1, time_base=Fraction(1, 25))
        assert bytes(packet) == data
        assert ctypes.string_at(packet.buffer_ptr + packet.size, 64) == bytes(64)
