# SPDX-License-Identifier: MIT
"""Pictures between pictures, on a real server: exact times, sources untouched, the same bytes however it is cut."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from vireo_media.errors import OptionError
from vireo_media.testing import numbered_clip, read_frames
from vireo_media.verify import verify
from vireo_server.locations import find_locations
from vireo_server.scripting import run_file

SERVICE, NETWORK = "frame_interpolation", "frame_interpolation_network"
LOSSLESS = {"crf": 0, "preset": "ultrafast"}
WIDTH, HEIGHT = 128, 96


def luma(path):
    """Every frame's luma, (T, H, W) uint8."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)])


def moving(path, positions, *, fps=10, gop=10, seed=0, size=(WIDTH, HEIGHT)):
    """A lossless clip of a texture under a moving window: `positions` are its places in pixels, or (scene, place)."""
    width, height = size
    textures = {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = {"crf": "0", "preset": "ultrafast", "x264-params": "scenecut=0"}
        for position in positions:
            scene, place = position if isinstance(position, tuple) else (seed, position)
            if scene not in textures:
                noise = np.random.default_rng(scene).integers(16, 236, (HEIGHT // 16, 32), dtype=np.uint8)
                large = av.VideoFrame.from_ndarray(noise, "gray").reformat(512, HEIGHT, interpolation="BICUBIC")
                textures[scene] = large.to_ndarray()
            picture = np.full((height * 3 // 2, width), 128, np.uint8)
            picture[:height] = textures[scene][:height, place : place + width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """9 s of numbered frames, B-frames and sound: two segments."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    numbered_clip(path, frames=90, fps=10, gop=15, size=(WIDTH, HEIGHT), audio="aac")
    return path


def test_every_source_and_one_picture_between_at_exact_times_with_the_sound(client, video, tmp_path):
    run = client.run(SERVICE, video, tmp_path / "out.mp4", options=LOSSLESS)
    assert (run.segments, run.frames_in, run.frames_out) == (2, 90, 180)
    frames = list(read_frames(str(tmp_path / "out.mp4")))
    assert [time for time, _ in frames] == [Fraction(n, 20) for n in range(180)]
    assert [number for _, number in frames[::2]] == list(range(90))
    with av.open(str(video)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        sounds = [[(p.pts, bytes(p)) for p in file.demux(audio=0) if p.size] for file in (before, after)]
    assert sounds[0] == sounds[1]


@pytest.mark.parametrize("service", [SERVICE, NETWORK])
def test_sources_stay_untouched_and_pictures_come_between(client, tmp_path, service):
    """Of a size that is no multiple of what the network takes."""
    positions = list(range(0, 48, 3))
    source = moving(tmp_path / "in.mp4", positions, size=(106, 70))
    truth = moving(tmp_path / "truth.mp4", range(0, 47), size=(106, 70))
    client.run(service, source, tmp_path / "out.mp4", options={"ratio": 3, **LOSSLESS})
    found, sources, between = (luma(path).astype(int) for path in (tmp_path / "out.mp4", source, truth))
    assert (found[::3] == sources).all()
    for place in range(1, 45):
        if place % 3:
            repeated = np.abs(sources[place // 3] - between[place])[8:-8, 8:-8].mean()
            assert np.abs(found[place] - between[place])[8:-8, 8:-8].mean() < repeated / 2


@pytest.mark.parametrize("service", [SERVICE, NETWORK])
def test_chunks_and_streams_beside_it_never_change_a_byte(client, video, at_once, tmp_path, service):
    client.run(service, video, tmp_path / "alone.mp4", options={"rate": 25}, segments_in_flight=1)
    alone = (tmp_path / "alone.mp4").read_bytes()
    assert [result == alone for result in at_once(service, video, ".mp4", options={"rate": 25})] == [True] * 4


@pytest.mark.parametrize("options", [{"ratio": 2}, {"rate": "24"}])
def test_segments_side_by_side_give_the_pictures_of_one_sequence(client, tmp_path, options):
    # Every fourth picture is a repeat, some of them first in a segment.
    positions = [3 * (n - n // 4) for n in range(90)]
    source = moving(tmp_path / "in.mp4", positions)
    run = client.run(SERVICE, source, tmp_path / "segments.mp4", options={**options, **LOSSLESS})
    script = find_locations().model_repository / f"{SERVICE}_script" / "1" / "script.py"
    whole = run_file(script, source, tmp_path / "whole.mp4", stream=options, encoder=LOSSLESS)
    assert run.segments == 3
    assert whole.frames_out == run.frames_out
    assert (luma(tmp_path / "segments.mp4") == luma(tmp_path / "whole.mp4")).all()
    assert [t for t, _ in read_frames(str(tmp_path / "segments.mp4"))] == [
        t for t, _ in read_frames(str(tmp_path / "whole.mp4"))
    ]


def test_a_run_whose_client_was_killed_goes_on_with_the_same_bytes(client, video, kill_a_run, tmp_path):
    client.run(SERVICE, video, tmp_path / "whole.mp4")
    kill_a_run(SERVICE, video, tmp_path / "out.mp4", frames=120)
    assert client.run(SERVICE, video, tmp_path / "out.mp4").resumed == 1
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize(("cuts", "count"), [("repeat", 40), ("empty", 39)])
def test_no_ghost_at_a_cut(client, tmp_path, cuts, count):
    source = moving(tmp_path / "in.mp4", [(int(n >= 10), 40 + 2 * n) for n in range(20)], gop=30)
    client.run(SERVICE, source, tmp_path / "out.mp4", options={"cuts": cuts, **LOSSLESS})
    before, after = luma(source), luma(tmp_path / "out.mp4")
    assert len(after) == count
    times = [time for time, _ in read_frames(str(tmp_path / "out.mp4"))]
    place = times.index(Fraction(9, 10))
    if cuts == "repeat":
        assert (after[place + 1] == before[9]).all()
        place += 1
    assert (after[place + 1] == before[10]).all()
    assert verify(source, tmp_path / "out.mp4", rule=client_rule(cuts)).differences == ()


def client_rule(cuts):
    from vireo_media.interpolation import FrameRule

    return FrameRule(cuts=cuts)


@pytest.mark.parametrize(("duplicates", "bridged"), [("bridge", True), ("keep", False)])
def test_a_repeated_picture_is_bridged(client, tmp_path, duplicates, bridged):
    positions = [0, 3, 6, 6, 12, 15, 18, 21]
    source = moving(tmp_path / "in.mp4", positions, gop=30)
    client.run(SERVICE, source, tmp_path / "out.mp4", options={"duplicates": duplicates, **LOSSLESS})
    after, before = luma(tmp_path / "out.mp4").astype(int), luma(source).astype(int)
    truth = luma(moving(tmp_path / "truth.mp4", [9])).astype(int)[0]
    inside = np.s_[16:-16, 16:-16]
    assert len(after) == 16
    assert (np.abs(after[6] - truth)[inside].mean() < np.abs(before[3] - truth)[inside].mean() / 4) == bridged
    assert (after[6] == before[3]).all() != bridged


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 1}, "option 'ratio' cannot be 1; allowed is integer in 2..4"),
        ({"ratio": 2.5}, "option 'ratio' cannot be 2.5"),
        ({"ratio": 2, "rate": 50}, "options 'ratio' and 'rate' are both given"),
        ({"rate": "fast"}, "option 'rate' cannot be 'fast'"),
        ({"rate": 5}, "option 'rate' cannot be '5': the source has 10 frames a second"),
        ({"cuts": "blend"}, "option 'cuts' cannot be 'blend'; allowed is 'repeat', 'empty'"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_sent(
    client, statistics, video, tmp_path, options, words
):
    before = statistics("decode")["inference_count"]
    with pytest.raises(OptionError, match=words):
        client.run(SERVICE, video, tmp_path / "out.mp4", options=options)
    assert statistics("decode")["inference_count"] == before
    assert list(tmp_path.iterdir()) == []


def test_a_caller_without_our_client_gets_the_same_error(call, clip, all_freed):
    stream, packets, timing = clip
    options = json.dumps({**json.loads(stream), "options": {"ratio": 1}})
    answer = call(SERVICE).ask(0, packets[:4], timing[:4], stream=options, start=True, end=True)
    assert "preprocess: option 'ratio' cannot be 1; allowed is 2, 3, 4" in str(answer)
    assert "[INVALID_ARG]" in str(answer)
    all_freed()
