# SPDX-License-Identifier: MIT
"""SDR to HDR10 and back on a real server: exact codes, tags in the stream and in the container, the same bytes."""

import io
import json
from fractions import Fraction

import av
import numpy as np
import pytest
import tritonclient.http as httpclient
from vireo_client import VireoError
from vireo_kernels import ColorSpec, frames_to_planes, frames_to_rgb, planes_to_frames, rgb_to_frames, sdr_to_hdr
from vireo_media.container import MediaSource
from vireo_media.probing import probe

WIDTH, HEIGHT, FRAMES, FPS = 160, 96, 44, 5
BT709 = ColorSpec(matrix="bt709", color_range="limited")
BT2020 = ColorSpec(matrix="bt2020nc", color_range="limited", chroma_location="topleft")


def picture(index):
    """Planes of a frame: a white half, a grey ramp that moves, and colour waves below them."""
    luma = np.empty((HEIGHT, WIDTH), np.uint8)
    luma[:, :80] = 235
    luma[:, 80:] = 16 + (np.arange(80) * 5 // 2 + index) % 200
    chroma = np.full((2, HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    y, x = np.mgrid[0:16, 0 : WIDTH // 2]
    chroma[0, 32:] = 128 + 60 * np.sin(x / 9 + index / 7)
    chroma[1, 32:] = 128 + 60 * np.cos((x + 3 * y) / 13)
    luma[64:] = 60 + luma[64:] // 3
    return luma, *chroma


@pytest.fixture(scope="module")
def sdr(tmp_path_factory):
    """8.8 s in GOPs of 1 s, lossless, tagged BT.709: two segments."""
    path = tmp_path_factory.mktemp("sdr") / "sdr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = stream.codec_context
        context.gop_size, context.color_range, context.colorspace = FPS, 1, 1
        context.color_trc = context.color_primaries = 1
        for index in range(FRAMES):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, values in zip(frame.planes, picture(index), strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
                rows[:, : values.shape[1]] = values
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def hdr(client, sdr, tmp_path_factory):
    """The clip by the default method, lossless, as mp4."""
    path = tmp_path_factory.mktemp("hdr") / "hdr.mp4"
    run = client.run("sdr_to_hdr", sdr, path, options={"crf": 0})
    assert (run.frames_out, run.segments) == (FRAMES, 2)
    return path


def codes(path):
    """(Y, U, V) of each frame, as codes."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            dtype = np.uint16 if frame.format.name.endswith("10le") else np.uint8
            planes = []
            for plane in frame.planes:
                rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
                planes.append(rows[:, : plane.width])
            found.append(planes)
    return found


def expected(index, *, method="direct", dither=True):
    """What the service makes of a frame, by the library of kernels."""
    frames = np.empty((1, HEIGHT * 3 // 2, WIDTH), np.uint8)
    planes_to_frames(*picture(index), out=frames[0])
    size = {"width": WIDTH, "height": HEIGHT}
    rgb = frames_to_rgb(frames, pixel_format="nv12", color=BT709, dtype="uint16", **size)
    hdr = rgb_to_frames(sdr_to_hdr(rgb, method=method), pixel_format="p010", color=BT2020, dither=dither)
    planes = [np.empty((HEIGHT // n, WIDTH // n), np.uint16) for n in (1, 2, 2)]
    frames_to_planes(hdr[0], y=planes[0], u=planes[1], v=planes[2])
    return planes


def test_every_code_is_what_the_kernels_say_dither_included(hdr):
    found = codes(hdr)
    assert len(found) == FRAMES
    for index in (0, 1, 22, 43):  # in both segments
        for plane, wanted in zip(found[index], expected(index), strict=True):
            np.testing.assert_array_equal(plane, wanted)
    # SDR white: 203 cd/m2, dithered between the codes around 572.7.
    white = found[7][0][:60, :78]
    assert set(np.unique(white)) == {572, 573}
    assert white.mean() == pytest.approx(572.69, abs=0.05)


@pytest.mark.parametrize(("method", "white"), [("direct", 573), ("bt2446a", 723), ("bt2446c", 618)])
def test_white_has_its_published_code(client, sdr, tmp_path, method, white):
    """Without dither: 203, 999.5 and 332.6 cd/m2 in PQ's 10-bit codes, no chroma."""
    options = {"method": method, "dither": False, "crf": 0}
    client.run("sdr_to_hdr", sdr, tmp_path / "out.mkv", options=options)
    luma, u, v = codes(tmp_path / "out.mkv")[3]
    assert (luma[:60, :78] == white).all()
    assert (u[:28, :38] == 512).all()
    assert (v[:28, :38] == 512).all()
    np.testing.assert_array_equal(luma, expected(3, method=method, dither=False)[0])


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "hevc"), ("out.mkv", "hevc"), ("out.webm", "av1")])
def test_hdr10_is_said_in_the_container_and_in_the_stream(client, sdr, tmp_path, name, codec):
    """hevc where h264 would be the default, av1 in WebM; the bit stream is read by itself, without its container."""
    client.run("sdr_to_hdr", sdr, tmp_path / name, options={"method": "bt2446a", "preset": 12} if codec == "av1" else
               {"method": "bt2446a"})  # fmt: skip
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (stream.codec_context.name.replace("libdav1d", "av1"), context.pix_fmt) == (codec, "yuv420p10le")
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (9, 16, 9, 1)
        if name.endswith(".mp4"):
            assert stream.codec_tag == "hvc1"
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        extradata = context.extradata
    told = probe(MediaSource(tmp_path / name)).description
    assert told.color["transfer"] == "smpte2084"
    bare = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    bare.extradata = extradata
    frames = [frame for data in packets for frame in bare.decode(av.Packet(data))] + bare.decode(None)
    assert len(frames) == FRAMES
    first = frames[0]
    assert (first.color_primaries, first.color_trc, first.colorspace, first.color_range) == (9, 16, 9, 1)
    kinds = {data.type.name for data in first.side_data}
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= kinds
    assert told.hdr["content_light"] == {"max_content": 1000, "max_average": 1000}
    assert Fraction(*told.hdr["mastering_display"]["max_luminance"]) == 1000
    assert float(Fraction(*told.hdr["mastering_display"]["green"][0])) == pytest.approx(0.170, abs=2e-5)
    if name.endswith(".mp4"):
        head = (tmp_path / name).read_bytes()[:4096]
        assert b"mdcv" in head
        assert b"clli" in head


def test_the_method_network_is_the_service_of_the_network(client, sdr, tmp_path):
    """The network that is shipped is the direct mapping: the same codes, but where 16 bits differ in the last one."""
    options = {"method": "network", "crf": 0, "dither": False}
    client.run("sdr_to_hdr", sdr, tmp_path / "out.mp4", options=options, chunk_packets=5)
    client.run("sdr_to_hdr_network", sdr, tmp_path / "same.mp4", options={"crf": 0, "dither": False})
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "same.mp4").read_bytes()
    described = probe(MediaSource(tmp_path / "out.mp4")).description
    assert described.color["transfer"] == "smpte2084"
    assert not any((described.hdr["content_light"] or {}).values()), "0 is unknown"
    for plane, wanted in zip(codes(tmp_path / "out.mp4")[30], expected(30, dither=False), strict=True):
        difference = np.abs(plane.astype(int) - wanted)
        assert difference.max() <= 1
        assert difference.mean() < 0.02


def test_a_network_is_dithered_too(client, sdr, tmp_path):
    client.run("sdr_to_hdr_network", sdr, tmp_path / "out.mp4", options={"crf": 0, "max_cll": 203})
    white = codes(tmp_path / "out.mp4")[7][0][:60, :78]
    assert set(np.unique(white)) == {572, 573}
    light = probe(MediaSource(tmp_path / "out.mp4")).description.hdr["content_light"]
    assert light == {"max_content": 203, "max_average": 0}


def test_the_caller_may_say_the_light_levels(client, sdr, tmp_path):
    client.run("sdr_to_hdr", sdr, tmp_path / "out.mp4", options={"max_cll": 180, "max_fall": 90})
    told = probe(MediaSource(tmp_path / "out.mp4")).description.hdr
    assert told["content_light"] == {"max_content": 180, "max_average": 90}


def test_the_same_bytes_at_any_chunk_size_alone_or_beside_others(at_once, sdr, hdr):
    results = at_once("sdr_to_hdr", sdr, ".mp4", options={"crf": 0})
    assert [result == hdr.read_bytes() for result in results] == [True] * 4


def test_a_run_whose_client_was_killed_goes_on_and_ends_with_the_same_bytes(client, sdr, hdr, kill_a_run, tmp_path):
    options = {"crf": 0}
    kill_a_run("sdr_to_hdr", sdr, tmp_path / "out.mp4", options=options, frames=25)  # in the second segment
    assert client.run("sdr_to_hdr", sdr, tmp_path / "out.mp4", options=options).resumed == 1
    assert (tmp_path / "out.mp4").read_bytes() == hdr.read_bytes()


def test_there_and_back(client, sdr, hdr, tmp_path):
    """HDR10 of 203 cd/m2 and below to SDR again, in both 8 bits: within one code where no colour is near its limits."""
    client.run("hdr_to_sdr", hdr, tmp_path / "back.mp4", options={"method": "direct", "crf": 0, "dither": False})
    with av.open(str(tmp_path / "back.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    assert probe(MediaSource(tmp_path / "back.mp4")).description.hdr is None
    back = codes(tmp_path / "back.mp4")
    for index in (0, 30):
        difference = np.abs(back[index][0].astype(int) - picture(index)[0])
        assert difference[:60].max() <= 1
        assert np.abs(back[index][1].astype(int)[:28] - 128).max() <= 1


@pytest.mark.parametrize(
    ("service", "source", "options", "said"),
    [
        ("sdr_to_hdr", "hdr", {}, "the source is HDR, its transfer is 'smpte2084'; allowed is SDR"),
        ("sdr_to_hdr", "hdr", {"method": "network"}, "service 'sdr_to_hdr_network': the source is HDR"),
        ("hdr_to_sdr", "sdr", {}, "the source is SDR, its transfer is 'bt709'; allowed is HDR (smpte2084 or"),
        ("sdr_to_hdr", "sdr", {"codec": "h264"}, "option 'codec' cannot be 'h264'; allowed is 'hevc', 'av1' (HDR10 is"),
        ("sdr_to_hdr", "sdr", {"codec": "vp9"}, "option 'codec' cannot be 'vp9'; allowed is 'hevc', 'av1' (HDR10 is"),
        ("sdr_to_hdr", "sdr", {"method": "bt2446b"}, "option 'method' cannot be 'bt2446b'; allowed is 'direct', 'bt24"),
        ("sdr_to_hdr", "sdr", {"max_cll": -1}, "option 'max_cll' cannot be -1; allowed is integer in 0..10000"),
        ("sdr_to_hdr", "sdr", {"dither": "no"}, "option 'dither' cannot be 'no'; allowed is boolean"),
        ("hdr_to_sdr", "hdr", {"peak": 50}, "option 'peak' cannot be 50; allowed is integer in 100..10000"),
    ],
)
def test_what_cannot_be_is_refused_before_a_frame_is_decoded(
    client, sdr, hdr, tmp_path, statistics, service, source, options, said
):
    before = statistics("decode")["inference_stats"]["success"]
    with pytest.raises(VireoError) as caught:
        client.run(service, {"sdr": sdr, "hdr": hdr}[source], tmp_path / "out.mp4", options=options)
    assert said in str(caught.value)
    assert statistics("decode")["inference_stats"]["success"] == before
    assert list(tmp_path.iterdir()) == []


def test_a_caller_without_the_client_is_refused_too(call, clip):
    stream, packets, timing = clip
    for service, change, said in (
        ("sdr_to_hdr", {"color": {"transfer": "smpte2084"}}, "tone_mapping: the source is HDR already"),
        ("hdr_to_sdr", {}, "tone_mapping: the source is SDR (transfer 'smpte170m'); allowed: HDR, smpte2084 or arib"),
        (
            "sdr_to_hdr",
            {"options": {"method": "network"}},
            "option method is 'network'; allowed: direct, bt2446a, bt24",
        ),
        ("sdr_to_hdr_network", {"color": {"transfer": "arib-std-b67"}}, "preprocess: the source is HDR already"),
        ("sdr_to_hdr", {"options": {"max_fall": "many"}}, "option max_fall is 'many'; allowed: 0 (unknown) to 10000"),
        ("sdr_to_hdr", {"color": {"transfer": "log100"}}, "the source's transfer is 'log100'; allowed: bt709"),
    ):
        described = json.loads(stream)
        change = {key: {**(described[key] or {}), **value} for key, value in change.items()}
        text = json.dumps(described | change)
        reply = call(service).ask(0, packets[:8], timing[:8], stream=text, start=True, end=True)
        assert said in reply.message(), reply.message()
        assert reply.message().endswith(" [INVALID_ARG]")


def test_a_whole_clip_over_plain_http(server, sdr, hdr):
    inputs = []
    for name, value in (("SERVICE", "sdr_to_hdr"), ("MEDIA", sdr.read_bytes()), ("OPTIONS", json.dumps({"crf": 0}))):
        inputs.append(httpclient.InferInput(name, [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([value], dtype=np.object_))
    with httpclient.InferenceServerClient(server.http_url, network_timeout=60) as http:
        media = http.infer("file", inputs).as_numpy("MEDIA")[0]
    with av.open(io.BytesIO(media)) as one, av.open(str(hdr)) as other:
        for got, wanted in zip(one.demux(video=0), other.demux(video=0), strict=True):
            assert bytes(got) == bytes(wanted)
