# SPDX-License-Identifier: MIT
"""Scripts that say `SLOTS = True`: what they are given, what becomes of it, and the services made of them."""

import json

import pytest
from vireo_media import interpolation
from vireo_media.testing import numbered_clip, read_frames
from vireo_server.locations import find_locations
from vireo_server.new_service import new_service
from vireo_server.scripting import run_file
from vireo_server.services import read_description, read_parameter

#: Fills the first slot of every interval with the picture before it, leaves the others empty, and damages the sources.
SCRIPT = """\
import json
SLOTS = True
seen = []

def configure(config):
    return {}

def process(data):
    kind, frames = data["kind"], data["frames"]
    seen.append((list(kind), list(data["pts"]), data["last"]))
    assert kind[0] != 1, "a batch begins with a picture"
    assert data["last"] or kind[-1] != 1, "every slot has a picture behind it"
    for place in range(1, len(kind)):
        if kind[place] == 1 and kind[place - 1] != 1:
            frames[place][:] = frames[place - 1]
            kind[place] = 2
    for place in range(len(kind)):
        if kind[place] in (0, 3):
            frames[place][:4] = 0
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "slots.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Frames of which each looks nearly like the one before, so that none is a cut."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(path, frames=40, size=(160, 112), fps=10)
    return path


def test_every_slot_lies_between_two_pictures_and_what_stays_empty_is_skipped(script, clip, tmp_path):
    run = run_file(script, clip, tmp_path / "out.mp4", stream={"ratio": 2}, encoder={"crf": 10})
    assert (run.frames_in, run.frames_out) == (40, 80)
    assert [number for _, number in read_frames(str(tmp_path / "out.mp4"))][::2] == list(range(40))


def test_a_service_of_such_a_script_is_cut_into_segments_that_see_the_next_picture(script, tmp_path):
    new_service("mine", repository=tmp_path / "models", script=script, warmup="64x64")
    description = read_description(tmp_path / "models", "mine")
    assert (description.segments, description.lookahead_frames, description.changes_rate) == (True, 1, True)
    assert set(interpolation.OPTIONS) < set(description.options["properties"])
    assert read_parameter(tmp_path / "models" / "mine_preprocess" / "config.pbtxt", "slots") == "rows"


@pytest.mark.parametrize("service", ["frame_interpolation", "frame_interpolation_network"])
def test_the_shipped_services_offer_what_the_rule_takes(service):
    config = find_locations().model_repository / service / "config.pbtxt"
    offered = json.loads(read_parameter(config, "vireo"))["options"]["properties"]
    assert {name: offered[name] for name in interpolation.OPTIONS} == json.loads(json.dumps(interpolation.OPTIONS))
