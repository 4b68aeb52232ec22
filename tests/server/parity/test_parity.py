# SPDX-License-Identifier: MIT
"""Frames of training pipelines against the service's: equal where they are the same, measured where they are not."""

import json

import av
import numpy as np
import pytest


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A photograph under a moving camera: H.264, BT.709 limited, 160x120, 6 frames."""
    from skimage import data

    photograph = data.astronaut()
    path = tmp_path_factory.mktemp("parity") / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.colorspace = stream.codec_context.color_range = 1
        for n in range(6):
            window = np.ascontiguousarray(photograph[60 + 4 * n : 180 + 4 * n, 150 + 3 * n : 310 + 3 * n])
            frame = av.VideoFrame.from_ndarray(window, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)))
        container.mux(stream.encode())
    return str(path)


def measured(video, name, **serving):
    from vireo_server.parity import Serving, compare, load_pipeline

    return compare(video, name, load_pipeline(name), Serving(**serving))


def test_frames_made_by_our_kernels_are_equal(video):
    from vireo_server.parity import Serving, compare

    result = compare(video, "ours", lambda path, size: Serving().frames(path), Serving())
    assert result.frames == 6
    assert result.pixels.to_json() == {"max": 0, "mean": 0.0, "bias": 0.0, "psnr": None, "share_over_2": 0.0}


def test_swscale_as_it_is_by_default_is_biased_by_a_level_and_far_off_at_edges(video):
    result = measured(video, "swscale").pixels.to_json()
    assert -1.3 < result["bias"] < -0.7
    assert result["max"] > 8
    assert result["share_over_2"] > 0.02


@pytest.mark.parametrize("name", ["pillow", "opencv", "swscale"])
def test_every_preset_gives_every_frame(video, name):
    result = measured(video, name, size=(64, 48))
    assert result.frames == 6
    assert result.heat.shape == (48, 64)
    assert 0 < result.pixels.to_json()["mean"] < 20


def test_the_family_of_the_resize_is_what_matters_most(video):
    """OpenCV does not antialias: against our resize of its family it is near, against the other it is far."""
    near = measured(video, "opencv", size=(40, 30), antialias=False).pixels.to_json()
    far = measured(video, "opencv", size=(40, 30), antialias=True).pixels.to_json()
    assert near["psnr"] > far["psnr"] + 3


def test_a_function_of_the_users(video, tmp_path, monkeypatch):
    (tmp_path / "my_training.py").write_text(
        "import av\n\n\ndef frames(path, size):\n    for frame in av.open(path).decode(video=0):\n"
        "        yield frame.to_ndarray(format='rgb24')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert measured(video, "my_training:frames").frames == 6


@pytest.mark.parametrize(
    ("name", "said"),
    [("tensorflow", "'tensorflow' is unknown; allowed: pillow, opencv"), ("no_such:thing", "cannot be imported")],
)
def test_an_unknown_pipeline_says_what_there_is(name, said):
    from vireo_server.parity import load_pipeline

    with pytest.raises(ValueError, match=said):
        load_pipeline(name)


def test_a_pipeline_that_loses_frames_or_changes_their_size_is_refused(video):
    from itertools import islice

    from vireo_server.errors import BadInput
    from vireo_server.parity import PRESETS, Serving, compare

    with pytest.raises(BadInput, match="serving has 6 frames and training pipeline 'short' 4"):
        compare(video, "short", lambda path, size: islice(PRESETS["swscale"](path, size), 4), Serving())
    with pytest.raises(BadInput, match=r"'small' gives uint8 \(60, 80, 3\), serving uint8 \(120, 160, 3\)"):
        compare(video, "small", lambda path, size: PRESETS["swscale"](path, (80, 60)), Serving())


def test_a_network_shows_what_the_deviation_does_to_its_answers(video, tmp_path):
    from vireo_server.locations import find_locations
    from vireo_server.parity import Serving, compare, load_pipeline
    from vireo_server.parity.report import draw, table, write_json

    serving = Serving.of_service(find_locations().model_repository, "super_resolution")
    results = [compare(video, name, load_pipeline(name), serving, frames=3) for name in ("pillow", "swscale")]
    assert all(len(result.scores) == 3 for result in results)
    assert all(result.outputs.to_json()["mean"] > 0.3 for result in results)
    write_json(tmp_path / "parity.json", results)
    first = json.loads((tmp_path / "parity.json").read_text())[0]
    assert first["frames"] == 3
    assert {"max", "mean", "bias", "psnr", "share_over_2"} == set(first["input"])
    assert "swscale" in table(results)
    pytest.importorskip("matplotlib", reason="the picture needs the extra 'perf'")
    draw(tmp_path / "parity.png", results)
    assert (tmp_path / "parity.png").stat().st_size > 5_000


def test_no_such_service_lists_those_there_are():
    from vireo_server.errors import BadInput
    from vireo_server.locations import find_locations
    from vireo_server.parity import Serving

    with pytest.raises(BadInput, match=r"'nothing'.*passthrough, "):
        Serving.of_service(find_locations().model_repository, "nothing")


def test_a_service_is_asked_as_its_configuration_says(exported, tmp_path):
    from vireo_server.new_service import new_service
    from vireo_server.parity.serving import Serving
    from vireo_server.runtimes import load_runtime

    new_service("bgr", repository=tmp_path, onnx=exported("srvgg"), parameters={"order": "bgr"})
    batch = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    found, plain = (
        next(network.run([batch]))
        for network in (
            Serving.of_service(tmp_path, "bgr").network,
            load_runtime("auto", exported("srvgg"), threads=0),
        )
    )
    assert not np.array_equal(found, plain)
