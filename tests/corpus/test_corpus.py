# SPDX-License-Identifier: MIT
"""Every clip of the corpus through `passthrough` on a real server: frame numbers, times, sound and tags."""

from fractions import Fraction

import av
import pytest
from vireo_media.container import MediaSource
from vireo_media.probing import probe
from vireo_media.testing import read_number
from vireo_media.verify import verify


def pictures(path):
    """(time, number, the decoded frame's facts) of every picture, in the order a player shows them."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic)
        for frame in container.decode(stream):
            yield frame.pts * frame.time_base, read_number(frame), frame


def sound(path):
    """Each sound: its packets' bytes and times in seconds; of PCM, which any container cuts as it likes, one of all."""
    with av.open(str(path)) as container:
        tracks = {}
        for packet in container.demux(*container.streams.audio) if container.streams.audio else ():
            if packet.size:
                tracks.setdefault(packet.stream_index, []).append((bytes(packet), packet.pts * packet.time_base))
        for index, track in tracks.items():
            if container.streams[index].codec_context.name.startswith("pcm_"):
                tracks[index] = [(b"".join(data for data, _ in track), track[0][1])]
    return list(tracks.values())


def test_clip(case, client, tmp_path, passed):
    source = case.write(tmp_path)
    target = tmp_path / f"out{case.output}"
    if case.error is not None:
        with pytest.raises(ValueError, match=case.error):
            client.run("passthrough", source, target, options=case.options)
        assert not target.exists()
        passed.append(case.name)
        return
    run = client.run("passthrough", source, target, options=case.options)
    for words in case.notes:
        assert any(words in warning for warning in run.warnings), run.warnings
    if case.segments:
        assert run.segments == case.segments
    shown = list(pictures(target))
    check_frames(case, shown)
    check_sync(case, source, target, shift=shown[0][0])
    check_tags(case, source, target, shown[0][2])
    if "conceal" not in str(case.options):
        assert verify(source, target).differences == ()
    passed.append(case.name)


def check_frames(case, shown):
    numbers = [number for _, number, _ in shown]
    if len(case.expected_numbers) == len(numbers):
        # -1: whatever is there; the time must be.
        numbers = [-1 if want == -1 else got for want, got in zip(case.expected_numbers, numbers, strict=True)]
    assert numbers == case.expected_numbers
    first = shown[0][0]
    errors = [abs(time - first - want) for (time, _, _), want in zip(shown, case.expected_times, strict=True)]
    assert max(errors) <= case.tolerance * 2, [float(error) for error in errors]
    assert {(frame.width, frame.height) for _, _, frame in shown} == {case.size}
    assert {frame.format.name for _, _, frame in shown} == {case.pixel_format}
    if "keyint" in case.options:
        keys = [time - first for time, _, frame in shown if frame.key_frame]
        step = Fraction(str(case.options["keyint"]))
        assert keys == [i * step for i in range(len(keys))]
        assert len(keys) == Fraction(len(shown), 25) // step


def check_sync(case, source, target, *, shift):
    """The same sound packets, and each as far from the first picture as in the source, to under one sample."""
    before, after = sound(source), sound(target)
    assert [[data for data, _ in track] for track in before] == [[data for data, _ in track] for track in after]
    began = case.begins if case.begins is not None else next(pictures(source))[0] if before else Fraction(0)
    for old, new in zip(before, after, strict=True):
        for (_, was), (_, now) in zip(old, new, strict=True):
            assert abs((was - began) - (now - shift)) < max(Fraction(1, 48000), case.tolerance * 2)


def check_tags(case, source, target, frame):
    before = probe(MediaSource(source)).description
    after = probe(MediaSource(target, playlist=case.output == ".m3u8")).description
    assert after.rotation == before.rotation
    assert (after.sample_aspect_ratio or (1, 1)) == (before.sample_aspect_ratio or (1, 1))
    if case.name.startswith("sar"):
        assert after.sample_aspect_ratio == (16, 11)
    if after.codec != "ffv1" and before.color["matrix"] != "gbr":
        for key, value in before.color.items():
            if value is not None and (key != "chroma_location" or after.codec in ("h264", "hevc")):
                assert after.color[key] == value, key
        assert after.color["matrix"] is not None
    assert {key: after.color[key] for key in case.color} == case.color
    assert after.hdr == before.hdr
    if after.hdr and case.output == ".mp4":  # Some players read the container's boxes only.
        assert all(name in target.read_bytes() for name in (b"mdcv", b"clli"))
    assert not frame.interlaced_frame
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert new.metadata.get("title") == old.metadata.get("title")
        if case.name == "rich":
            assert [stream.type for stream in new.streams] == [stream.type for stream in old.streams]
            assert [chapter["metadata"] for chapter in new.chapters()] == [{"title": "One"}, {"title": "Two"}]
        if case.name == "to_hls":
            assert sorted(path.name for path in target.parent.glob("out*")) == [
                "out.m3u8", "out_00000.m4s", "out_00001.m4s", "out_init.mp4",
            ]  # fmt: skip
        if case.name == "cover":
            covers = [s for s in new.streams.video if s.disposition & av.stream.Disposition.attached_pic]
            assert len(covers) == 1
