# SPDX-License-Identifier: MIT
"""The model `file`: a whole small clip in one plain HTTP request."""

import io
from concurrent.futures import ThreadPoolExecutor

import av
import pytest
from tritonclient.utils import InferenceServerException
from vireo_client import Client, Patience
from vireo_media.testing import numbered_clip, read_frames, read_numbers
from vireo_server.launching import load_service
from vireo_server.new_service import new_service


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """11 s in GOPs of 1 s with sound: two segments."""
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    numbered_clip(str(path), frames=275, gop=25, audio="aac")
    return path.read_bytes()


def test_a_clip_comes_back_whole_with_its_sound(ask, media):
    result, report = ask("passthrough", media)
    assert report["frames_in"] == report["frames_out"] == 275
    assert read_numbers(result) == list(range(275))
    assert [time for time, _ in read_frames(result)] == [time for time, _ in read_frames(media)]
    with av.open(io.BytesIO(result)) as got, av.open(io.BytesIO(media)) as sent:
        assert sound_of(got) == sound_of(sent)


def sound_of(container):
    return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_the_same_clip_gives_the_same_bytes(ask, media):
    assert ask("passthrough", media)[0] == ask("passthrough", media)[0]


def test_options_and_containers(ask, media):
    result, report = ask("passthrough", media, container="mkv", codec="hevc", crf=30, preset="ultrafast")
    assert report["output"]["codec"] == "hevc"
    with av.open(io.BytesIO(result)) as container:
        assert "matroska" in container.format.name
        assert container.streams.video[0].codec_context.name == "hevc"


@pytest.mark.parametrize(
    ("service", "data", "options", "said"),
    [
        ("upscale", None, {}, "there is no service 'upscale'; there are "),
        ("passthrough", b"", {}, "MEDIA"),
        ("passthrough", b"just some text", {}, "MEDIA"),
        ("passthrough", None, {"container": "wmv"}, "container is 'wmv'; allowed: mp4"),
        ("passthrough", None, {"quality": 3}, "unknown option 'quality'; known are codec, crf"),
        ("passthrough", None, {"preset": "slowest"}, "'preset' cannot be 'slowest' with codec 'h264'; allowed"),
    ],
)
def test_what_cannot_be_served_says_why(ask, media, service, data, options, said):
    with pytest.raises(InferenceServerException, match=r"\[INVALID_ARG\]") as error:
        ask(service, media if data is None else data, **options)
    assert said in error.value.message()


def test_damaged_pictures_are_an_error_with_their_time(ask, media, all_freed):
    damaged = bytearray(media)
    damaged[len(media) // 2 : len(media) // 2 + 3000] = bytes(3000)
    with pytest.raises(InferenceServerException, match=r"decode at 00:00:\d\d\.\d+: .*\[INVALID_ARG\]"):
        ask("passthrough", bytes(damaged))
    all_freed()


#: Slow in the first call after the warm-up, and in the last of each stream.
SLOW = """
import time

calls = 0

def configure(options):
    return {}

def process(data):
    global calls
    calls += 1
    if calls > 1:
        time.sleep(9 if calls == 2 else 4.5 * data["last"])
"""


def test_who_waits_for_a_slow_service_gets_his_video(ask, server, repository, media, tmp_path):
    """Slower than decode and encode keep a stream without a request, and in the last reply of all than the client waits
    for a silent server."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    new_service("slow", repository=repository, script=script)
    load_service("slow", address=server.grpc_url)
    (tmp_path / "clip.mp4").write_bytes(media)
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(ask, "slow", media)
        with Client(server.grpc_url, patience=Patience(reply_seconds=3.0, most_faults=0)) as own:
            assert own.run("slow", tmp_path / "clip.mp4", tmp_path / "out.mp4").frames_out == 275
        assert whole.result()[1]["frames_out"] == 275
