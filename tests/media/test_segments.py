# SPDX-License-Identifier: MIT
"""Where videos are cut, and that cutting loses, doubles and changes nothing."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from vireo_media import segments as segments_module
from vireo_media.bitstream import cut_kind
from vireo_media.container import MediaSource, read_packets
from vireo_media.probing import VideoInput, probe
from vireo_media.segments import Segment, cut_segments, whole_video
from vireo_media.testing import numbered_clip
from vireo_media.times import FLAG_DISCARD, FLAG_KEY, UNKNOWN

Video = Callable[[str], VideoInput]


def cut(video: VideoInput, **arguments: int) -> list[Segment]:
    return list(cut_segments(video.source, video.description, **arguments))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("h264", 3),
        ("h264_ts", 3),
        ("h264_open", 3),
        ("h264_open_ts", 3),
        ("h264_refresh", 1),
        ("hevc", 3),
        ("hevc_open", 3),
        ("vp9", 3),
        ("vp8_hidden", 3),
        ("mpeg2", 3),
        ("mpeg4", 3),
        ("ffv1", 3),
        ("one_gop", 1),
        ("one_frame", 1),
        ("vfr", 1),
    ],
)
def test_segments_decode_to_the_same_pictures_as_the_whole(name: str, count: int, video: Video, decode) -> None:
    source = video(name)
    stream = source.description
    whole = decode(stream, whole_video(source.source, stream))
    parts = cut(source)
    joined = [decode(stream, segment) for segment in parts]

    assert [picture for part in joined for picture in part] == whole
    assert [number for _, number, _ in whole] == list(range(len(whole)))
    assert [segment.frames for segment in parts] == [len(part) for part in joined]
    assert len(parts) == count


def test_segments_of_every_cuttable_clip_start_at_least_4_s_apart(video: Video) -> None:
    for name in ("h264", "hevc_open", "vp9", "ffv1"):
        base = Fraction(*video(name).description.time_base)
        starts = [segment.first_pts for segment in cut(video(name))]
        gaps = [(later - earlier) * base for earlier, later in pairwise(starts)]
        assert gaps
        assert all(gap >= 4 for gap in gaps)


@pytest.mark.parametrize(("frames", "count"), [(125, 1), (126, 1), (127, 1), (149, 1), (150, 2), (160, 2)])
def test_a_rest_under_1_s_joins_the_segment_before(tmp_path: Path, frames: int, count: int) -> None:
    """25 frames/s with a key frame every 5 s: a rest of 0, 1, 2 and 24 frames joins, of 25 stands alone."""
    numbered_clip(tmp_path / "clip.mp4", frames=frames, gop=125, size=(64, 48))
    parts = cut(probe(MediaSource(tmp_path / "clip.mp4")))
    assert len(parts) == count
    assert sum(segment.frames or 0 for segment in parts) == frames


def test_a_rest_of_2_frames_joins_however_long_it_is(tmp_path: Path) -> None:
    numbered_clip(tmp_path / "clip.mp4", frames=6, fps=1, gop=4, bframes=0, size=(64, 48))
    assert [segment.frames for segment in cut(probe(MediaSource(tmp_path / "clip.mp4")))] == [6]
    numbered_clip(tmp_path / "clip.mp4", frames=30, fps=1, gop=4, bframes=0, size=(64, 48))
    assert [segment.frames for segment in cut(probe(MediaSource(tmp_path / "clip.mp4")))] == [4, 4, 4, 4, 4, 4, 6]


def test_open_gops_overlap_by_the_key_packet_and_what_leads_it(video: Video) -> None:
    source = video("hevc_open")
    parts = cut(source)
    place = next(place for place, segment in enumerate(parts) if segment.hidden)
    first, second = parts[place - 1], parts[place]
    packets = list(read_packets(source.source))
    key = packets[second.first]
    assert cut_kind("hevc", source.description.extradata, key.data) == "open"
    assert first.emit is not None
    assert second.emit is not None
    assert first.emit[1] == second.emit[0] == key.pts
    assert first.first + (first.count or 0) == second.first + 1 + second.hidden
    leading = list(second.packets())[1 : 1 + second.hidden]
    assert len(leading) == second.hidden
    assert all(packet.pts < key.pts and packet.flags & FLAG_DISCARD for packet in leading)


def test_closed_gops_do_not_overlap(video: Video) -> None:
    source = video("h264")
    parts = cut(source)
    assert [segment.emit for segment in parts] == [None, None, None]
    assert [(segment.first, segment.count) for segment in parts] == [(0, 100), (100, 100), (200, 50)]


def test_lookahead_adds_the_next_segments_first_frames(video: Video) -> None:
    for name in ("h264", "hevc_open"):
        source = video(name)
        plain, ahead = cut(source), cut(source, lookahead_frames=1)
        assert [segment.frames for segment in ahead] == [segment.frames for segment in plain]
        last = list(ahead[0].packets())
        assert ahead[0].emit is not None
        assert sum(packet.pts >= ahead[0].emit[1] for packet in last) >= 1
        assert ahead[-1].emit is None or ahead[-1].emit[1] > 2**62


def test_avi_is_one_segment_without_presentation_times(video: Video) -> None:
    source = video("avi")
    (segment,) = cut(source)
    assert segment.frames == 150
    assert {packet.pts for packet in segment.packets()} == {UNKNOWN}
    assert [packet.dts for packet in segment.packets()] == list(range(150))


def test_packets_before_the_first_key_packet_are_left_out(clip: Callable[[str], Path], tmp_path: Path, decode) -> None:
    """A recording that starts anywhere: the first packets of a transport stream are cut away."""
    data = clip("h264_ts").read_bytes()
    path = tmp_path / "anywhere.ts"
    path.write_bytes(data[188 * 40 :])
    source = probe(MediaSource(path))
    parts = cut(source)
    assert next(parts[0].packets()).flags & FLAG_KEY
    numbers = [number for segment in parts for _, number, _ in decode(source.description, segment)]
    assert numbers == list(range(numbers[0] or 0, 250))
    assert numbers[0] in range(1, 250)


def test_leading_pictures_of_a_first_open_key_packet_are_discarded(
    clip: Callable[[str], Path], tmp_path: Path, decode
) -> None:
    """A file that somebody cut at an open GOP: its leading pictures refer to what is no longer there."""
    import av

    path = tmp_path / "cut.mkv"
    with av.open(str(clip("hevc_open"))) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        keys = 0
        for packet in reader.demux(stream):
            keys += packet.is_keyframe
            if keys >= 2 and packet.size:
                packet.stream = copy
                writer.mux(packet)
    source = probe(MediaSource(path))
    parts = cut(source)
    shown = [number for segment in parts for _, number, _ in decode(source.description, segment)]
    assert shown == list(range(shown[0] or 0, 250))
    assert sum(segment.frames or 0 for segment in parts) == len(shown)


def test_a_long_segment_is_read_again_instead_of_kept(video: Video, decode, monkeypatch: pytest.MonkeyPatch) -> None:
    source = video("h264")
    kept = cut(source)
    monkeypatch.setattr(segments_module, "_MOST_BUFFERED", 2000)
    spilled = cut(source)
    assert [segment.kept is None for segment in spilled] == [True] * len(kept)
    for one, other in zip(kept, spilled, strict=True):
        assert list(one.packets()) == list(other.packets())
        assert (one.first, one.count, one.frames, one.emit, one.end_pts) == (
            other.first,
            other.count,
            other.frames,
            other.emit,
            other.end_pts,
        )


def test_a_segment_can_be_read_twice_and_in_any_chunk_size(video: Video) -> None:
    source = video("h264")
    for segment in [*cut(source), whole_video(source.source, source.description)]:
        once = list(segment.packets())
        for size in (1, 3, 8, 17):
            data = [packet for packets, _ in segment.chunks(size) for packet in packets]
            rows = [tuple(row) for _, timing in segment.chunks(size) for row in timing.tolist()]
            assert data == [packet.data for packet in once]
            assert rows == [packet[1:] for packet in once]
