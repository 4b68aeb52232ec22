# SPDX-License-Identifier: MIT
"""What sampling leaves undecoded changes no bit of what is given, and is as much as it can be."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from vireo_media.container import MediaSource
from vireo_media.probing import probe
from vireo_media.sampling import Sampler, Sampling
from vireo_media.segments import count_frames, whole_video
from vireo_media.testing import numbered_clip
from vireo_media.times import FLAG_KEY, UNKNOWN
from vireo_server.decoder import Decoder
from vireo_server.decoding import DecodeStage
from vireo_server.sequences import Streams
from vireo_server.settings import DecodeSettings
from vireo_server.wire import LocalRequest

FRAMES = 60
VFR = np.cumsum(np.random.default_rng(3).integers(20, 90, FRAMES)).tolist()
CLIPS = {
    "pyramid": {"bframes": 3, "options": {"x264-params": "b-adapt=0:b-pyramid=normal:ref=4:keyint=24:scenecut=0"}},
    "open": {"bframes": 2, "options": {"x264-params": "b-adapt=0:open-gop=1:keyint=15:scenecut=0"}},
    "open mpeg2": {"codec": "mpeg2video", "bframes": 2, "gop": 12, "suffix": ".mkv"},
    "one group": {"bframes": 2, "gop": 250, "options": {"x264-params": "b-adapt=0:scenecut=0"}},
    "variable": {"bframes": 3, "gop": 20, "pts": VFR, "time_base": Fraction(1, 1000)},
    "no B-frames": {"bframes": 0},
    "hevc": {"codec": "libx265", "options": {"x265-params": "keyint=24:bframes=4:b-adapt=0:log-level=none"}},
    "interlaced": {"options": {"x264-params": "interlaced=1:keyint=20"}},
    "mpeg-ts": {"bframes": 3, "suffix": ".ts"},
}
LEAVES_OUT = {"pyramid", "open", "one group", "variable", "no B-frames", "hevc"}
RULES = ("rate=2", "rate=7", "every=5", "segments=4")


@pytest.fixture(scope="module", params=CLIPS)
def clip(request, tmp_path_factory):
    """(name, description, packets)."""
    choices = dict(CLIPS[request.param])
    path = tmp_path_factory.mktemp("clip") / f"clip{choices.pop('suffix', '.mp4')}"
    return made(request.param, path, **choices)


def made(name, path, *, frames=FRAMES, **choices):
    numbered_clip(str(path), frames=frames, size=(96, 64), **choices)
    source = MediaSource(str(path))
    stream = probe(source).description
    stream = replace(stream, frames_total=count_frames(source, stream))
    return name, stream, list(whole_video(source, stream).packets())


@pytest.fixture
def sampled(monkeypatch):
    """`sampled(clip, rule, size)`: what decode gives in requests of so many packets: [(pts, picture)]; and how many
    packets it decoded.
    """
    decoded = []
    decode = Decoder.decode
    monkeypatch.setattr(Decoder, "decode", lambda self, data, row: (decoded.append(1), decode(self, data, row))[1])

    def run(clip, rule, size, **decoder):
        _, stream, packets = clip
        stream = replace(stream, decoder={**stream.decoder, "sample": rule, **decoder})
        streams = Streams(lambda: None, name="decode", idle_seconds=5)
        stage = DecodeStage(DecodeSettings(max_packets=128, max_rows=128), streams)
        decoded.clear()
        found = []
        for first in range(0, len(packets), size):
            part = packets[first : first + size]
            request = LocalRequest(
                {
                    "STREAM": stream.to_json() if not first else "",
                    "PACKETS": [packet.data for packet in part],
                    "PACKET_TIMING": np.array([packet[1:] for packet in part], np.int64),
                },
                start=not first,
                end=first + size >= len(packets),
                stage="decode",
            )
            if not first:
                stage.open(request)
            given = stage.step(request)
            found += [
                (int(row[0]), picture.copy())
                for row, picture in zip(given["TIMING"], given["FRAMES"], strict=True)
                if row[2] == 0
            ]
        stage.close()
        streams.close()
        return found, len(decoded)

    return run


def wanted(clip, rule):
    """The pictures that the rule names, of all that a plain decoder gives."""
    _, stream, packets = clip
    sampler = Sampler(Sampling.parse(rule), time_base=Fraction(*stream.time_base), frames_total=stream.frames_total)
    order = sorted(packet.pts for packet in packets)
    return [pts for pts in order for _ in range(sampler.rows(pts))]


@pytest.mark.parametrize("rule", RULES)
def test_what_is_given_is_the_same_to_the_bit_wherever_requests_end(clip, sampled, rule):
    every, count = sampled(clip, "all", 128)
    assert count == FRAMES
    pictures = dict(every)
    for size in (1, 7, 128):
        found, _ = sampled(clip, rule, size)
        assert [pts for pts, _ in found] == wanted(clip, rule)
        for pts, picture in found:
            np.testing.assert_array_equal(picture, pictures[pts])


@pytest.mark.parametrize("rule", RULES)
def test_fewer_packets_are_decoded_where_that_is_certain(clip, sampled, rule):
    count = sampled(clip, rule, 128)[1]
    if clip[0] in LEAVES_OUT:
        assert count < FRAMES - 1
    elif rule != "segments=4":  # Behind whose last sample nothing is decoded.
        assert count == FRAMES
    if rule != "segments=4":
        assert sampled(clip, rule, 128, on_corrupt="conceal")[1] == FRAMES


@pytest.mark.parametrize("size", [1, 128])
def test_key_frames_are_what_they_are_among_all(clip, sampled, size):
    check_key_frames(clip, sampled, size)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_key_frames_of_open_groups_are_decoded_each_by_itself(codec, sampled, tmp_path):
    """H.264 tells so little of a picture's place in the order that libav loses the fourth and fifth of them."""
    choices = "b-adapt=0:open-gop=1:keyint=20:min-keyint=20:scenecut=0:bframes=3"
    options = {"x264-params": choices} if codec == "libx264" else {"x265-params": f"{choices}:log-level=none"}
    clip = made("open", tmp_path / "open.mkv", frames=100, codec=codec, bframes=3, options=options)
    assert check_key_frames(clip, sampled, 128) == 5


