# SPDX-License-Identifier: MIT
"""The rule for untagged streams, and what the pixel kernels are told."""

import pytest


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((1280, 720), "bt709"), ((1279, 576), "smpte170m"), ((720, 577), "bt709"), ((64, 64), "smpte170m")],
)
def test_an_untagged_stream_is_709_from_hd_size_on(size, matrix):
    from vireo_server.tags import resolve

    color = resolve({}, width=size[0], height=size[1], codec="h264")
    assert (color.matrix, color.range, color.chroma_location) == (matrix, "tv", "left")
    assert color.transfer == color.primaries == matrix


def test_what_a_stream_says_is_obeyed():
    from vireo_server.tags import resolve

    said = {
        "matrix": "bt2020nc",
        "range": "pc",
        "transfer": "smpte2084",
        "primaries": "bt2020",
        "chroma_location": "center",
    }
    color = resolve(said, width=64, height=64, codec="hevc")
    assert {key: getattr(color, key) for key in said} == said


def test_bt2020_is_top_left_and_mjpeg_is_full_range_and_centred():
    from vireo_server.tags import resolve

    assert resolve({"matrix": "bt2020nc"}, width=64, height=64, codec="hevc").chroma_location == "topleft"
    jpeg = resolve({}, width=64, height=64, codec="mjpeg")
    assert (jpeg.range, jpeg.chroma_location) == ("pc", "center")


def test_a_matrix_that_the_kernels_do_not_have_is_the_callers_to_convert():
    from vireo_server.errors import BadInput
    from vireo_server.tags import color_spec, resolve

    color = resolve({"matrix": "ycgco"}, width=64, height=64, codec="h264")
    with pytest.raises(BadInput, match=r"'ycgco'.*bt709.*convert the source"):
        color_spec(color, stage="preprocess")


@pytest.mark.parametrize("matrix", ["smpte240m", "fcc"])
def test_matrices_of_old_recordings_are_converted(matrix):
    from vireo_server.tags import color_spec, resolve

    assert (
        color_spec(resolve({"matrix": matrix}, width=64, height=64, codec="h264"), stage="preprocess").matrix == matrix
    )
