# SPDX-License-Identifier: MIT
"""What sampling saves: frames that are not wanted never reach a kernel."""

import numpy as np
import pytest
from vireo_media.container import MediaSource
from vireo_media.probing import probe
from vireo_media.segments import whole_video
from vireo_media.testing import numbered_clip
from vireo_server import decoding
from vireo_server.decoding import DecodeStage
from vireo_server.errors import SettingError
from vireo_server.sequences import Streams
from vireo_server.settings import DecodeSettings
from vireo_server.wire import Request


@pytest.mark.parametrize(("sample", "converted"), [("all", 30), ("key", 3), ("every=10", 3), ("rate=5", 6)])
def test_only_what_is_wanted_is_converted(tmp_path, monkeypatch, request_of, text, sample, converted):
    numbered_clip(str(tmp_path / "clip.mp4"), frames=30, gop=10, size=(64, 48))
    source = MediaSource(str(tmp_path / "clip.mp4"))
    stream = probe(source).description
    ((packets, timing),) = whole_video(source, stream).chunks(32)
    tensors = {"PACKETS": np.array([*packets, None], np.object_)[:-1], "PACKET_TIMING": timing}
    request = Request(
        request_of({**tensors, "STREAM": text(stream.to_json())}, chunk=0, start=True, end=True), stage="decode"
    )
    seen = []
    write_row = decoding.write_row
    monkeypatch.setattr(decoding, "write_row", lambda frame, row: (seen.append(frame.pts), write_row(frame, row)))
    streams = Streams(lambda: None, name="decode", idle_seconds=5)
    stage = DecodeStage(DecodeSettings(sample=sample), streams)
    stage.open(request)
    assert len(stage.step(request)["TIMING"]) == converted == len(seen)
    streams.close()


def test_a_model_whose_configuration_samples_nonsense_does_not_load():
    with pytest.raises(SettingError, match="parameter sample cannot be 'keys'; allowed is all, key"):
        DecodeSettings(sample="keys")
