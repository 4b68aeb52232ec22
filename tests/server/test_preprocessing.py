# SPDX-License-Identifier: MIT
"""preprocess for extractions: windows, sizes, channels, and which way is up."""

from dataclasses import replace

import numpy as np
import pytest
from vireo_kernels.fit import fit_exact
from vireo_kernels.resize import resize_image
from vireo_server.errors import BadInput, SettingError
from vireo_server.formats import frame_shape
from vireo_server.pictures import make_pictures, picture_size
from vireo_server.preprocessing import PreprocessStage
from vireo_server.settings import PreprocessSettings
from vireo_server.tags import NOTHING
from vireo_server.windows import Windows
from vireo_server.wire import Request

WINDOWS = PreprocessSettings(size="2x2", window=4, stride=2)


def windows_of(count, *, chunk, settings=WINDOWS):
    """(numbers in a window, its pts, its duration) for a stream of `count` numbered pictures 10 ticks apart."""
    subject, found = Windows(settings), []
    for start in range(0, max(count, 1), chunk):
        numbers = range(start, min(start + chunk, count))
        pictures = np.array([np.full((1, 2, 2), number) for number in numbers], np.uint8).reshape(-1, 1, 2, 2)
        timing = np.array([(10 * number, 10, 0, 0) for number in numbers], np.int64).reshape(-1, 4)
        rows, times = subject.push(pictures, timing, end=start + chunk >= count)
        found += [(row[:, 0, 0].tolist(), int(time[0]), int(time[1])) for row, time in zip(rows, times, strict=True)]
    return found


@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_windows_overlap_by_their_stride_and_the_last_one_ends_with_the_video(chunk):
    assert windows_of(9, chunk=chunk) == [
        ([0, 1, 2, 3], 0, 40),
        ([2, 3, 4, 5], 20, 40),
        ([4, 5, 6, 7], 40, 40),
        ([5, 6, 7, 8], 50, 40),
    ]
    assert [numbers for numbers, *_ in windows_of(8, chunk=chunk)] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]


def test_a_short_video_repeats_its_last_picture_and_none_gives_none():
    assert windows_of(1, chunk=5) == [([0, 0, 0, 0], 0, 10)]
    assert windows_of(3, chunk=5) == [([0, 1, 2, 2], 0, 30)]
    assert windows_of(0, chunk=5) == []


def test_the_middle_stands_for_its_window():
    found = windows_of(9, chunk=4, settings=replace(WINDOWS, picked="middle"))
    assert found == [([2], 0, 40), ([4], 20, 40), ([6], 40, 40), ([7], 50, 40)]


def luma_frame(luma):
    """NV12 FRAMES of one picture with this luma, and its format."""
    height, width = luma.shape
    rows = np.full((1, height + height // 2, width), 128, np.uint8)
    rows[0, :height] = luma
    return rows, replace(NOTHING, width=width, height=height)


RAMP = np.add.outer(np.arange(48) * 2, np.arange(64)).astype(np.uint8)


def test_luma_is_the_codes_themselves_resized():
    frames, format = luma_frame(RAMP)
    found = make_pictures(frames, format, PreprocessSettings(size="16x16", channels="luma"))
    expected = resize_image(
        RAMP[None, None].copy(), fit=fit_exact(width=16, height=16), filter_name="bilinear", antialias=True
    )
    assert np.array_equal(found, expected)
    whole = make_pictures(frames, format, PreprocessSettings(channels="luma"))
    assert np.array_equal(whole[0, 0], RAMP)


def test_luma_of_ten_bits_is_its_upper_eight():
    frames, format = luma_frame(RAMP)
    deep = np.zeros((1, frames.shape[1], 128), np.uint8)
    deep[:, :, 1::2] = frames
    deep[:, :, ::2] = 0xC0  # the two lower bits
    found = make_pictures(deep, replace(format, pixel_format="p010"), PreprocessSettings(channels="luma"))
    assert np.array_equal(found[0, 0], RAMP)


@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, 1), (-90, 3), (180, 2), (270, 3)])
def test_pictures_are_turned_upright(rotation, turns):
    frames, format = luma_frame(RAMP)
    upright = PreprocessSettings(channels="luma", rotation="upright")
    found = make_pictures(frames, replace(format, rotation=rotation), upright)
    assert np.array_equal(found[0, 0], np.rot90(RAMP, turns))
    assert picture_size(replace(format, rotation=rotation), upright) == found.shape[:1:-1]
    tagged = make_pictures(frames, replace(format, rotation=rotation), PreprocessSettings(channels="luma"))
    assert np.array_equal(tagged[0, 0], RAMP)


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("size", ["20x20", "30x10", "10x30"])
def test_every_fit_gives_the_size_that_was_asked_for(fit, rotation, size):
    frames, format = luma_frame(RAMP)
    for channels in ("luma", "rgb"):
        settings = PreprocessSettings(size=size, fit=fit, channels=channels, rotation="upright")
        found = make_pictures(frames, replace(format, rotation=rotation), settings)
        width, height = map(int, size.split("x"))
        assert found.shape == (1, 1 if channels == "luma" else 3, height, width)


