# SPDX-License-Identifier: MIT
"""Every option of every service, wrong: both doors name it and what is allowed, and no stage is asked for anything."""

import json

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException
from vireo_media.description import DECODER_DEFAULTS, ENCODER_DEFAULTS
from vireo_media.errors import OptionError
from vireo_media.testing import numbered_clip

ENCODER = [
    {"codec": "h265"}, {"codec": "av1", "preset": "veryfast"}, {"codec": "hevc", "preset": "8"}, {"preset": "quick"},
    {"codec": "hevc", "crf": 52}, {"codec": "av1", "crf": 64}, {"crf": "good"}, {"threads": 0}, {"maxrate": 10},
    {"codec": "hevc", "crf": 0, "maxrate": 1_000_000}, {"keyint": 0.01}, {"latency": "none"}, {"nvenc": "maybe"},
    {"codec": "hevc", "nvenc": "on", "preset": "fast"},
]  # fmt: skip
DECODER = [{"on_corrupt": "ignore"}, {"deinterlace": "on"}, {"nvdec": "on"}]
RATIOS = [{"ratio": 0.5}, {"rate": 12}, {"rate": 0.5}, {"ratio": 2, "rate": 50}, {"rate": "fast"}]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=8, size=(64, 48))
    return path


@pytest.fixture
def asked(server):
    """How often each stage was asked for something."""

    def read():
        with grpcclient.InferenceServerClient(server.grpc_url) as triton:
            found = triton.get_inference_statistics(as_json=True)["model_stats"]
        counts = {one["name"]: int(one["inference_stats"]["success"].get("count", 0)) for one in found}
        return {name: count for name, count in counts.items() if name != "file"}

    return read


def wrong_by_schema(properties):
    """Options that their JSON Schemas forbid: of another type, beyond each bound, no choice."""
    for name, schema in properties.items():
        yield {name: {"no": "value"}}
        if "minimum" in schema:
            yield {name: schema["minimum"] - 1}
        if "maximum" in schema:
            yield {name: schema["maximum"] + 1}
        if "enum" in schema:
            yield {name: "nothing of the kind"}


def wrong_options(description):
    properties = description.options.get("properties", {})
    table = [{"unheard_of": 1}, *wrong_by_schema(properties), *DECODER]
    table += RATIOS if "ratio" in properties else []
    if description.kind == "transformation":
        return [*table, {"sample": "key"}, *ENCODER]
    return [*table, {"sample": "often"}, {"sample": "rate=0"}, *({name: 1} for name in ENCODER_DEFAULTS)]


def test_every_wrong_option_is_refused_before_any_stage_is_asked(client, ask, asked, clip, tmp_path):
    def run(service, options):
        if service.description.kind == "extraction":
            return client.extract(service.name, clip, options=options)
        return client.run(service.name, clip, tmp_path / "out.mkv", options=options)

    before, media = asked(), clip.read_bytes()
    tried = 0
    for service in client.services():
        for options in wrong_options(service.description):
            with pytest.raises(OptionError) as refused:
                run(service, options)
            said = str(refused.value)
            assert any(name in said for name in options), (service.name, options, said)
            assert "allowed is" in said or "known are" in said, (service.name, options, said)
            with pytest.raises(InferenceServerException) as refused:
                ask(service.name, media, **options)
            assert said in str(refused.value), (service.name, options)
            tried += 1
    assert tried > 250
    assert asked() == before
    assert not list(tmp_path.iterdir())


def test_what_does_not_go_with_the_source_or_the_container_is_refused_too(client, ask, asked, tmp_path):
    deep, before = tmp_path / "deep.mkv", asked()
    numbered_clip(str(deep), frames=8, size=(64, 48), codec="ffv1", pixel_format="yuv420p10le")
    with pytest.raises(OptionError, match="'codec' cannot be 'vp9': the source is of 10 bit") as refused:
        client.run("passthrough", deep, tmp_path / "out.mkv", options={"codec": "vp9"})
    with pytest.raises(InferenceServerException) as same:
        ask("passthrough", deep.read_bytes(), codec="vp9", container="mkv")
    assert str(refused.value) in str(same.value)
    with pytest.raises(InferenceServerException, match="a 'webm' file cannot hold codec 'h264'"):
        ask("passthrough", deep.read_bytes(), codec="h264", container="webm")
    assert asked() == before


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"preset": "quick"}, "decode: STREAM: encoder: option 'preset' cannot be 'quick' with codec 'h264'; allowed"),
        ({"codec": "av1", "crf": 64}, "decode: STREAM: encoder: option 'crf' cannot be 64 with codec 'av1'; allowed"),
        ({"nvenc": "on"}, "decode: nvenc is 'on', and this server has no GPU that encodes"),
    ],
)
def test_another_caller_hears_of_it_from_decode_before_it_looks_at_a_packet(call, clip, client, encoder, said):
    from vireo_media.container import MediaSource
    from vireo_media.probing import probe

    stream = json.loads(probe(MediaSource(str(clip))).description.to_json())
    stream["encoder"] |= encoder
    stream["decoder"] = dict(DECODER_DEFAULTS)
    caller = call("passthrough")
    error = caller.ask(0, [b"not a picture at all"], stream=json.dumps(stream), start=True, end=True)
    assert said in str(error)
    assert "[INVALID_ARG]" in str(error)
