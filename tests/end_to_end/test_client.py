# SPDX-License-Identifier: MIT
"""Files in, files out, on a real server: nothing lost, the same bytes, and what bad input gets."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from vireo_client import Client, Patience, VireoError
from vireo_media.testing import numbered_clip, read_frames, read_numbers
from vireo_server.launching import running_server

VIREO = Path(sys.executable).with_name("vireo")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """12 s in GOPs of 1 s with B-frames and sound, and a last GOP of a single frame, too short for a segment of its
    own."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    numbered_clip(str(path), frames=301, gop=25, audio="aac")
    return path


def same_times(source, result):
    return [time for time, _ in read_frames(str(source))] == [time for time, _ in read_frames(str(result))]


def test_every_frame_once_in_order_with_its_time(client, video, tmp_path):
    run = client.run("passthrough", video, tmp_path / "out.mp4")
    assert (run.frames_in, run.frames_out) == (301, 301)
    assert run.segments == 3
    assert read_numbers(str(tmp_path / "out.mp4")) == list(range(301))
    assert same_times(video, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_sound_is_copied_untouched_and_stays_in_sync(client, video, tmp_path):
    client.run("passthrough", video, tmp_path / "out.mp4")

    def sound(path):
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            return [
                (Fraction(packet.pts) * stream.time_base, bytes(packet))
                for packet in container.demux(stream)
                if packet.size
            ]

    assert sound(tmp_path / "out.mp4") == sound(video)


def test_a_chunk_size_of_one_and_any_number_of_segments_give_the_same_bytes(client, video, tmp_path):
    results = set()
    for in_flight, chunk in ((1, 8), (4, 8), (2, 1), (3, 17)):
        path = tmp_path / f"{in_flight}-{chunk}.mp4"
        client.run("passthrough", video, path, segments_in_flight=in_flight, chunk_packets=chunk)
        results.add(path.read_bytes())
    assert len(results) == 1
    assert read_numbers(str(path)) == list(range(301))


def test_four_videos_at_once(server, video, tmp_path):
    def run(n):
        with Client(server.grpc_url) as own:
            return own.run("passthrough", video, tmp_path / f"{n}.mp4")

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(run, range(4)))
    assert [run.frames_out for run in runs] == [301] * 4
    assert len({run.output.read_bytes() for run in runs}) == 1


def test_variable_frame_rate_keeps_every_time(client, tmp_path):
    times = np.cumsum(np.random.default_rng(1).integers(1, 9, 120)).tolist()
    numbered_clip(str(tmp_path / "vfr.mkv"), frames=120, pts=times, time_base=Fraction(1, 100), gop=20)
    client.run("passthrough", tmp_path / "vfr.mkv", tmp_path / "out.mkv")
    assert same_times(tmp_path / "vfr.mkv", tmp_path / "out.mkv")
    assert read_numbers(str(tmp_path / "out.mkv")) == list(range(120))


def test_super_resolution_doubles_the_picture_and_keeps_its_tags(client, tmp_path):
    bt709 = {"color_range": 1, "colorspace": 1, "color_trc": 1, "color_primaries": 1}
    numbered_clip(str(tmp_path / "in.mp4"), frames=30, size=(160, 90), color=bt709)
    client.run("super_resolution", tmp_path / "in.mp4", tmp_path / "out.mp4", options={"crf": 12})
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (320, 180)
        assert (
            int(frame.color_range) == int(frame.colorspace) == int(frame.color_trc) == int(frame.color_primaries) == 1
        )
    assert read_numbers(str(tmp_path / "out.mp4")) == list(range(30))


