# SPDX-License-Identifier: MIT
"""Two stages in one process give what they give in two."""

import json

import numpy as np
import pytest
from vireo_media.container import MediaSource
from vireo_media.probing import probe
from vireo_media.segments import whole_video
from vireo_media.testing import numbered_clip
from vireo_server.decode_preprocess import DecodePreprocessStage
from vireo_server.decoding import DecodeStage
from vireo_server.errors import BadInput, SettingError
from vireo_server.formats import KIND, ROW, SOURCE
from vireo_server.preprocessing import PreprocessStage
from vireo_server.sequences import Streams
from vireo_server.settings import DecodePreprocessSettings
from vireo_server.wire import LocalRequest

SETTINGS = {
    "windows": {"size": "24x16", "channels": "luma", "rotation": "upright", "window": 4, "stride": 3},
    "pictures": {"size": "24x16", "rotation": "upright"},
    "told": {"condition": ("quantizer_step", "noise=0")},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(STREAM, packets): 50 frames that stand on their side, 10 bit."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=50, size=(96, 64), rotation=90, pixel_format="yuv420p10le")
    source = MediaSource(str(path))
    stream = probe(source).description
    return stream, list(whole_video(source, stream).packets())


def requests(clip, size, sample):
    stream, packets = clip
    text = json.dumps(json.loads(stream.to_json()) | {"decoder": {"sample": sample}})
    for first in range(0, len(packets), size):
        part = packets[first : first + size]
        tensors = {"PACKETS": [packet.data for packet in part], "STREAM": text if not first else ""}
        tensors["PACKET_TIMING"] = np.array([packet[1:] for packet in part], np.int64)
        yield LocalRequest(tensors, start=not first, end=first + size >= len(packets), stage="decode")


def rows_of(replies):
    """What a network computes: [(its row of every input, its time)], and how many frames were said to come in."""
    found, frames = [], 0
    for reply in replies:
        timing = reply["TIMING"]
        frames += json.loads(reply["FORMAT"])["report"]["frames_in"]
        for row in timing[timing[:, KIND] == SOURCE]:
            inputs = {name: reply[name][row[ROW]].tobytes() for name in reply if name not in ("TIMING", "FORMAT")}
            found.append((inputs, row[0], row[1]))
    return found, frames


@pytest.mark.parametrize("size", [1, 20, 128])
@pytest.mark.parametrize("sample", ["all", "rate=6", "key"])
@pytest.mark.parametrize("name", SETTINGS)
def test_rows_times_and_counts_are_those_of_two_stages(clip, name, sample, size):
    settings = DecodePreprocessSettings(max_packets=128, max_rows=128, **SETTINGS[name])
    streams = Streams(lambda: None, name="decode", idle_seconds=5)
    decode, preprocess = DecodeStage(settings, streams), PreprocessStage(settings)
    together = DecodePreprocessStage(settings, streams)
    apart, joined = [], []
    for request in requests(clip, size, sample):
        if request.start:
            decode.open(request)
            together.open(request)
        inner = LocalRequest(decode.step(request), start=request.start, end=request.end, stage="preprocess")
        preprocess.listen(inner)
        apart.append(preprocess.step(inner))
        joined.append(together.step(request))
        assert all(len(value) for value in joined[-1].values()), "no tensor between stages may be empty"
    assert rows_of(joined) == rows_of(apart)
    assert rows_of(joined)[0]
    together.close()
    streams.close()


def test_notes_are_told_once_and_errors_pass_on(clip):
    settings = DecodePreprocessSettings(max_packets=128, **SETTINGS["pictures"])
    streams = Streams(lambda: None, name="mine_decode", idle_seconds=5)
    stage = DecodePreprocessStage(settings, streams)
    (request,) = requests(clip, 128, "all")
    stage.open(request)
    notes = json.loads(stage.step(request)["FORMAT"])["report"]["notes"]
    assert len([note for note in notes if "the network computes in 8 bit" in note]) == 1
    failed = stage.failure(BadInput("broken", stage="decode"))
    assert json.loads(failed["FORMAT"])["error"]["message"] == "broken"
    assert failed["INPUT"].shape == (1, 3, 16, 24)
    few = DecodePreprocessStage(DecodePreprocessSettings(max_packets=8, **SETTINGS["pictures"]), streams)
    few.open(request)
    with pytest.raises(BadInput, match=r"50 packets in one request; allowed: 8 \(max_packets of model 'mine_decode'\)"):
        few.step(request)
    streams.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": "rows", "layout": "interleaved"},
        {"gives": "hdr10"},
        {"ten_bit": "untouched"},
        {"frames": "untouched"},
        {"skip": ("strength<=0",), "condition": ("strength=1",)},
    ],
)
def test_what_needs_the_frames_later_is_refused(wrong):
    with pytest.raises(SettingError, match="for stages whose frames go to encode"):
        DecodePreprocessSettings(**wrong)