def check_key_frames(clip, sampled, size):
    name, _, packets = clip
    keys = sorted(packet.pts for packet in packets if packet.flags & FLAG_KEY)
    pictures = dict(sampled(clip, "all", 128)[0])
    found, count = sampled(clip, "key", size)
    assert [pts for pts, _ in found] == keys
    assert count == len(keys)
    if name != "interlaced":  # Deinterlaced without its neighbours, a picture is another.
        for pts, picture in found:
            np.testing.assert_array_equal(picture, pictures[pts])
    return len(keys)


@pytest.mark.parametrize("clip", ["pyramid"], indirect=True)
def test_whole_groups_without_a_sample_are_left_out(clip, sampled):
    found, count = sampled(clip, "segments=1", 128)  # Groups of 24; the middle is frame 30.
    assert len(found) == 1
    assert count <= 8


@pytest.mark.parametrize("clip", ["pyramid"], indirect=True)
def test_the_last_frame_stands_for_those_that_were_said_and_never_came(clip, sampled):
    name, stream, packets = clip
    found, _ = sampled((name, replace(stream, frames_total=2 * FRAMES), packets), "segments=4", 128)
    order = sorted(packet.pts for packet in packets)
    assert [pts for pts, _ in found] == [order[15], order[45], order[-1], order[-1]]


@pytest.mark.parametrize("clip", ["pyramid"], indirect=True)
def test_a_part_of_a_video_is_sampled_from_its_own_first_frame(clip, sampled):
    name, stream, packets = clip
    order = sorted(packet.pts for packet in packets)
    found, _ = sampled((name, replace(stream, emit=(order[13], order[50])), packets), "every=5", 128)
    assert [pts for pts, _ in found] == order[13:50:5]


@pytest.mark.parametrize("clip", ["pyramid"], indirect=True)
def test_frames_without_a_time_are_counted_as_they_come(clip, sampled):
    name, stream, packets = clip
    untimed = (name, stream, [packet._replace(pts=UNKNOWN) for packet in packets])
    every, _ = sampled(untimed, "all", 128)
    found, count = sampled(untimed, "every=5", 128)
    assert count == FRAMES
    assert [picture.tobytes() for _, picture in found] == [picture.tobytes() for _, picture in every[::5]]
