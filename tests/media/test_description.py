# SPDX-License-Identifier: MIT
"""STREAM and the service description: what they say, and what they refuse."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from vireo_media.description import StreamDescription
from vireo_media.errors import ExchangeError, InputError, OptionError
from vireo_media.probing import VideoInput
from vireo_media.services import DynamicRange, ServiceDescription, apply_options, check_options

STREAM = StreamDescription(codec="h264", time_base=(1, 25), width=640, height=360, extradata=b"\x01d")
# The contract's own words, so that a key that is renamed here is seen.
KEYS = {
    "contract", "codec", "extradata", "time_base", "width", "height", "frame_rate", "sample_aspect_ratio", "crop",
    "rotation", "field_order", "color", "hdr", "emit", "origin", "frames_total", "options", "encoder", "decoder",
}  # fmt: skip


def test_stream_has_the_contracts_keys_and_comes_back_from_its_text() -> None:
    text = STREAM.to_json()
    values = json.loads(text)
    assert set(values) == KEYS
    assert set(values["color"]) == {"matrix", "range", "transfer", "primaries", "chroma_location"}
    assert set(values["encoder"]) == {"codec", "preset", "crf", "threads", "maxrate", "latency", "keyint", "nvenc"}
    assert values["contract"] == 1
    assert text.isascii()
    assert StreamDescription.from_json(text) == STREAM
    assert StreamDescription.from_json(values) == STREAM


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codec": ""}, "codec"),
        ({"time_base": (0, 25)}, "time_base"),
        ({"time_base": (1, 0)}, "time_base"),
        ({"width": 0}, "width"),
        ({"height": True}, "height"),
        ({"frame_rate": (25,)}, "frame_rate"),
        ({"field_order": "upside down"}, "field_order"),
        ({"color": {"tint": "blue"}}, "unknown key 'tint'"),
        ({"color": {"matrix": 1}}, "color.matrix"),
        ({"hdr": {"dolby": 1}}, "unknown key 'dolby'"),
        ({"hdr": {"mastering_display": {"red": [[1, 0], [1, 2]]}}}, "hdr.mastering_display.red"),
        ({"hdr": {"mastering_display": {"max_luminance": 1000}}}, "hdr.mastering_display.max_luminance"),
        ({"hdr": {"content_light": {"max_content": 1 << 16, "max_average": 1}}}, "hdr.content_light"),
        ({"time_base": (1, 1 << 31)}, "time_base"),
        ({"width": 1 << 31}, "width"),
        ({"emit": 5}, "emit"),
        ({"emit": (5, 5)}, "emit"),
        ({"frames_total": -1}, "frames_total"),
        ({"encoder": {"bitrate": 1}}, "unknown key 'bitrate'"),
    ],
)
def test_a_description_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(STREAM, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": {}}, "unknown key 'colour'; known are contract, codec,"),
        ({"contract": 2}, "contract cannot be 2"),
        ({"extradata": "no base64!"}, "extradata"),
        ({"codec": None}, "codec"),
        ({"codec": ["x" * 70000]}, r"codec cannot be .{200}\.\.\.; allowed"),
    ],
)
def test_text_that_is_no_stream_is_refused(change: dict[str, object], words: str) -> None:
    values = json.loads(STREAM.to_json()) | change
    with pytest.raises(ValueError, match=words):
        StreamDescription.from_json(values)


def test_missing_keys_and_no_json_are_refused() -> None:
    with pytest.raises(InputError, match="'codec' is missing"):
        StreamDescription.from_json({"contract": 1})
    with pytest.raises(InputError, match="not JSON"):
        StreamDescription.from_json("{")
    with pytest.raises(InputError, match="not JSON"):
        StreamDescription.from_json("[" * 100_000)
    with pytest.raises(InputError, match="allowed is a JSON object"):
        StreamDescription.from_json("[]")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264", {"codec": "h264", "time_base": (1, 12800), "frame_rate": (25, 1), "field_order": "progressive"}),
        ("h264_ts", {"codec": "h264", "time_base": (1, 90000), "frames_total": None}),
        ("hevc", {"codec": "hevc", "frames_total": 250}),
        ("vp9", {"codec": "vp9", "time_base": (1, 1000)}),
        ("mpeg2", {"codec": "mpeg2video"}),
        ("rotated", {"rotation": 90}),
    ],
)
def test_probing_finds_what_the_file_says(
    name: str, expected: dict[str, object], video: Callable[[str], VideoInput]
) -> None:
    description = video(name).description
    assert {key: getattr(description, key) for key in expected} == expected
    assert (description.width, description.height) == (160, 96)


def test_probing_reads_colour_tags(tmp_path) -> None:
    from vireo_media.container import MediaSource
    from vireo_media.probing import probe
    from vireo_media.testing import numbered_clip

    path = tmp_path / "hdr.mkv"
    mastering = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    numbered_clip(
        path,
        frames=5,
        size=(64, 64),
        codec="libx265",
        pixel_format="yuv420p10le",
        color={"color_range": 1, "colorspace": 9, "color_trc": 16, "color_primaries": 9},
        options={"x265-params": f"log-level=none:hdr10=1:master-display={mastering}:max-cll=1000,400"},
    )
    description = probe(MediaSource(path)).description
    assert description.color == {
        "matrix": "bt2020nc",
        "range": "tv",
        "transfer": "smpte2084",
        "primaries": "bt2020",
        "chroma_location": None,
    }
    assert description.hdr is not None
    assert description.hdr["content_light"] == {"max_content": 1000, "max_average": 400}
    display = description.hdr["mastering_display"]
    ratio = {key: [a / b for a, b in value] for key, value in display.items() if key in ("red", "green", "white")}
    assert ratio == {"red": [0.68, 0.32], "green": [0.265, 0.69], "white": [0.3127, 0.329]}
    assert display["max_luminance"][0] / display["max_luminance"][1] == 1000


def test_what_pictures_carry_and_no_result_will_is_named(tmp_path) -> None:
    """Closed captions: an SEI message of ATSC A/53, part 4, put before the first picture by hand."""
    import io

    import av
    from vireo_media.container import MediaSource
    from vireo_media.probing import probe
    from vireo_media.testing import numbered_clip

    raw = io.BytesIO()
    numbered_clip(raw, frames=5, size=(64, 64), container="h264", bframes=0)
    caption = b"\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x2c\xff"
    message = b"\0\0\0\1\x06\x04" + bytes([len(caption)]) + caption + b"\x80"
    picture = raw.getvalue().index(b"\0\0\1\x65")
    (tmp_path / "captions.h264").write_bytes(raw.getvalue()[:picture] + message + raw.getvalue()[picture:])
    plain, captions = MediaSource(raw.getvalue()), MediaSource(tmp_path / "captions.h264")
    with av.open(str(tmp_path / "captions.h264")) as container:
        assert len(list(container.decode(video=0))) == 5
    probe(plain), probe(captions)
    assert plain.remarks == {}
    assert list(captions.remarks.values()) == ["the pictures carry closed captions: left out of the result"]


SERVICE = ServiceDescription(
    name="sr",
    kind="transformation",
    max_packets=32,
    max_rows=32,
    max_pixels=1000,
    chunk_pixels=4000,
    options={
        "type": "object",
        "properties": {
            "strength": {"type": "number", "minimum": 0, "maximum": 1},
            "mode": {"type": "string", "enum": ["soft", "sharp"]},
            "count": {"type": "integer", "minimum": 1},
            "fast": {"type": "boolean"},
        },
    },
)


def test_a_service_description_comes_from_its_parameter() -> None:
    text = '{"contract": 1, "kind": "extraction", "segments": false, "max_rows": 4, "a_later_key": 1}'
    service = ServiceDescription.from_json("s", text)
    assert (service.kind, service.segments, service.max_rows) == ("extraction", False, 4)
    for wrong in ("{", "[]", "{}", '{"contract": 2, "kind": "extraction"}', '{"contract": 1, "kind": "x"}'):
        with pytest.raises(ExchangeError, match="service 's'"):
            ServiceDescription.from_json("s", wrong)


def test_chunks_are_8_packets_and_fewer_for_large_pictures() -> None:
    assert [
        SERVICE.chunk_packets(replace(STREAM, width=width, height=10)) for width in (1, 50, 51, 100, 399, 401, 10_000)
    ] == [8, 8, 7, 4, 1, 1, 1]
    assert replace(SERVICE, chunk_pixels=None).chunk_packets(STREAM) == 8
    assert replace(SERVICE, max_packets=3, chunk_pixels=None).chunk_packets(STREAM) == 3


def test_of_large_pictures_a_server_works_on_one_segment_at_a_time() -> None:
    sizes = [SERVICE.segments_in_flight(replace(STREAM, width=width, height=10)) for width in (1, 1599, 1600, 10_000)]
    assert sizes == [2, 2, 1, 1]
    assert replace(SERVICE, chunk_pixels=None).segments_in_flight(replace(STREAM, width=10_000, height=10_000)) == 2


def test_a_picture_over_the_limit_is_refused() -> None:
    SERVICE.check_stream(replace(STREAM, width=100, height=10))
    with pytest.raises(InputError, match=r"101x10 = 1010 pixels; allowed are 1000 \(max_pixels"):
        SERVICE.check_stream(replace(STREAM, width=101, height=10))


def test_a_picture_of_another_size_than_the_only_one_is_refused() -> None:
    only = ServiceDescription.from_json("x", '{"contract": 1, "kind": "transformation", "picture_size": [64, 48]}')
    only.check_stream(replace(STREAM, width=64, height=48))
    with pytest.raises(InputError, match="the picture is 48x64; allowed is 64x48, for which its network was exported"):
        only.check_stream(replace(STREAM, width=48, height=64))


def test_options_are_split_checked_and_read_from_text() -> None:
    chosen, encoder, decoder = check_options(
        SERVICE,
        {
            "on_corrupt": "conceal",
            "keyint": "2",
            "strength": "0.5",
            "mode": "soft",
            "count": 3,
            "fast": "true",
            "crf": "18",
            "preset": "fast",
            "threads": "2",
        },
    )
    assert chosen == {"strength": 0.5, "mode": "soft", "count": 3, "fast": True}
    assert encoder == {"keyint": 2, "crf": 18, "preset": "fast", "threads": 2}
    assert decoder == {"on_corrupt": "conceal"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strenght": 1}, "unknown option 'strenght'; known are codec, count, crf, deinterlace, fast, keyint,"),
        ({"strength": 2}, r"'strength' cannot be 2; allowed is number in 0..1"),
        ({"strength": "much"}, "'strength' cannot be 'much'"),
        ({"mode": "loud"}, "allowed is 'soft', 'sharp'"),
        ({"count": 0}, "integer of at least 1"),
        ({"count": True}, "'count' cannot be True"),
        ({"fast": 1}, "'fast' cannot be 1; allowed is boolean"),
        ({"crf": 64}, "'crf' cannot be 64"),
        ({"threads": "auto"}, "'threads' cannot be 'auto'"),
        ({"latency": "none"}, "allowed is 'normal', 'low'"),
        ({"on_corrupt": "ignore"}, "allowed is 'fail', 'conceal'"),
        ({"deinterlace": 1}, "allowed is 'auto', 'off'"),
        ({"keyint": 0}, "allowed is number or null in 0.04..600"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_options(SERVICE, options)


def test_a_required_option_must_be_there_and_extraction_has_no_encoder() -> None:
    service = replace(SERVICE, options={**SERVICE.options, "required": ["count"]})
    with pytest.raises(OptionError, match="'count' is missing"):
        check_options(service, {})
    with pytest.raises(
        OptionError,
        match="unknown option 'crf'; known are count, deinterlace, fast, mode, nvdec, on_corrupt, sample, strength;",
    ):
        check_options(replace(SERVICE, kind="extraction"), {"crf": 18})


@pytest.mark.parametrize(
    ("source", "transfer", "said"),
    [
        ("sdr", "smpte2084", "the source is HDR, its transfer is 'smpte2084'; allowed is SDR; choose another service"),
        ("sdr", "arib-std-b67", "the source is HDR"),
        ("hdr", None, "the source is SDR, its transfer is 'untagged'; allowed is HDR \\(smpte2084 or arib-std-b67\\)"),
        ("hdr", "bt709", "the source is SDR"),
    ],
)
def test_a_source_of_the_other_dynamic_range_is_refused(source: DynamicRange, transfer: str | None, said: str) -> None:
    stream = replace(STREAM, width=16, height=9, color={**STREAM.color, "transfer": transfer})
    SERVICE.check_stream(stream)
    replace(SERVICE, source="hdr" if source == "sdr" else "sdr").check_stream(stream)
    with pytest.raises(InputError, match=said):
        replace(SERVICE, source=source).check_stream(stream)


def test_8_bit_of_hdr_is_refused_but_where_it_becomes_sdr() -> None:
    hdr = replace(STREAM, width=16, height=9, color={**STREAM.color, "transfer": "smpte2084"}, encoder={"codec": "vp9"})
    with pytest.raises(
        OptionError, match=r"'codec' cannot be 'vp9': the source is HDR \(smpte2084\), .* 'h264', 'hevc'"
    ):
        SERVICE.check_stream(hdr)
    SERVICE.check_stream(replace(hdr, encoder={"codec": "hevc"}))
    SERVICE.check_stream(replace(hdr, color={**STREAM.color, "transfer": "bt709"}))
    replace(SERVICE, source="hdr").check_stream(hdr)


def test_a_service_may_allow_less_than_the_encoders_do() -> None:
    service = replace(SERVICE, encoder={"codec": {"enum": ["hevc", "av1"], "description": "10 bit only"}})
    for default, taken in (("h264", "hevc"), ("av1", "av1")):
        assert apply_options(STREAM, service, {}, defaults={"codec": default}).encoder["codec"] == taken
    assert apply_options(STREAM, service, {"codec": "av1"}, defaults={}).encoder["codec"] == "av1"
    with pytest.raises(OptionError, match=r"'codec' cannot be 'h264'; allowed is 'hevc', 'av1' \(10 bit only\)$"):
        check_options(service, {"codec": "h264"})


def test_an_option_may_choose_another_service() -> None:
    service = replace(SERVICE, served_by={"mode": {"sharp": "sharper"}})
    assert service.serving({"mode": "sharp", "count": 2}) == "sharper"
    assert service.serving({"mode": "soft"}) == service.serving({}) == service.name
