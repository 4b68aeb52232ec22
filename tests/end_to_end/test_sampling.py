# SPDX-License-Identifier: MIT
"""The decode model of a real server gives exactly the frames that the rule names, read from their pixels."""

import json
import uuid
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from vireo_media.container import MediaSource
from vireo_media.description import StreamDescription
from vireo_media.exchange import Exchange
from vireo_media.probing import probe
from vireo_media.segments import whole_video, with_total
from vireo_media.services import ServiceDescription
from vireo_media.testing import numbered_clip, read_number
from vireo_media.times import timing_rows

SPARE = 1


@pytest.fixture
def decode(server):
    """`decode(path, "every=3")`: (number, pts) of each row that the decode model gives, and the notes."""
    client = grpcclient.InferenceServerClient(server.grpc_url)

    def run(path, sample, *, chunk=8, spoil=lambda packets, timing: packets):
        source = MediaSource(str(path))
        stream = probe(source).description
        stream = with_total(source, replace(stream, decoder={**stream.decoder, "sample": sample}))
        service = ServiceDescription(name="decode", kind="extraction", segments=False, max_packets=32, max_rows=32)
        exchange = Exchange(whole_video(source, stream), stream, service, chunk_packets=chunk)
        sequence, rows = str(uuid.uuid4()), []
        while not exchange.is_done:
            request = exchange.next_request()
            arrays = {
                "STREAM": np.array([request.stream.encode()], np.object_),
                "PACKETS": np.array([*spoil(request.packets, request.timing), None], np.object_)[:-1],
                "PACKET_TIMING": np.asarray(request.timing, np.int64).reshape(-1, 4),
                "CHUNK": np.array([request.chunk], np.int64),
            }
            inputs = []
            for name, array in arrays.items():
                inputs.append(grpcclient.InferInput(name, array.shape, "BYTES" if array.dtype == object else "INT64"))
                inputs[-1].set_data_from_numpy(array)
            flags = {"sequence_id": sequence, "sequence_start": request.start, "sequence_end": request.end}
            result = client.infer("decode", inputs, **flags)
            format = json.loads(result.as_numpy("FORMAT")[0])
            assert format["error"] is None, format["error"]
            for frame, (pts, _, kind, _) in zip(result.as_numpy("FRAMES"), result.as_numpy("TIMING"), strict=True):
                if kind != SPARE:
                    luma = np.ascontiguousarray(frame[: stream.height, : stream.width])
                    rows.append((read_number(av.VideoFrame.from_ndarray(luma, format="gray")), int(pts)))
            exchange.receive([], timing_rows([]), json.dumps(format["report"]))
        return rows, exchange.notes

    yield run
    client.close()


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    """50 frames at 25 a second with B-frames, a key frame every 12."""
    path = tmp_path_factory.mktemp("sampling") / "constant.mp4"
    numbered_clip(str(path), frames=50, gop=12, bframes=2, size=(160, 96))
    return path


@pytest.mark.parametrize(
    ("sample", "wanted"),
    [
        ("all", list(range(50))),
        ("key", [0, 12, 24, 36, 48]),
        ("every=7", list(range(0, 50, 7))),
        ("rate=5", list(range(0, 50, 5))),
        ("segments=8", [int((part + 0.5) * 50 / 8) for part in range(8)]),
        ("segments=64", [int((part + 0.5) * 50 / 64) for part in range(64)]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 17])
def test_frames_are_those_the_rule_names(decode, constant, sample, wanted, chunk):
    rows, notes = decode(constant, sample, chunk=chunk)
    assert [number for number, _ in rows] == wanted
    assert [pts for _, pts in rows] == [512 * number for number in wanted]
    assert notes == []


def test_a_variable_frame_rate_is_sampled_by_time(decode, tmp_path):
    times = np.cumsum([0, *np.random.default_rng(1).integers(1, 30, 59)]).tolist()  # in hundredths of a second
    numbered_clip(str(tmp_path / "vfr.mkv"), frames=60, pts=times, time_base=Fraction(1, 100), gop=12, size=(160, 96))
    rows, _ = decode(tmp_path / "vfr.mkv", "rate=4")
    wanted, slot = [], -1
    for number, time in enumerate(times):
        if time // 25 > slot:
            wanted.append(number)
            slot = time // 25
    assert [number for number, _ in rows] == wanted
    assert 10 < len(wanted) < 50


def test_what_is_between_key_frames_is_never_decoded(decode, constant):
    """Garbage in every other packet would fail a decoder that looks at it."""

    def spoil(packets, timing):
        return [data if row[3] & 1 else b"garbage" for data, row in zip(packets, timing, strict=True)]

    rows, _ = decode(constant, "key", spoil=spoil)
    assert [number for number, _ in rows] == [0, 12, 24, 36, 48]


@pytest.mark.parametrize("sample", ["key", "every=3", "rate=3", "segments=3"])
def test_one_frame_is_sampled(decode, tmp_path, sample):
    numbered_clip(str(tmp_path / "one.mp4"), frames=1, size=(160, 96))
    rows, _ = decode(tmp_path / "one.mp4", sample)
    assert [number for number, _ in rows] == [0] * (3 if sample == "segments=3" else 1)


def test_fewer_frames_than_were_said_are_said(decode, constant, monkeypatch):
    monkeypatch.setattr("vireo_media.segments.count_frames", lambda source, stream: 80)
    rows, notes = decode(constant, "segments=4")
    assert [number for number, _ in rows] == [10, 30, 49, 49]
    assert notes == ["fewer frames came than was said: the last one stands for 2 samples"]


def test_interlaced_key_frames_are_deinterlaced_by_themselves(decode, tmp_path):
    """Each key frame alone: its neighbours here are seconds away."""
    numbered_clip(
        str(tmp_path / "interlaced.mp4"),
        frames=48,
        gop=12,
        size=(160, 96),
        options={"x264-params": "tff=1:keyint=12:scenecut=0"},
    )
    rows, notes = decode(tmp_path / "interlaced.mp4", "key")
    assert [number for number, _ in rows] == [0, 12, 24, 36]
    assert any("deinterlaced" in note for note in notes)


def test_a_stream_that_samples_segments_must_say_how_many_frames_it_has(call):
    stream = StreamDescription(codec="h264", time_base=(1, 25), width=64, height=48, decoder={"sample": "segments=3"})
    answer = call().ask(0, stream=stream.to_json(), start=True, end=True)
    assert "needs the number of frames and STREAM says frames_total None" in str(answer)
    assert "[INVALID_ARG]" in str(answer)
