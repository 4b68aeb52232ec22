# SPDX-License-Identifier: MIT
"""Scripts as services on a real Triton: right ones, wrong ones, ones that die; and what others see of it."""

import json
import queue
import textwrap
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException
from vireo_client import Client
from vireo_client.errors import ScriptFailedError
from vireo_media.testing import numbered_clip, read_numbers
from vireo_server.launching import running_server
from vireo_server.new_service import new_service
from vireo_server.scripting import run_file

#: The talk's four functions and keys, nothing of ours: the pictures are reached through their pointers.
TALK = """
    import ctypes, json
    import numpy as np

    def setup(config):
        global level
        level = json.loads(config)["level"]

    def warmup():
        pass

    def configure(stream_config):
        global edge
        edge = json.loads(stream_config).get("user-param", 8)

    def process(data, profiling=False):
        shape = (data["height"], data["width"], 3)
        for pointer in data["data"]:
            memory = (ctypes.c_uint8 * (shape[0] * shape[1] * 3)).from_address(pointer)
            np.frombuffer(memory, np.uint8).reshape(shape)[:, :edge] = level

    OPTIONS = {"user-param": {"type": "integer", "minimum": 1}}
"""

#: Does what an option says.
WRONG = """
    import ctypes, json, os, sys, time

    OPTIONS = {"do": {"type": "string"}}

    def configure(options):
        return {"do": json.loads(options).get("do", "nothing")}

    def process(data):
        frames = data["frames"]
        match data["state"]["do"]:
            case "few":
                return frames[:-1]
            case "dtype":
                return [frame / 255 for frame in frames]
            case "size":
                return [frame[::2, ::2] for frame in frames]
            case "raise":
                return 1 / 0
            case "sleep":
                time.sleep(3600)
            case "exit":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
"""

#: Each stream has its own level: in globals, and in an object.
GLOBALS = """
    import json

    OPTIONS = {"level": {"type": "integer"}}

    def configure(options):
        global level
        level = json.loads(options)["level"]

    def process(data):
        for frame in data["frames"]:
            frame[...] = level
"""
STATE = (
    GLOBALS.replace("global level\n", "pass\n")
    .replace("level = json", "return json")
    .replace("= level\n", '= data["state"]\n')
)
SCRIPTS = {"talk": TALK, "wrong": WRONG, "globals": GLOBALS, "state": STATE}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for name, source in SCRIPTS.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return folder


@pytest.fixture(scope="module")
def server(scripts, tmp_path_factory):
    """A server with nothing but these scripts, each made a service by `vireo new`."""
    repository = tmp_path_factory.mktemp("repository") / "models"
    for name in SCRIPTS:
        config = '{"level": 77}' if name == "talk" else "{}"
        options = '{"level": 1}' if name in ("globals", "state") else "{}"
        new_service(
            name, repository=repository, script=scripts / f"{name}.py", config=config, warmup="64x64",
            warmup_options=options,
        )  # fmt: skip
    hangs = repository / "wrong_script" / "config.pbtxt"
    hangs.write_text(hangs.read_text() + 'parameters { key: "limit_seconds" value { string_value: "2" } }\n')
    with running_server(repository=repository) as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    numbered_clip(str(path), frames=40, gop=12, bframes=2)
    return path


def test_the_same_bytes_as_a_service_and_without_a_server(client, scripts, video, tmp_path):
    run = client.run("talk", video, tmp_path / "service.mp4", options={"user-param": 12})
    run_file(scripts / "talk.py", video, tmp_path / "local.mp4", config={"level": 77}, stream={"user-param": 12})
    assert run.frames_out == 40
    assert (tmp_path / "service.mp4").read_bytes() == (tmp_path / "local.mp4").read_bytes()
    assert read_numbers(tmp_path / "service.mp4") == list(range(40))
    for levels in grey(tmp_path / "service.mp4"):
        assert np.abs(levels[:, :10] - 77).max() < 12