@pytest.mark.parametrize(
    ("suffix", "options", "codec"),
    [
        (".mkv", {"codec": "hevc"}, "hevc"),
        (".webm", {}, "av1"),
        (".mkv", {"codec": "ffv1"}, "ffv1"),
        (".ts", {}, "h264"),
    ],
)
def test_codecs_and_containers(client, video, tmp_path, suffix, options, codec):
    small = tmp_path / "small.mp4"
    numbered_clip(str(small), frames=40, gop=20, size=(160, 96))
    out = tmp_path / f"out{suffix}"
    client.run("passthrough", small, out, options=options)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
    assert read_numbers(str(out)) == list(range(40))


def test_ten_bit_stays_ten_bit(client, tmp_path):
    numbered_clip(str(tmp_path / "in.mkv"), frames=20, codec="libx265", pixel_format="yuv420p10le", size=(160, 96))
    client.run("passthrough", tmp_path / "in.mkv", tmp_path / "out.mkv", options={"codec": "ffv1"})
    for got, sent in zip(pixels(tmp_path / "out.mkv"), pixels(tmp_path / "in.mkv"), strict=True):
        assert np.array_equal(got, sent)


def pixels(path):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray()


def test_luma_of_a_lossless_passthrough_is_within_one_level(client, tmp_path, colourful):
    """Where the unclipped RGB lies in 0..255; chroma interpolation leaves the gamut elsewhere (a round trip through
    RGB)."""
    client.run("passthrough", colourful, tmp_path / "out.mkv", options={"codec": "ffv1"})
    compared = 0
    for got, sent in zip(pixels(tmp_path / "out.mkv"), pixels(colourful), strict=True):
        height = sent.shape[0] * 2 // 3
        difference = np.abs(got[:height].astype(int) - sent[:height])
        inside = in_gamut(sent, height)
        assert difference[inside].max() <= 1
        assert difference.mean() < 0.1
        compared += int(inside.sum())
    assert compared > 500_000


