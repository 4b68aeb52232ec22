# SPDX-License-Identifier: MIT
"""Restoration and a chain on a real server: what the networks make of the very pictures, told how they were coded."""

from fractions import Fraction

import av
import numpy as np
import pytest
from vireo_client import VireoError
from vireo_kernels import rgb_to_frames
from vireo_server.launching import load_service
from vireo_server.locations import find_locations
from vireo_server.new_service import new_service
from vireo_server.runtimes import load_runtime
from vireo_training.degradation import BT709, crop_path, frame_from_rgb, rgb_from_frame
from vireo_training.photographs import load, photographs_for

WIDTH, HEIGHT, FRAMES = 96, 64, 20
SCALE = 7  # MPEG-2's quantiser scale code: a step of 14


def write(path, codec, options):
    """A held-out photograph under a moving window, 2 frames a second in GOPs of 3 s, tagged BT.709 limited."""
    photograph = load(photographs_for("held_out")[1])
    clip = crop_path(photograph, size=(HEIGHT, WIDTH), start=(150, 200), step=(1, 2), frames=FRAMES)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=2, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size = Fraction(1, 2), 6
        context.colorspace = context.color_range = context.color_primaries = context.color_trc = 1
        for n, picture in enumerate(clip):
            container.mux(stream.encode(frame_from_rgb(picture, pts=n).reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """MPEG-2 with B-pictures, all at one quantiser scale: three segments."""
    options = {"qmin": str(SCALE), "qmax": str(SCALE), "bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"}
    return write(tmp_path_factory.mktemp("coded") / "coded.mkv", "mpeg2video", options)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """H.264, whose I-, P- and B-pictures have quantisers of their own: what belongs to a picture cannot get mixed up
    unseen."""
    options = {"crf": "32", "bf": "2", "x264-params": "log-level=none:scenecut=0:ipratio=2:pbratio=2"}
    return write(tmp_path_factory.mktemp("varied") / "varied.mkv", "libx264", options)


@pytest.fixture(scope="module")
def restored(client, coded, tmp_path_factory):
    path = tmp_path_factory.mktemp("restored") / "restored.mkv"
    run = client.run("restoration", coded, path, options={"codec": "ffv1"})
    assert (run.frames_out, run.segments) == (FRAMES, 3)
    return path


def planes(path):
    """The pictures of a video as its decoder gives them, (T, H * 3 / 2, W)."""
    with av.open(str(path)) as container:
        return np.stack([frame.reformat(format="yuv420p").to_ndarray() for frame in container.decode(video=0)])


def pictures(path):
    """The same as RGB, (T, H, W, 3), as preprocess makes it."""
    with av.open(str(path)) as container:
        return np.stack([rgb_from_frame(frame) for frame in container.decode(video=0)])


def network(service, rgb, *conditions):
    """What the served network makes of (T, H, W, 3) pictures."""
    path = find_locations().model_repository / f"{service}_network" / "1" / "model.onnx"
    runtime = load_runtime("openvino", path, threads=2)
    told = [{name: np.tile(np.float32(conditions), (len(rgb), 1)) for name in runtime.conditions}]
    (result,) = runtime.run([np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))], told)
    return result.transpose(0, 2, 3, 1)


