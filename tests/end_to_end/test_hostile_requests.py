# SPDX-License-Identifier: MIT
"""Requests that no client of ours sends: each is refused in words, and the streams beside it never notice."""

import json
import urllib.error
import urllib.request
import uuid

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.server

DEEP = "[" * 100_000


@pytest.fixture
def infer(server):
    """`infer(model, {name: array})`: a sequence of one request; the result, or the error."""

    def ask(model, tensors):
        inputs = []
        for name, array in tensors.items():
            kind = {"O": "BYTES", "u": "UINT8", "i": "INT64", "f": "FP32"}[array.dtype.kind]
            inputs.append(grpcclient.InferInput(name, list(array.shape), kind))
            inputs[-1].set_data_from_numpy(array)
        flags = {"sequence_id": str(uuid.uuid4()), "sequence_start": True, "sequence_end": True}
        with grpcclient.InferenceServerClient(server.grpc_url) as client:
            try:
                return client.infer(model, inputs, client_timeout=20, **flags)
            except InferenceServerException as error:
                return error

    return ask


def text(value):
    """A BYTES tensor of one element."""
    return np.array([value if isinstance(value, bytes) else value.encode()], np.object_)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_base": [1, 2**70]}, "time_base cannot be"),
        ({"frame_rate": [2**31, 1]}, "frame_rate cannot be"),
        ({"width": 2**70}, "width cannot be"),
        ({"width": 10**6, "height": 10**3}, "max_pixels of model 'decode'"),
        ({"emit": 5}, "emit cannot be 5"),
        ({"hdr": {"mastering_display": 5}}, "hdr.mastering_display cannot be 5"),
        ({"hdr": {"content_light": [1, 2]}}, "hdr.content_light cannot be"),
        ({"options": 5}, "options cannot be 5"),
        ({"encoder": {"threads": 10**9}}, "threads"),
        ({"encoder": {"crf": float("nan")}}, "crf"),
        ({"encoder": {"keyint": -1}}, "keyint"),
        ({"codec": "x" * 70_000}, "codec"),
        ({"codec": "dvb_teletext"}, "codecs of model"),
        ({"extradata": "AAAA" * 100}, ""),
        (b"\xff\xfe", "not UTF-8"),
        (DEEP, "not JSON"),
        ("5", "send a JSON object"),
        ("", "contract cannot be None"),
    ],
)
def test_a_start_that_cannot_be(infer, clip, change, said):
    stream, packets, timing = clip
    start = json.dumps(json.loads(stream) | change) if isinstance(change, dict) else change
    error = infer(
        "passthrough",
        {
            "STREAM": text(start),
            "PACKETS": np.array(packets[:8], np.object_),
            "PACKET_TIMING": timing[:8],
            "CHUNK": np.array([0]),
        },
    )
    assert isinstance(error, InferenceServerException), "what was sent was taken"
    assert said in error.message()
    assert "INVALID_ARG" in error.status()
    assert len(error.message()) < 5000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PACKETS": np.array([b""] * 8, np.object_)}, ""),
        (
            {"PACKETS": np.array([b"\0" * (17 << 20)], np.object_), "PACKET_TIMING": np.zeros((1, 4), np.int64)},
            "max_packet_bytes",
        ),
        ({"PACKETS": np.array([b"x"] * 1000, np.object_)}, "send one row a packet"),
        ({"PACKET_TIMING": np.zeros((8, 3), np.int64)}, "unexpected shape"),
        ({"PACKET_TIMING": np.zeros((8, 4), np.float32)}, "INT64"),
        ({"CHUNK": np.array([7])}, "chunk 0 is missing: got 7"),
        ({"CHUNK": np.array([-(2**63)])}, "came twice or too late"),
        ({"CHUNK": np.array([0, 1])}, "unexpected shape"),
    ],
)
def test_tensors_that_cannot_be(infer, clip, change, said):
    stream, packets, timing = clip
    tensors = {
        "STREAM": text(stream),
        "PACKETS": np.array(packets[:8], np.object_),
        "PACKET_TIMING": timing[:8],
        "CHUNK": np.array([0]),
    }
    error = infer("passthrough", tensors | change)
    assert isinstance(error, InferenceServerException), "what was sent was taken"
    assert said in error.message()


FORMAT = {
    "width": 16,
    "height": 16,
    "pixel_format": "nv12",
    "time_base": [1, 25],
    "color": dict.fromkeys(("matrix", "range", "transfer", "primaries", "chroma_location"), "bt709"),
    "pad": [0, 0, 0, 0],
}


@pytest.mark.parametrize("model", ["passthrough_preprocess", "encode"])
@pytest.mark.parametrize(
    "change",
    [
        {"width": 30_000, "height": 30_000},
        {"width": 2**70},
        {"time_base": [1, 0]},
        {"time_base": 5},
        {"color": [1]},
        {"color": {"matrix": 5}},
        {"pixel_format": []},
        {"report": 5},
        {"error": {"code": "INTERNAL", "message": 5, "stage": 5, "time": "x"}},
        {"error": {"code": []}},
        {"nothing": "of the kind"},
        DEEP,
    ],
)
def test_frames_sent_to_a_stage_past_the_service(infer, clip, model, change):
    said = json.dumps(FORMAT | change) if isinstance(change, dict) else change
    tensors = {
        "FRAMES": np.zeros((2, 24, 16), np.uint8),
        "TIMING": np.array([[0, 1, 0, -1], [1, 1, 0, -1]]),
        "FORMAT": text(said),
        "CHUNK": np.array([0]),
    }
    if model == "encode":
        tensors |= {"STREAM": text(clip[0]), "OUTPUT": np.zeros((1, 3, 16, 16), np.uint8)}
    answer = infer(model, tensors)
    if model != "encode":  # Passed on, as errors between stages are.
        answer = json.loads(answer.as_numpy("FORMAT")[0])["error"]
        assert answer["code"] == "INVALID_ARG"
    else:
        assert "INVALID_ARG" in answer.status(), answer.message()


@pytest.mark.parametrize("body", [b"", b"x", b"{}", b"[" * 100_000, bytes(range(256)) * 40])
def test_random_bytes_over_plain_http(server, body):
    for length in (None, "5", "-1", "99999999"):
        headers = {} if length is None else {"Inference-Header-Content-Length": length}
        request = urllib.request.Request(
            f"http://{server.http_url}/v2/models/passthrough/infer", data=body, headers=headers, method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        assert json.loads(caught.value.read())["error"]


def test_no_stage_died_of_all_this(server, call, clip):
    stream, packets, timing = clip
    good = call()
    good.ask(0, packets[:24], timing[:24], stream=stream, start=True)
    assert good.ask(1, end=True)[0]["pending"] == 0
    assert " died (" not in server.log
    assert server.health().ready
