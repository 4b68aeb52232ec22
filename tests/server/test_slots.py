# SPDX-License-Identifier: MIT
"""When pictures are shown, which of them are made, and of what."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from skimage import data
from vireo_media.description import StreamDescription
from vireo_media.errors import InputError, OptionError
from vireo_media.interpolation import MOST_SLOTS, FrameRule
from vireo_server.formats import GENERATED, REFERENCE, SOURCE, SPARE
from vireo_server.likeness import Look
from vireo_server.side import HOST, Border
from vireo_server.slots import Slots, Source


def look(picture):
    height, width = picture.shape
    frame = np.zeros((height * 3 // 2, width), np.uint8)
    frame[:height] = picture
    return Look.of(frame, width=width, height=height, pixel_format="nv12", border=Border(HOST, stage="preprocess"))


def scene(number):
    """A picture of 64 x 64 that is like no other scene's."""
    noise = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
    return look(np.kron(noise, np.ones((8, 8), np.uint8)))


def rows(rule, sources, *, base=Fraction(1, 10), origin=None, ours=None):
    """(pts, duration, kind, left, right, share) of each row; sources are (pts, look, is_key)."""
    slots = Slots(rule, base=base, origin=origin)
    found = []
    for place, (pts, what, is_key) in enumerate(sources):
        is_ours = ours is None or place < ours
        found += slots.add(Source(pts, 1, is_key, is_ours, what, place))
    found += slots.finish()
    return [(row.pts, row.duration, row.kind, row.left, row.right, row.share) for row in found]


def moving(count):
    """Pictures of one scene, each a little brighter: neither cuts nor repeats."""
    ramp = np.kron(np.random.default_rng(0).integers(0, 200, (8, 8), dtype=np.uint8), np.ones((8, 8), np.uint8))
    return [look(ramp + np.uint8(3 * n)) for n in range(count)]


@pytest.mark.parametrize(
    ("source", "option", "count", "hits"),
    [
        (Fraction(24), "60", 600, 120),
        (Fraction(25), 50, 500, 250),
        (Fraction(24000, 1001), "60000/1001", 600, 120),
        (Fraction(24000, 1001), "59.94", 600, 120),
        (Fraction(30), 60.0, 480, 240),
        (Fraction(24), 25, 250, 10),
    ],
)
@pytest.mark.parametrize("milliseconds", [False, True])
def test_a_grid_has_duration_times_rate_pictures_and_finds_its_sources(source, option, count, hits, milliseconds):
    """Also where the container rounded the times to milliseconds."""
    frames = 250 if source == 25 else 240
    base = Fraction(1, 1000) if milliseconds else 1 / source / 512
    times = [round(n / source / base) for n in range(frames)]
    rule = FrameRule.from_options({"rate": option})
    found = list(rule.times(times, last_duration=round(1 / source / base), base=base))
    assert [tick * rule.time_base(base) for tick, _ in found] == [n / rule.rate for n in range(count)]
    assert sum(is_source for _, is_source in found) == hits


def test_a_ratio_divides_every_interval_of_a_variable_rate():
    found = FrameRule(ratio=3).times([10, 20, 50], last_duration=5, base=Fraction(1, 100))
    assert [(tick, own) for tick, own in found] == [
        (30, True), (40, False), (50, False), (60, True), (90, False), (120, False),
        (150, True), (155, False), (160, False),
    ]  # fmt: skip


def test_a_grid_is_counted_from_the_videos_first_picture_in_every_segment():
    rule, base = FrameRule(ratio=None, rate=Fraction(25)), Fraction(1, 10)
    pictures = [(7 + n, what, n in (0, 4)) for n, what in enumerate(moving(9))]
    whole = rows(rule, pictures, base=base)
    first = rows(rule, pictures[:5], base=base, origin=7, ours=4)
    second = rows(rule, pictures[4:], base=base, origin=7)
    shown = [row[:3] for row in whole if row[2] != REFERENCE]
    assert [row[:3] for row in first + second if row[2] != REFERENCE] == shown
    assert [row[0] for row in shown] == [35 + 2 * k for k in range(22)]


