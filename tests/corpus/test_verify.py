# SPDX-License-Identifier: MIT
"""`verify` finds what it is there to find, and nothing where nothing is."""

from fractions import Fraction

import av
import pytest
from vireo_media.errors import FramesLostError
from vireo_media.interpolation import FrameRule
from vireo_media.testing import numbered_clip
from vireo_media.verify import check_same, verify


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "clip.mp4"
    numbered_clip(path, frames=50, size=(160, 96), gop=25, audio="aac", bframes=0)
    return path


def changed(clip, target, change):
    """`clip` remuxed, each packet through `change(packet, stream type, place)`, None to drop it."""
    with av.open(str(clip)) as reader, av.open(str(target), "w") as writer:
        copies = [writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams]
        places = [0, 0]
        for packet in reader.demux():
            if not packet.size:
                continue
            index = packet.stream_index
            place, places[index] = places[index], places[index] + 1
            packet = change(packet, copies[index].type, place)
            if packet is not None:
                packet.stream = copies[index]
                writer.mux(packet)
    return target


def later(packet, seconds):
    ticks = round(Fraction(seconds) / packet.time_base)
    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packet


def test_a_copy_is_the_same(clip, tmp_path):
    found = verify(clip, changed(clip, tmp_path / "same.mp4", lambda packet, kind, place: packet))
    assert found.differences == ()
    assert (found.frames_in, found.frames_out, found.span_in, found.span_out) == (50, 50, 2.0, 2.0)
    check_same(found, name="same.mp4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda packet, kind, place: None if (kind, place) == ("video", 30) else packet, "49 frames .* of 50"),
        (
            lambda packet, kind, place: later(packet, "0.01") if (kind, place) == ("video", 30) else packet,
            r"1 frames are at another time: 00:00:01.200 by \+0.0100 s",
        ),
        (
            lambda packet, kind, place: later(packet, "0.02") if kind == "audio" else packet,
            r"sound 0 is \+0.0200 s off",
        ),
        (lambda packet, kind, place: None if (kind, place) == ("audio", 30) else packet, "sound 0 has 94 packets"),
        (
            lambda packet, kind, place: None if kind == "video" and place > 40 else packet,
            "the output lasts 1.640 s, the source 2.000 s",
        ),
    ],
)
def test_a_difference_is_named_and_loud(clip, tmp_path, change, words):
    found = verify(clip, changed(clip, tmp_path / "other.mp4", change))
    with pytest.raises(FramesLostError, match=words):
        check_same(found, name="other.mp4")


def test_times_of_avi_are_compared_too(tmp_path):
    pause = [*range(12), *range(17, 30)]
    for name, pts in (("in.avi", pause), ("same.mp4", pause), ("other.mp4", [*range(13), *range(18, 30)])):
        numbered_clip(tmp_path / name, frames=25, size=(160, 96), pts=pts, time_base=Fraction(1, 25))
    assert verify(tmp_path / "in.avi", tmp_path / "same.mp4").differences == ()
    (found,) = verify(tmp_path / "in.avi", tmp_path / "other.mp4").differences
    assert "1 frames are at another time: 00:00:00.680 by -0.2000 s" in found


def test_where_the_rate_changed_only_the_span_and_the_sound_count(clip, tmp_path):
    other = changed(clip, tmp_path / "half.mp4", lambda packet, kind, place: packet)
    numbered_clip(tmp_path / "half.mp4", frames=25, fps=Fraction(25, 2), size=(160, 96), audio="aac")
    assert verify(clip, other, same_frames=False).differences == ()
    assert verify(clip, other).differences


@pytest.mark.parametrize(("name", "kept"), [("out.mp4", "out.differs.mp4"), ("out.m3u8", "out.differs")])
def test_a_run_whose_result_differs_fails_and_does_not_keep_its_name(clip, tmp_path, monkeypatch, name, kept):
    """A muxer that moves one frame by 10 ms, in a client that is else the real one."""
    from vireo_client import Client
    from vireo_client.testing import Loopback
    from vireo_media import mux

    def packets(*args, **kwargs):
        for place, packet in enumerate(real(*args, **kwargs)):
            if place == 30:
                packet.pts += packet.duration // 4
            yield packet

    real = mux._video_packets
    monkeypatch.setattr(mux, "_video_packets", packets)
    with Client(transport=Loopback()) as open_client, pytest.raises(FramesLostError, match="at another time") as caught:
        open_client.run("passthrough", clip, tmp_path / name)
    assert repr(str(tmp_path / kept)) in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [kept]


def test_the_command_says_so_with_its_exit_code(clip, tmp_path, capfd):
    import subprocess
    import sys
    from pathlib import Path

    vireo = str(Path(sys.executable).with_name("vireo"))
    other = changed(clip, tmp_path / "other.mp4", lambda packet, kind, place: None if place == 49 else packet)
    same = subprocess.run([vireo, "verify", str(clip), str(clip)], capture_output=True, text=True, timeout=60)
    assert (same.returncode, "nothing lost" in same.stdout) == (0, True)
    lost = subprocess.run([vireo, "verify", str(clip), str(other)], capture_output=True, text=True, timeout=60)
    assert lost.returncode == 1
    assert "49 frames are in the output, of 50" in lost.stderr


def test_frames_between_frames_must_be_at_their_times(clip, tmp_path):
    other = tmp_path / "twice.mp4"
    numbered_clip(other, frames=100, size=(160, 96), gop=25, fps=50, audio="aac", bframes=0)
    assert verify(clip, other, rule=FrameRule()).differences == ()
    assert verify(clip, other, rule=FrameRule(ratio=None, rate=Fraction(50))).differences == ()
    assert verify(clip, other, rule=FrameRule(ratio=3)).differences == ("100 frames are in the output, of 150",)
    late = changed(
        other,
        tmp_path / "late.mp4",
        lambda packet, kind, place: later(packet, "0.01") if (kind, place) == ("video", 31) else packet,
    )
    assert "00:00:00.620 by +0.0100 s" in verify(clip, late, rule=FrameRule()).differences[0]


@pytest.mark.parametrize(("place", "said"), [(31, ()), (30, ("99 frames are in the output, of 100",))])
def test_only_frames_between_frames_may_be_left_out_at_a_cut(clip, tmp_path, place, said):
    other = tmp_path / "twice.mp4"
    numbered_clip(other, frames=100, size=(160, 96), gop=1, fps=50, audio="aac", bframes=0)
    less = changed(
        other, tmp_path / "less.mp4", lambda packet, kind, n: None if (kind, n) == ("video", place) else packet
    )
    assert verify(clip, less, rule=FrameRule(cuts="empty")).differences == said
