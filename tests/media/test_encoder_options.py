# SPDX-License-Identifier: MIT
"""What no encoder can do is said by the option's name, and what the chosen one cannot do with its."""

from dataclasses import replace

import pytest
from vireo_media.description import ENCODER_DEFAULTS, StreamDescription
from vireo_media.encoder_options import EncoderOptions
from vireo_media.errors import InputError, OptionError
from vireo_media.services import ServiceDescription, apply_options

STREAM = StreamDescription(codec="h264", time_base=(1, 25), width=64, height=48)
SERVICE = ServiceDescription(name="own", kind="transformation")

WRONG = [
    ({"codec": "h265"}, "option 'codec' cannot be 'h265'; allowed is 'h264', 'hevc', 'av1', 'vp9', 'ffv1'"),
    ({"preset": "quick"}, "option 'preset' cannot be 'quick' with codec 'h264'; allowed is 'ultrafast', "),
    ({"preset": 8}, "option 'preset' cannot be 8 with codec 'h264'; allowed is 'ultrafast', "),
    ({"codec": "av1", "preset": "veryfast"}, "'preset' cannot be 'veryfast' with codec 'av1'; allowed is '0', '1'"),
    ({"codec": "av1", "preset": 14}, "'preset' cannot be 14 with codec 'av1'; allowed is '0', '1'"),
    ({"codec": "vp9", "preset": 9}, "'preset' cannot be 9 with codec 'vp9'; allowed is '0', '1'"),
    ({"codec": "ffv1", "preset": "fast"}, "'preset' cannot be 'fast' with codec 'ffv1'; allowed is none"),
    ({"crf": 52}, "option 'crf' cannot be 52 with codec 'h264'; allowed is 0 to 51"),
    ({"crf": -1}, "option 'crf' cannot be -1"),
    ({"crf": float("nan")}, "option 'crf' cannot be nan"),
    ({"codec": "av1", "crf": 64}, "option 'crf' cannot be 64"),
    ({"codec": "ffv1", "crf": 20}, "'crf' cannot be 20 with codec 'ffv1'; allowed is none, since it is lossless"),
    ({"crf": "good"}, "option 'crf' cannot be 'good'; allowed is "),
    ({"threads": 0}, "option 'threads' cannot be 0; allowed is "),
    ({"threads": True}, "option 'threads' cannot be True; allowed is "),
    ({"maxrate": 999}, "option 'maxrate' cannot be 999; allowed is "),
    ({"maxrate": 1_000_000_001}, "option 'maxrate' cannot be 1000000001; allowed is "),
    ({"maxrate": 50_000, "crf": 0}, "'maxrate' cannot be 50000 with codec 'h264' and crf 0; allowed is none, since"),
    ({"maxrate": 50_000, "codec": "ffv1"}, "'maxrate' cannot be 50000 with codec 'ffv1'; allowed is none, since"),
    ({"keyint": 0.01}, "option 'keyint' cannot be 0.01; allowed is "),
    ({"latency": "none"}, "option 'latency' cannot be 'none'; allowed is 'normal', 'low'"),
    ({"nvenc": "maybe"}, "option 'nvenc' cannot be 'maybe'; allowed is 'off', 'on'"),
    ({"nvenc": "on", "codec": "vp9"}, "'codec' cannot be 'vp9' with nvenc 'on'; allowed is 'h264', 'hevc', 'av1'"),
    ({"nvenc": "on", "preset": "fast"}, "'preset' cannot be 'fast' with codec 'h264' and nvenc 'on'; allowed is 'p1'"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_what_cannot_be_is_refused_by_the_client_and_by_a_stage_that_reads_stream(options, said):
    with pytest.raises(OptionError) as refused:
        apply_options(STREAM, SERVICE, options, defaults={})
    assert str(refused.value).startswith("service 'own': option ")
    assert said in str(refused.value)
    name = said.partition("'")[2].partition("'")[0]
    with pytest.raises(InputError, match=rf"STREAM: encoder: option '{name}' cannot be .*; allowed is "):
        replace(STREAM, encoder={**ENCODER_DEFAULTS, **options})


def test_the_default_codec_decides_what_its_encoder_is_asked_for():
    assert apply_options(STREAM, SERVICE, {"preset": "10"}, defaults={"codec": "av1"}).encoder["preset"] == "10"
    with pytest.raises(OptionError, match="'veryfast' with codec 'av1'"):
        apply_options(STREAM, SERVICE, {"preset": "veryfast"}, defaults={"codec": "av1"})


def test_an_unknown_option_is_named_with_the_known_ones():
    with pytest.raises(OptionError, match="'bitrate' is unknown; known are codec, crf, keyint, latency, maxrate, "):
        EncoderOptions.from_json({"bitrate": 1})


@pytest.mark.parametrize(
    ("codec", "nvenc", "refused"),
    [("vp9", "off", True), ("h264", "on", True), ("h264", "off", False), ("ffv1", "off", False), ("hevc", "on", False)],
)
def test_a_source_of_10_bit_needs_an_encoder_that_keeps_them(codec, nvenc, refused):
    stream = replace(STREAM, encoder={**ENCODER_DEFAULTS, "codec": codec, "nvenc": nvenc})
    SERVICE.check_stream(stream)
    replace(SERVICE, source="hdr").check_stream(replace(stream, color={"transfer": "smpte2084"}), bits=10)
    if refused:
        with pytest.raises(OptionError, match=f"'codec' cannot be '{codec}'.*: the source is of 10 bit, .* 'hevc'"):
            SERVICE.check_stream(stream, bits=10)
    else:
        SERVICE.check_stream(stream, bits=10)
