# SPDX-License-Identifier: MIT
"""The served network against the same network in the training code, on photographs it never saw."""

from fractions import Fraction

import av
import numpy as np
import pytest
from vireo_client import Client
from vireo_server.locations import find_locations
from vireo_training.degradation import frame_from_rgb, rgb_from_frame
from vireo_training.evaluation import bicubic_x2, evaluation_clip, onnx_network, psnr_y
from vireo_training.photographs import load, photographs_for

NETWORK = find_locations().model_repository / "super_resolution_network" / "1" / "model.onnx"


def write(path, clip):
    """x264 at CRF 18, BT.709 limited: mild compression."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "medium"})
        stream.height, stream.width = clip[0].shape[:2]
        stream.pix_fmt = "nv12"
        context = stream.codec_context
        context.time_base = Fraction(1, 25)
        context.colorspace = context.color_range = context.color_primaries = context.color_trc = 1
        for n, picture in enumerate(clip):
            container.mux(stream.encode(frame_from_rgb(picture, pts=n)))
        container.mux(stream.encode())


def read(path):
    with av.open(str(path)) as container:
        return np.stack([rgb_from_frame(frame) for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def judged(server, tmp_path_factory):
    """(served, network in the training code, bicubic): PSNR-Y in dB of each held-out photograph."""
    folder = tmp_path_factory.mktemp("judged")
    network = onnx_network(NETWORK)
    results = {}
    with Client(server.grpc_url) as client:
        for photograph in photographs_for("held_out"):
            halved, original = evaluation_clip(load(photograph), crf=None)
            small, large = folder / f"{photograph.name}.mp4", folder / f"{photograph.name}.mkv"
            write(small, halved)
            client.run("super_resolution", small, large, options={"codec": "ffv1"})
            low = read(small)
            pictures = read(large), network(low), bicubic_x2(low)
            results[photograph.name] = tuple(psnr_y(picture, original) for picture in pictures)
    return results


def test_the_served_result_is_that_of_the_training_code(judged):
    for name, (served, trained, _) in judged.items():
        assert abs(served - trained) <= 0.05, name


def test_the_served_result_beats_bicubic_on_photographs_that_training_never_saw(judged):
    gains = [served - bicubic for served, _, bicubic in judged.values()]
    assert len(gains) >= 3
    assert min(gains) >= 0.4
    assert np.mean(gains) >= 1.0