@pytest.fixture
def colourful(tmp_path):
    """A photograph under a moving camera, H.264, 4:2:0, tagged BT.709 limited."""
    from skimage import data

    photograph = data.astronaut()
    path = tmp_path / "colourful.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 1
        for n in range(12):
            window = np.ascontiguousarray(photograph[40 + 5 * n : 280 + 5 * n, 60 + 3 * n : 380 + 3 * n])
            frame = av.VideoFrame.from_ndarray(window, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=1, dst_color_range=1
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def in_gamut(planes, height):
    """Where every way of reading chroma between its samples keeps BT.709 RGB inside 0..255: (H, W) bool."""
    width = planes.shape[1]
    y = 1.16438356 * (planes[:height].astype(float) - 16)
    chroma = planes[height:].reshape(-1, width // 2).astype(float) - 128
    half = len(chroma) // 2

    def spread(plane):
        near = np.pad(plane, 1, mode="edge")
        stack = [near[r : r + height // 2, c : c + width // 2] for r in range(3) for c in range(3)]
        return [limit(stack, axis=0).repeat(2, 0).repeat(2, 1) for limit in (np.min, np.max)]

    inside = np.ones((height, width), bool)
    for u in spread(chroma[:half]):
        for v in spread(chroma[half:]):
            for value in (y + 1.79274 * v, y - 0.21325 * u - 0.53291 * v, y + 2.1124 * u):
                inside &= (value >= 0) & (value <= 255)
    return inside


# What bad input gets: one clear message, exit code not 0, no traceback, no stray file.


@pytest.fixture(scope="module")
def inputs(sound_only, tmp_path_factory):
    """A folder with a good video and bad ones."""
    folder = tmp_path_factory.mktemp("inputs")
    numbered_clip(str(folder / "good.mp4"), frames=120, gop=20, audio="aac")
    good = (folder / "good.mp4").read_bytes()
    (folder / "text.mp4").write_text("this is no video\n" * 20)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "truncated.mp4").write_bytes(good[: len(good) // 2])
    broken = bytearray(good)
    broken[len(good) // 3 : len(good) // 3 + 2000] = np.random.default_rng(0).bytes(2000)
    (folder / "garbage.mp4").write_bytes(bytes(broken))
    shutil.copy(sound_only, folder)
    return folder


@pytest.fixture
def vireo(server, inputs):
    """The command line where the inputs are: `vireo("passthrough", "in", "out.mp4", url=...)`."""

    def run(*arguments, url=None):
        command = [str(VIREO), "run", *map(str, arguments), "--url", url or server.grpc_url]
        return subprocess.run(command, cwd=inputs, capture_output=True, text=True, timeout=90)

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("passthrough", "missing.mp4", "out.mp4"), "missing.mp4"),
        (("passthrough", "text.mp4", "out.mp4"), "text.mp4"),
        (("passthrough", "empty.mp4", "out.mp4"), "empty.mp4"),
        (("passthrough", "sound.mp4", "out.mp4"), "sound.mp4"),
        (("passthrough", "truncated.mp4", "out.mp4"), "truncated.mp4"),
        (("passthrough", "garbage.mp4", "out.mp4"), "decode at 00:00:"),
        (("upscale", "good.mp4", "out.mp4"), "passthrough, "),
        (("passthrough", "good.mp4", "good.mp4"), "is there already"),
        (("passthrough", "good.mp4", "out.wmv"), ".mp4"),
        (("passthrough", "good.mp4", "out.mp4", "--set", "quality=3"), "unknown option 'quality'"),
        (("passthrough", "good.mp4", "out.mp4", "--set", "preset=slowest"), "'preset' cannot be 'slowest'"),
        (("passthrough", "good.mp4", "nowhere/out.mp4"), "nowhere"),
    ],
)
def test_one_clear_message_no_traceback_no_stray_file(vireo, client, inputs, tmp_path, arguments, said):
    before = {path.name: path.read_bytes() for path in inputs.iterdir()}
    done = vireo(*arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
    assert {path.name: path.read_bytes() for path in inputs.iterdir()} == before
    after = client.run("passthrough", inputs / "good.mp4", tmp_path / "after.mp4")
    assert after.frames_out == 120, "the server goes on serving others"


def test_no_server_at_that_address(vireo, inputs):
    done = vireo("passthrough", "good.mp4", "out.mp4", url="127.0.0.1:9")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert not (inputs / "out.mp4").exists()


def test_a_picture_over_the_limit(repository, tmp_path, monkeypatch):
    """A repository whose services take 100x100 pixels at most."""
    small = tmp_path / "repository"
    shutil.copytree(repository, small)
    config = small / "passthrough" / "config.pbtxt"
    config.write_text(config.read_text().replace('\\"max_pixels\\": 35389440', '\\"max_pixels\\": 10000'))
    decode = small / "decode" / "config.pbtxt"
    decode.write_text(decode.read_text() + 'parameters { key: "max_pixels" value { string_value: "10000" } }\n')
    numbered_clip(str(tmp_path / "in.mp4"), frames=5, size=(160, 96))
    with (
        running_server(repository=small, services=["passthrough"]) as limited,
        Client(limited.grpc_url) as own,
        pytest.raises(VireoError, match=r"160x96.*10000"),
    ):
        own.run("passthrough", tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_server_that_stops_half_way(tmp_path):
    numbered_clip(str(tmp_path / "in.mp4"), frames=1000, size=(640, 360), gop=25)
    failure = []
    with running_server(services=["passthrough"]) as doomed:

        def run():
            with Client(doomed.grpc_url, patience=Patience(unavailable_seconds=4)) as own:
                try:
                    own.run("passthrough", tmp_path / "in.mp4", tmp_path / "out.mp4", progress=lambda _: begun.set())
                except VireoError as error:
                    failure.append(str(error))

        begun = threading.Event()
        thread = threading.Thread(target=run)
        thread.start()
        assert begun.wait(30)
        doomed.stop()
        thread.join(60)
        assert not thread.is_alive(), "a dead server is no reason to wait for ever"
    assert failure, "the run cannot have ended well"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