def test_a_source_off_the_grid_is_a_reference():
    found = rows(FrameRule(ratio=None, rate=Fraction(15)), [(n, what, False) for n, what in enumerate(moving(3))])
    assert [(pts, kind, share) for pts, _, kind, _, _, share in found] == [
        (0, SOURCE, 0),
        (2, SPARE, Fraction(2, 3)),
        (3, REFERENCE, 0),
        (4, SPARE, Fraction(1, 3)),
        (6, SOURCE, 0),
    ]


def test_slots_stay_away_from_cuts_and_from_the_end():
    pictures = [(0, scene(1), True), (1, scene(2), False)]
    assert [(pts, kind) for pts, _, kind, *_ in rows(FrameRule(), pictures)] == [
        (0, SOURCE),
        (1, GENERATED),
        (2, SOURCE),
        (3, GENERATED),
    ]
    assert rows(FrameRule(cuts="empty"), pictures)[:2] == [(0, 2, SOURCE, 0, None, 0), (2, 1, SOURCE, 1, None, 0)]


def test_one_repeat_is_bridged_a_still_picture_is_not_and_key_pictures_never():
    a, b, c = moving(3)
    bridged = rows(FrameRule(), [(0, a, True), (1, a, False), (2, b, False)])
    assert bridged[:4] == [
        (0, 1, SOURCE, 0, None, 0),
        (1, 1, SPARE, 0, 2, Fraction(1, 4)),
        (2, 0, REFERENCE, None, None, 0),
        (2, 1, SPARE, 0, 2, Fraction(1, 2)),
    ]
    kinds = [SOURCE, GENERATED, SOURCE, SPARE, SOURCE, GENERATED]
    assert [row[2] for row in rows(FrameRule(duplicates="keep"), [(0, a, True), (1, a, False), (2, b, False)])] == kinds
    as_key = rows(FrameRule(), [(0, a, True), (1, a, True), (2, b, False)])
    assert [row[2] for row in as_key] == [SOURCE, SPARE, SOURCE, SPARE, SOURCE, GENERATED]
    still = rows(FrameRule(), [(n, a, n == 0) for n in range(3)] + [(3, b, False), (4, c, False)])
    assert [row[2] for row in still] == [SOURCE, GENERATED] * 2 + [SOURCE, SPARE] * 2 + [SOURCE, GENERATED]


def test_a_pause_is_no_motion():
    a, b = moving(2)
    found = rows(FrameRule(ratio=None, rate=Fraction(60)), [(0, a, True), (10, b, False)])
    assert {row[2] for row in found[1:60]} == {GENERATED}
    assert len(found) == 66 > MOST_SLOTS


def test_a_pan_is_no_cut_and_another_scene_is():
    def window(picture, x, y):
        return look(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[y : y + 360, x : x + 640])

    pictures = [cv2.resize(getattr(data, name)(), (1280, 960)) for name in ("astronaut", "coffee", "chelsea")]
    for place, picture in enumerate(pictures):
        for pan in (8, 24, 60):
            assert not window(picture, 200, 200).is_cut(window(picture, 200 + pan, 200 + pan // 3))
        assert window(picture, 300, 300).is_cut(window(pictures[place - 1], 300, 300))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 5}, "option 'ratio' cannot be 5; allowed is 2, 3, 4; for other ratios give a rate"),
        ({"ratio": True}, "option 'ratio' cannot be True"),
        ({"ratio": 3, "rate": 60}, "options 'ratio' and 'rate' are both given .3 and 60.; .* remove the other"),
        ({"rate": "1/0"}, "option 'rate' cannot be '1/0'; allowed is a number of frames a second"),
        ({"rate": 0}, "option 'rate' cannot be '0'; allowed is 1..1000"),
        ({"duplicates": "x"}, "option 'duplicates' cannot be 'x'; allowed is 'bridge' or 'keep'"),
    ],
)
def test_options_say_what_is_allowed(options, words):
    with pytest.raises(OptionError, match=words):
        FrameRule.from_options(options)


def test_sources_that_a_rule_does_not_fit_are_refused():
    stream = StreamDescription(codec="h264", time_base=(1, 1_999_999_973), width=64, height=64, frame_rate=(30, 1))
    with pytest.raises(OptionError, match="the source has 30 frames a second"):
        FrameRule(ratio=None, rate=Fraction(25)).check_stream(stream)
    with pytest.raises(InputError, match="allowed are 2147483647 ticks a second"):
        FrameRule().check_stream(stream)