@pytest.mark.parametrize("packets", [1, 3, 32])
def test_where_chunks_end_does_not_change_a_byte(client, video, tmp_path, packets):
    client.run("state", video, tmp_path / "a.mp4", options={"level": 9})
    client.run("state", video, tmp_path / "b.mp4", options={"level": 9}, chunk_packets=packets)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_another_size(client, video, tmp_path):
    client.run("wrong", video, tmp_path / "half.mp4", options={"do": "size"})
    with av.open(str(tmp_path / "half.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (160, 90)
    assert read_numbers(tmp_path / "half.mp4") == list(range(40))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("few", "script.py: process returned 15 frames for 16; allowed: one for each"),
        ("dtype", "frame 0 of the returned list is float64; allowed: uint8"),
        (
            "raise",
            "script.py failed in process: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_what_a_script_does_wrong_is_explained_to_the_caller(client, video, tmp_path, what, said):
    with pytest.raises(ScriptFailedError) as caught:
        client.run("wrong", video, tmp_path / "out.mp4", options={"do": what})
    first, *lines = str(caught.value).splitlines()
    assert "script at 00:00:00.000: " in first
    assert said in first
    assert "tried" not in first, "the same frames would fail again"
    assert lines == (["  script.py:19 in process: return 1 / 0"] if what == "raise" else [])


@pytest.mark.parametrize("how", ["segfault", "exit", "sleep"])
def test_a_script_that_dies_or_hangs_is_replaced_and_other_services_go_on(
    server, call, clip, client, video, tmp_path, wait_for, how
):
    stream, packets, timing = clip
    backs = server.log.count("wrong_script is back")
    other, dying = call("state"), call("wrong")
    other.ask(0, packets[:24], timing[:24], stream=with_options(stream, level=5), start=True)
    dying.send(0, packets[:24], timing[:24], stream=with_options(stream, do=how), start=True)
    wait_for(lambda: server.log.count("wrong_script is back") > backs)
    report, _, _ = other.ask(1, packets[24:], timing[24:])
    assert report["frames_in"] + report["pending"] >= 24
    report, _, _ = other.ask(2, end=True)
    assert report["pending"] == 0
    assert client.run("wrong", video, tmp_path / "out.mp4").frames_out == 40
    assert not server.given_up()


def test_two_streams_in_a_script_with_globals_take_turns(server, call, clip):
    stream, packets, timing = clip
    first, second = call("globals"), call("globals")
    first.ask(0, packets[:24], timing[:24], stream=with_options(stream, level=40), start=True)
    second.send(0, packets[:24], timing[:24], stream=with_options(stream, level=200), start=True)
    with pytest.raises(queue.Empty):
        second.receive(seconds=0.5)
    first.ask(1, end=True)
    assert not isinstance(second.receive(), InferenceServerException)
    second.ask(1, end=True)
    assert server.log.count("script.py serves one stream at a time, others wait") == 1


@pytest.mark.parametrize("service", ["globals", "state"])
def test_streams_side_by_side_keep_their_own_memory(server, client, video, tmp_path, service):
    levels = (30, 120, 210)

    def run(level):
        client.run(service, video, tmp_path / f"{level}.mp4", options={"level": level})
        return np.array([picture.mean() for picture in grey(tmp_path / f"{level}.mp4")])

    with ThreadPoolExecutor() as pool:
        for level, means in zip(levels, pool.map(run, levels), strict=True):
            assert len(means) == 40
            assert np.abs(means - level).max() < 3


def test_times_come_back_in_report_when_asked_for(call, clip):
    stream, packets, timing = clip
    caller = call("state")
    caller.ask(0, packets[:24], timing[:24], stream=with_options(stream, level=5, profiling=True), start=True)
    report, _, _ = caller.ask(1, packets[24:], timing[24:], end=True)
    assert sum(batch["frames"] for batch in report["profile"]["batches"]) == 48 - 16
    assert all(batch["seconds"] > 0 for batch in report["profile"]["batches"])
    silent = call("state")
    report, _, _ = silent.ask(0, packets[:24], timing[:24], stream=with_options(stream, level=5), start=True)
    assert "profile" not in report
    silent.ask(1, end=True)


def with_options(stream, **options):
    """STREAM's text with options of the service."""
    return json.dumps({**json.loads(stream), "options": options})


def grey(path):
    """The green channel of each frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")[..., 1].astype(int)