def test_a_crop_keeps_the_middle_in_its_proportions():
    picture = np.zeros((48, 64), np.uint8)
    picture[:, 8:56] = 200  # the middle square
    frames, format = luma_frame(picture)
    found = make_pictures(frames, format, PreprocessSettings(size="12x12", fit="crop", channels="luma"))
    assert found.min() > 170, "the filter reaches a little beyond the edge"
    assert found[0, 0, :, 1:-1].min() == 200


def test_an_error_comes_in_tensors_that_the_network_takes(request_of, text):
    stage = PreprocessStage(PreprocessSettings(size="16x8", channels="luma", window=4))
    passed = stage.failure(BadInput("broken", stage="decode"))
    assert passed["INPUT"].shape == (1, 4, 8, 16)
    assert len(passed["TIMING"]) == 1


def test_later_stages_are_told_of_upright_pictures(request_of, text):
    frames, format = luma_frame(RAMP)
    stage = PreprocessStage(PreprocessSettings(layout="interleaved", rotation="upright"))
    tensors = {"FRAMES": frames, "TIMING": np.array([[0, 1, 0, -2]], np.int64)}
    tensors["FORMAT"] = text(replace(format, rotation=90).to_json())
    request = Request(request_of(tensors, chunk=0), stage="preprocess")
    stage.listen(request)
    given = stage.step(request)
    assert given["INPUT"].shape == (1, 64, 48, 3)
    assert '"height":64' in given["FORMAT"]
    assert '"rotation":0' in given["FORMAT"]


@pytest.mark.parametrize("layout", ["nv12", "p010"])
def test_encode_is_handed_frames_only_where_one_goes_past_the_network(request_of, text, layout):
    format = replace(NOTHING, width=16, height=16, pixel_format=layout)
    frames = np.full((1, *frame_shape(width=16, height=16, pixel_format=layout)), 64, np.uint8)
    stage = PreprocessStage(PreprocessSettings(ten_bit="untouched", frames="untouched"))
    tensors = {"FRAMES": frames, "TIMING": np.array([[0, 1, 0, -2]], np.int64), "FORMAT": text(format.to_json())}
    request = Request(request_of(tensors, chunk=0), stage="preprocess")
    stage.listen(request)
    given = stage.step(request)
    assert given["FRAMES"].shape == (frames.shape if layout == "p010" else (1, 1, 1))
    assert stage.failure(BadInput("broken", stage="decode"))["FRAMES"].shape == (1, 1, 1)
    assert "FRAMES" not in PreprocessStage(PreprocessSettings()).failure(BadInput("broken", stage="decode"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"frames": "untouched", "size": "8x8", "window": 2},
            "frames is 'untouched'; allowed with slots or a window: none",
        ),
        ({"size": "64"}, "size is '64'; allowed: WIDTHxHEIGHT"),
        ({"fit": "squeeze"}, "fit is 'squeeze'; allowed: stretch, crop, letterbox"),
        ({"filter": "nearest"}, "filter is 'nearest'; allowed: bilinear"),
        ({"window": 4}, "window is 4 without a size"),
        ({"window": 2, "stride": 3, "size": "8x8"}, "stride is 3; allowed: at most window, which is 2"),
        ({"layout": "interleaved", "channels": "luma"}, "layout is 'interleaved' with a window or luma"),
    ],
)
def test_settings_that_cannot_be_keep_the_model_from_loading(values, said):
    with pytest.raises(SettingError, match=said):
        PreprocessSettings(**values)
