# SPDX-License-Identifier: MIT
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from vireo_training import sample_clip as maker
from vireo_training.degradation import frame_from_rgb, halve, rgb_from_frame
from vireo_training.evaluation import psnr_y

LOOKED_AT = (0, 62, 125, 190, 249)


@pytest.fixture(scope="module")
def decoded(sample_clip: Path) -> list[av.VideoFrame]:
    with av.open(str(sample_clip)) as container:
        return list(container.decode(video=0))


def test_the_clip_has_its_frames_at_their_times(decoded: list[av.VideoFrame]) -> None:
    assert len(decoded) == maker.FRAMES
    times = [frame.pts * frame.time_base for frame in decoded if frame.pts is not None and frame.time_base is not None]
    assert times == [Fraction(index, maker.RATE) for index in range(maker.FRAMES)]
    assert {(frame.width, frame.height, frame.format.name) for frame in decoded} == {(640, 360, "yuv420p")}


def test_the_clip_has_b_frames_and_closed_groups(sample_clip: Path, decoded: list[av.VideoFrame]) -> None:
    assert [index for index, frame in enumerate(decoded) if frame.key_frame] == [0, 50, 100, 150, 200]
    assert sum(frame.pict_type == av.video.frame.PictureType.B for frame in decoded) > maker.FRAMES // 3
    with av.open(str(sample_clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    for position, packet in enumerate(packets):
        if packet.is_keyframe:
            # Closed: nothing that follows in the file is shown before the key picture.
            assert all(later.pts is not None and later.pts > packet.pts for later in packets[position + 1 :])


def test_the_clip_says_its_colours(decoded: list[av.VideoFrame]) -> None:
    for frame in decoded[:2]:
        assert frame.colorspace == Colorspace.ITU709
        assert frame.color_range == ColorRange.MPEG
    assert decoded[0].color_primaries == 1
    assert decoded[0].color_trc == 1


def test_the_clip_has_stereo_sound_of_the_same_length(sample_clip: Path) -> None:
    with av.open(str(sample_clip)) as container:
        audio = container.streams.audio[0]
        assert (audio.codec_context.name, audio.codec_context.layout.name) == ("aac", "stereo")
        blocks = [frame.to_ndarray() for frame in container.decode(audio)]
    samples = np.concatenate(blocks, axis=1)
    assert samples.shape[1] / audio.rate == pytest.approx(maker.FRAMES / maker.RATE, abs=0.05)
    assert 0.02 < float(np.abs(samples).mean()) < 0.5
    assert float(np.abs(samples).max()) < 1
    assert not np.array_equal(samples[0], samples[1])


def test_the_clip_is_small(sample_clip: Path) -> None:
    assert sample_clip.stat().st_size < 1_500_000


def test_the_clip_is_the_original_halved(decoded: list[av.VideoFrame]) -> None:
    for index, original in zip(LOOKED_AT, maker.frames(LOOKED_AT), strict=True):
        assert original.shape == (720, 1280, 3)
        assert psnr_y(rgb_from_frame(decoded[index]), halve(original)) > 35, index


def test_the_camera_moves_by_parts_of_a_pixel_and_never_enlarges() -> None:
    views = [maker.camera(index / maker.RATE) for index in range(maker.FRAMES + 1)]
    assert all(view[2] >= 1 for view in views)
    steps = [np.hypot(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(views)]
    assert max(steps) < 10
    assert any(0.05 < step % 1 < 0.95 for step in steps)
    height, width = maker.wall().shape[:2]
    for column, row, scale in views:
        assert maker.SIZE[0] / 2 * scale <= min(column, width - column)
        assert maker.SIZE[1] / 2 * scale <= min(row, height - row)


def test_a_photograph_is_never_hung_enlarged() -> None:
    with pytest.raises(ValueError, match=r"scale 1\.5 is outside \(0, 1\]"):
        maker.Tile("coffee", 1.5, (0, 0, 10, 10), 0, 0)


def test_the_original_is_lossless(tmp_path: Path) -> None:
    # Twelve frames show what 250 would; all 250 are made by the demo.
    wanted = [index * 20 for index in range(12)]
    path = tmp_path / "original.mp4"
    maker.write_original(path, indices=wanted)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == len(wanted)
    for frame, original in zip(frames[::4], list(maker.frames(wanted[::4])), strict=True):
        assert np.array_equal(frame.to_ndarray(format="nv12"), frame_from_rgb(original, pts=0).to_ndarray())
