# SPDX-License-Identifier: MIT
"""The tone_mapping stage, request by request: what it maps, what it passes on, and what it makes of metadata."""

from dataclasses import replace

import numpy as np
import pytest
from vireo_kernels import ColorSpec, LightSpec, frames_to_rgb, hdr_to_sdr, rgb_to_frames
from vireo_server.errors import BadInput, SettingError
from vireo_server.formats import GENERATED, REFERENCE, SOURCE, SPARE, Format, frame_shape
from vireo_server.hdr import HDR10_COLOR
from vireo_server.settings import ToneMappingSettings
from vireo_server.tags import resolve
from vireo_server.tone_mapping import ToneMappingStage, light_spec
from vireo_server.wire import Request

PQ = ColorSpec(matrix="bt2020nc", color_range="limited", chroma_location="topleft")
BT709 = ColorSpec(matrix="bt709", color_range="limited")


def format_of(*, transfer, width=21, height=13, pixel_format="nv12", **more):
    tags = {"matrix": "bt2020nc", "primaries": "bt2020"} if transfer != "bt709" else {"matrix": "bt709"}
    color = resolve({**tags, "transfer": transfer}, width=width, height=height, codec="hevc")
    return Format(width=width, height=height, pixel_format=pixel_format, time_base=(1, 25), color=color, **more)


@pytest.fixture
def step(request_of, text):
    """Frames of given kinds through a new stage: its tensors."""

    def run(target, format, kinds, frames=None):
        shape = frame_shape(width=format.width, height=format.height, pixel_format=format.pixel_format)
        if frames is None:
            frames = np.random.default_rng(1).integers(0, 256, (len(kinds), *shape), np.uint8)
        timing = np.array([[place, 1, kind, -2] for place, kind in enumerate(kinds)], np.int64)
        tensors = {"FRAMES": frames, "TIMING": timing, "FORMAT": text(format.to_json())}
        stage = ToneMappingStage(ToneMappingSettings(target=target))
        request = Request(request_of(tensors, chunk=0, start=True), stage="tone_mapping")
        stage.listen(request)
        stage.open(request)
        return frames, stage.step(request)

    return run


@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
def test_hdr_of_any_size_and_depth_becomes_what_the_kernels_say(step, pixel_format, curve):
    format = format_of(transfer=curve, pixel_format=pixel_format, options={"peak": 4000, "method": "bt2446c"})
    frames, answer = step("sdr", format, [SOURCE, SPARE, GENERATED, REFERENCE])
    size = {"width": 21, "height": 13}
    rgb = frames_to_rgb(frames, pixel_format=pixel_format, color=PQ, dtype="uint16", **size)
    light = LightSpec(curve="pq" if curve == "smpte2084" else "hlg", primaries="bt2020")
    sdr = rgb_to_frames(
        hdr_to_sdr(rgb, method="bt2446c", source=light, peak=4000), pixel_format="nv12", color=BT709, dither=True
    )
    np.testing.assert_array_equal(answer["FRAMES"][[0, 2, 3]], sdr[[0, 2, 3]])
    assert answer["TIMING"][:, 3].tolist() == [-1, -2, -1, -1]
    assert answer["TIMING"][:, 2].tolist() == [SOURCE, SPARE, GENERATED, REFERENCE]


def test_nothing_but_spare_rows_stays_that_in_the_new_format(step):
    _, answer = step("hdr10", format_of(transfer="bt709"), [SPARE])
    assert answer["FRAMES"].shape == (1, 13 + 7, 44)
    assert answer["TIMING"][:, 2:].tolist() == [[SPARE, -2]]
    assert '"p010"' in answer["FORMAT"]


@pytest.mark.parametrize(
    ("metadata", "peak"),
    [
        (None, 1000),
        ({"mastering_display": {"max_luminance": [40_000_000, 10_000]}}, 4000),
        ({"mastering_display": {"max_luminance": [4000, 1]}, "content_light": {"max_content": 1500}}, 1500),
        ({"mastering_display": None, "content_light": {"max_content": 0, "max_average": 0}}, 1000),
        ({"content_light": {"max_content": 50}}, 100),
    ],
)
def test_the_peak_is_the_least_that_the_source_says(step, metadata, peak):
    said = step("sdr", format_of(transfer="smpte2084", pixel_format="p010", hdr=metadata), [SOURCE])[1]
    given = step("sdr", format_of(transfer="smpte2084", pixel_format="p010", options={"peak": peak}), [SOURCE])[1]
    np.testing.assert_array_equal(said["FRAMES"], given["FRAMES"])
    assert '"hdr":null' in said["FORMAT"]


def test_every_transfer_that_is_served_has_a_curve_and_no_other():
    color = replace(HDR10_COLOR, primaries="smpte240m")
    assert light_spec(replace(color, transfer="bt1361e")).curve == "bt1886"
    assert light_spec(replace(color, transfer="iec61966-2-1")).curve == "srgb"
    assert light_spec(color).primaries == "smpte170m"
    with pytest.raises(BadInput, match="transfer is 'linear'; allowed: bt709, "):
        light_spec(replace(color, transfer="linear"))
    with pytest.raises(BadInput, match="primaries are 'film'; allowed: bt709, bt470bg, "):
        light_spec(replace(color, primaries="film"))


def test_a_target_that_is_not_known_is_refused():
    with pytest.raises(SettingError, match="target is 'hdr'; allowed: hdr10, sdr"):
        ToneMappingSettings(target="hdr")
