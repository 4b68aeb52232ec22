# SPDX-License-Identifier: MIT
"""The rules that say which frames are wanted, by hand-computed examples."""

from fractions import Fraction

import pytest
from vireo_media.container import MediaSource
from vireo_media.description import StreamDescription
from vireo_media.errors import InputError, OptionError
from vireo_media.probing import probe
from vireo_media.sampling import Sampler, Sampling
from vireo_media.segments import count_frames, service_segments, with_total
from vireo_media.services import ServiceDescription, apply_options
from vireo_media.testing import numbered_clip
from vireo_media.times import FLAG_KEY, UNKNOWN

HUNDREDTHS = Fraction(1, 100)


def chosen(rule, times, *, time_base=HUNDREDTHS, total=None):
    """Places of the frames that a rule gives, each as often as it is given."""
    sampler = Sampler(Sampling.parse(rule), time_base=time_base, frames_total=total)
    return [place for place, pts in enumerate(times) for _ in range(sampler.rows(pts))]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("all", list(range(12))),
        ("every=1", list(range(12))),
        ("every=5", [0, 5, 10]),
        ("rate=5", [0, 5, 10]),  # 25 frames a second
        ("rate=10", [0, 3, 5, 8, 10]),  # at or after 0, 0.1, 0.2 ...: 0.12, 0.2, 0.32, 0.4
        ("rate=1000", list(range(12))),  # never more often than there are frames
        ("rate=2.5", [0, 10]),
        ("rate=5/2", [0, 10]),
        ("rate=0.5", [0]),
    ],
)
def test_frames_of_a_constant_rate(rule, wanted):
    assert chosen(rule, [4 * n for n in range(12)]) == wanted


def test_n_a_second_goes_by_time_where_the_rate_varies():
    # Seconds: 0, 0.01, 0.02, 0.5, 0.51, 1.49, 1.5, 4
    times = [713 + pts for pts in (0, 1, 2, 50, 51, 149, 150, 400)]
    assert chosen("rate=2", times) == [0, 3, 5, 6, 7]  # 1.49 answers the time 1.0; the gap before 4 s is not filled
    assert chosen("every=2", times) == [0, 2, 4, 6]


def test_a_grid_that_no_binary_fraction_holds_does_not_slip():
    base = Fraction(1001, 30000)
    assert chosen("rate=30000/1001", range(3000), time_base=base) == list(range(3000))
    assert chosen("rate=10", [100 * n for n in range(50)], time_base=Fraction(1, 1000)) == list(range(50))


@pytest.mark.parametrize("total", [1, 2, 7, 8, 9, 100, 301])
@pytest.mark.parametrize("parts", [1, 3, 8, 25, 64])
def test_segments_are_the_middles_of_equal_parts(total, parts):
    wanted = [int((part + 0.5) * total / parts) for part in range(parts)]
    assert chosen(f"segments={parts}", range(total), total=total) == wanted


def test_named_frames_that_never_come_are_counted_once():
    sampler = Sampler(Sampling.parse("segments=4"), time_base=HUNDREDTHS, frames_total=100)
    assert sum(sampler.rows(pts) for pts in range(60)) == 2
    assert sampler.wants_packet(0)
    assert (sampler.end(), sampler.end()) == (2, 0)
    assert not sampler.wants_packet(FLAG_KEY), "all that was named has come"


def test_only_key_packets_are_wanted_where_key_frames_are():
    sampler = Sampler(Sampling.parse("key"), time_base=HUNDREDTHS)
    assert [sampler.wants_packet(flags) for flags in (0, FLAG_KEY, 4, FLAG_KEY | 2)] == [False, True, False, True]


def test_a_frame_without_a_time_is_not_lost():
    assert chosen("rate=1", [0, UNKNOWN, 10, 100]) == [0, 1, 3]


@pytest.mark.parametrize(
    "text",
    ["", "keys", "every", "every=0", "every=1.5", "rate=-1", "rate=0", "rate=1/0", "rate=fast", "segments=65", "all=2"],
)
def test_a_rule_that_cannot_be_is_refused_with_those_that_can(text):
    with pytest.raises(OptionError, match=r"sample cannot be .*; allowed is all, key, every=N, rate=N"):
        Sampling.parse(text)
    with pytest.raises(InputError, match=r"decoder\.sample cannot be"):
        StreamDescription(codec="h264", time_base=(1, 25), width=2, height=2, decoder={"sample": text or "?"})


@pytest.mark.parametrize("text", ["all", "key", "every=3", "rate=1/2", "segments=8"])
def test_a_rule_is_its_text(text):
    assert str(Sampling.parse(text)) == text


def test_segments_of_an_unknown_number_of_frames_say_what_is_missing():
    with pytest.raises(InputError, match=r"'segments=8' needs the number of frames and STREAM says frames_total None"):
        Sampler(Sampling.parse("segments=8"), time_base=HUNDREDTHS)


def service(kind="extraction", **values):
    return ServiceDescription(name="some", kind=kind, **values)


def test_a_service_says_what_it_samples_and_a_caller_may_say_otherwise():
    stream = StreamDescription(codec="h264", time_base=(1, 25), width=2, height=2)
    own = service(segments=False, sample="rate=2")
    assert apply_options(stream, own, {}, defaults={}).decoder["sample"] == "rate=2"
    assert apply_options(stream, own, {"sample": "key"}, defaults={}).decoder["sample"] == "key"
    with pytest.raises(OptionError, match="service 'some': option sample cannot be 'often'"):
        apply_options(stream, own, {"sample": "often"}, defaults={})
    with pytest.raises(OptionError, match="unknown option 'sample'"):
        apply_options(stream, service("transformation"), {"sample": "key"}, defaults={})


def test_a_video_is_cut_only_where_segments_cannot_change_what_is_sampled(tmp_path):
    numbered_clip(str(tmp_path / "clip.mp4"), frames=300, gop=25, size=(64, 48))
    source = MediaSource(str(tmp_path / "clip.mp4"))
    stream = probe(source).description

    def segments(**options):
        return len(list(service_segments(source, apply_options(stream, service(), options, defaults={}), service())))

    assert segments() == segments(sample="key") == 3
    assert segments(sample="every=2") == segments(sample="rate=2") == segments(sample="segments=2") == 1
    with pytest.raises(Exception, match="all or key with segments"):
        service(sample="rate=2")


def test_only_key_packets_are_sent_where_only_they_are_decoded(tmp_path):
    numbered_clip(str(tmp_path / "clip.mp4"), frames=60, gop=12, size=(64, 48))
    source, whole = MediaSource(str(tmp_path / "clip.mp4")), service(segments=False)
    for sample, count in (("key", 5), ("every=12", 60)):
        stream = apply_options(probe(source).description, whole, {"sample": sample}, defaults={})
        (segment,) = service_segments(source, stream, whole)
        assert len(list(segment.packets())) == count


def test_the_number_of_frames_is_counted_not_believed(tmp_path):
    numbered_clip(str(tmp_path / "clip.mkv"), frames=31, size=(64, 48))  # Matroska does not say it
    source = MediaSource(str(tmp_path / "clip.mkv"))
    stream = apply_options(probe(source).description, service(), {"sample": "segments=3"}, defaults={})
    assert stream.frames_total is None
    assert with_total(source, stream).frames_total == count_frames(source, stream) == 31