def as_planes(rgb):
    """(T, H, W, 3) pictures as encode lays them out, planar."""
    height, width = rgb.shape[1:3]
    frames = rgb_to_frames(np.ascontiguousarray(rgb), pixel_format="nv12", color=BT709, layout="interleaved")
    chroma = frames[:, height:].reshape(len(rgb), height // 2, width // 2, 2)
    return np.concatenate(
        [frames[:, :height], *(chroma[..., each].reshape(len(rgb), height // 4, width) for each in (0, 1))], axis=1
    )


def test_the_network_is_told_how_coarsely_each_picture_was_quantised(coded, restored):
    expected = as_planes(network("restoration", pictures(coded), 1, 2 * SCALE, 0, 0))
    assert not np.array_equal(expected, planes(coded))
    assert np.array_equal(planes(restored), expected)


@pytest.mark.parametrize("service", ["restoration", "restore_and_upscale"])
def test_the_same_bytes_again_beside_other_streams_and_at_any_chunk_size(client, varied, at_once, tmp_path, service):
    options = {"codec": "ffv1", "noise": 3}
    client.run(service, varied, tmp_path / "alone.mkv", options=options, segments_in_flight=1)
    alone = (tmp_path / "alone.mkv").read_bytes()
    assert [result == alone for result in at_once(service, varied, ".mkv", options=options)] == [True] * 4


@pytest.mark.parametrize("service", ["restoration", "restore_and_upscale"])
def test_a_run_whose_client_was_killed_goes_on_with_the_same_bytes(client, varied, kill_a_run, tmp_path, service):
    client.run(service, varied, tmp_path / "whole.mp4")
    kill_a_run(service, varied, tmp_path / "out.mp4", frames=12)  # in the second segment of three
    assert client.run(service, varied, tmp_path / "out.mp4").resumed == 1
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_strength_is_how_much_of_the_repair_is_made_and_at_0_the_pixels_are_the_inputs(client, coded, tmp_path):
    for strength, expected in (
        (0, planes(coded)),
        (0.5, as_planes(network("restoration", pictures(coded), 0.5, 2 * SCALE, 0, 0))),
    ):
        output = tmp_path / f"{strength}.mkv"
        client.run("restoration", coded, output, options={"codec": "ffv1", "strength": strength})
        assert np.array_equal(planes(output), expected), strength


def test_a_codec_that_does_not_tell_goes_through_untouched_and_a_note_says_what_to_do(client, tmp_path):
    source = write(tmp_path / "hevc.mkv", "libx265", {"crf": "34", "x265-params": "log-level=none"})
    run = client.run("restoration", source, tmp_path / "out.mkv", options={"codec": "ffv1"})
    assert any("hevc does not tell this server how coarsely" in warning for warning in run.warnings)
    assert np.array_equal(planes(tmp_path / "out.mkv"), planes(source))
    told = client.run("restoration", source, tmp_path / "told.mkv", options={"codec": "ffv1", "quantizer_step": 30})
    assert not told.warnings
    expected = as_planes(network("restoration", pictures(source), 1, 30, 1, 0))
    assert np.array_equal(planes(tmp_path / "told.mkv"), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": 1.5}, "option 'strength' cannot be 1.5; allowed is number in 0..1"),
        ({"noise": "much"}, "option 'noise' cannot be 'much'; allowed is number in 0..50"),
        ({"strenght": 1}, "unknown option 'strenght'; known are .*noise.*quantizer_step.*strength"),
    ],
)
def test_bad_options_are_refused_before_a_frame_is_decoded(client, coded, tmp_path, statistics, options, said):
    before = statistics("decode")["inference_count"]
    with pytest.raises(VireoError, match=said):
        client.run("restoration", coded, tmp_path / "out.mkv", options=options)
    assert statistics("decode")["inference_count"] == before


@pytest.mark.parametrize(("form", "scale", "dtype"), [("srvgg", 4, np.float16), ("rrdb", 2, np.float32)])
def test_a_network_as_people_export_it_is_served_by_one_command(
    client, server, repository, exported, coded, tmp_path, form, scale, dtype
):
    name, path = f"{form}_x{scale}", exported(form, scale=scale, dtype=dtype)
    new_service(name, repository=repository, onnx=path)
    load_service(name, address=server.grpc_url)
    output = tmp_path / "large.mkv"
    client.run(name, coded, output, options={"codec": "ffv1"})
    (rgb,) = load_runtime("openvino", path, threads=2).run(
        [np.ascontiguousarray(pictures(coded).transpose(0, 3, 1, 2))]
    )
    assert rgb.shape[2:] == (scale * HEIGHT, scale * WIDTH)
    assert np.array_equal(planes(output), as_planes(rgb.transpose(0, 2, 3, 1)))


def test_a_chain_goes_from_network_to_network_and_encodes_once(client, coded, tmp_path):
    output = tmp_path / "chain.mkv"
    run = client.run("restore_and_upscale", coded, output, options={"codec": "ffv1", "strength": 0.75})
    assert run.frames_out == FRAMES
    repaired = network("restoration", pictures(coded), 0.75, 2 * SCALE, 0, 0)
    assert np.array_equal(planes(output), as_planes(network("super_resolution", repaired)))
