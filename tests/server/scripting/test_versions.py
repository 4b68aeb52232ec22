# SPDX-License-Identifier: MIT
"""Version 2 of a service beside version 1, on a server that runs: who gets which, and that no open stream notices."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import tritonclient.http as triton
from vireo_client import Client
from vireo_client.grpc_transport import GrpcTransport
from vireo_media.testing import numbered_clip
from vireo_server.errors import SettingError
from vireo_server.launching import ModelLoadError, load_service, running_server
from vireo_server.launching.stages import running_stages
from vireo_server.new_service import new_service

#: Paints every frame; where the caller names a file, the second batch waits until it is there.
PAINT = """
import json, time
from pathlib import Path
OPTIONS = {{"until": {{"type": "string"}}}}
def configure(options):
    state = {{"batches": 0, **json.loads(options)}}
    if "until" in state:
        with open(state["until"] + ".streams", "a") as file:
            file.write("one ")
    return state
def process(data):
    state = data["state"]
    state["batches"] += 1
    while "until" in state and state["batches"] == 2 and not Path(state["until"]).exists():
        time.sleep(0.01)
    for frame in data["frames"]:
        frame[...] = {}
"""
LEVELS = {1: 40, 2: 200}


@pytest.fixture(scope="module")
def paint(tmp_path_factory):
    """`paint(level)`: the script."""

    def write(level):
        path = tmp_path_factory.mktemp("script") / "paint.py"
        path.write_text(PAINT.format(level))
        return path

    return write


@pytest.fixture(scope="module")
def repository(tmp_path_factory, paint):
    folder = tmp_path_factory.mktemp("served") / "models"
    new_service("paint", repository=folder, script=paint(LEVELS[1]), warmup="64x64")
    return folder


@pytest.fixture(scope="module")
def server(repository, paint):
    """A server that began with version 1 alone, and got a second one while it ran."""
    with running_server(repository=repository) as running:
        new_service("paint", version=2, repository=repository, script=paint(LEVELS[2]), warmup="64x64")
        yield running


@pytest.fixture
def load(server):
    """`load(2, share=0.5)`; version 1 has it all again afterwards."""
    yield lambda version, share=1.0: load_service("paint", version=version, share=share, address=server.grpc_url)
    load_service("paint", version=1, address=server.grpc_url)


@pytest.fixture
def client(server):
    with Client(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    numbered_clip(str(path), frames=48, gop=12)
    return path


def level(path):
    """What all frames are painted with."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(pictures) == 48
    (found,) = {next(value for value in LEVELS.values() if abs(picture - value).max() <= 3) for picture in pictures}
    return found


def processes(server, version):
    stage = "paint_script" if version == 1 else f"paint.{version}_script"
    return {one.pid for one in running_stages(server.pid) if one.model == stage}


@pytest.mark.parametrize(("began", "goes"), [(1, 2), (2, 1)])
def test_a_stream_ends_on_its_version_while_new_ones_go_to_the_other(
    server, client, load, video, tmp_path, began, goes
):
    load(began)
    client.run("paint", video, tmp_path / "quiet.mkv")
    before = processes(server, began)
    with ThreadPoolExecutor() as pool:
        until = tmp_path / "until"
        slow = pool.submit(client.run, "paint", video, tmp_path / "slow.mkv", options={"until": str(until)})
        while not server.open_streams():
            assert not slow.done(), slow.result()
            time.sleep(0.02)
        load(goes)
        new = client.run("paint", video, tmp_path / "new.mkv")
        assert not slow.done()
        until.touch()
        old = slow.result()
    assert (tmp_path / "until.streams").read_text() == "one "
    assert (old.version, new.version) == (began, goes)
    assert level(tmp_path / "new.mkv") == LEVELS[goes]
    assert level(tmp_path / "slow.mkv") == LEVELS[began]
    assert (tmp_path / "slow.mkv").read_bytes() == (tmp_path / "quiet.mkv").read_bytes()
    assert old.warnings == ()
    assert processes(server, began) == before
    assert "died" not in server.log


def test_a_share_of_new_runs_by_the_caller_s_name_for_them(client, load, video, tmp_path):
    assert load(2, share=0.5).goes == "version 1: 50%, version 2: 50%"
    versions = {name: client.run("paint", video, tmp_path / f"{name}.mkv", request_id=name).version for name in "abcd"}
    assert set(versions.values()) == {1, 2}
    assert all(level(tmp_path / f"{name}.mkv") == LEVELS[version] for name, version in versions.items())
    served = {service.name: service for service in client.services()}
    assert served["paint"].shares.of == {1: 0.5, 2: 0.5}
    assert "paint.2" in served


def test_the_choice_stands_in_the_configuration_alone(server, client, load, repository, video, tmp_path):
    config = repository / "paint" / "config.pbtxt"
    load(1)
    before = config.read_text()

    def revision():
        return next(service.description.revision for service in client.services() if service.name == "paint")

    first, transport = revision(), GrpcTransport(server.grpc_url)
    client.run("paint", video, tmp_path / "out.mkv")
    counts = transport.stage_counts("paint")
    load(2)
    # Nobody who watches takes the ensemble that was loaded again for a stage that died.
    assert all(count >= counts[stage] for stage, count in transport.stage_counts("paint").items())
    transport.close()
    assert config.read_text() == before + 'parameters { key: "versions" value { string_value: "{\\"2\\": 1.0}" } }\n'
    assert revision() == first  # Or finished segments of version 1 could not be used again.
    load(1)
    assert config.read_text() == before


def test_a_whole_file_in_one_request_goes_where_others_go(server, load, video, tmp_path):
    load(2)
    for options, version in (({}, 2), ({"version": 1}, 1)):
        inputs = []
        for name, value in (("SERVICE", "paint"), ("MEDIA", video.read_bytes()), ("OPTIONS", json.dumps(options))):
            inputs.append(triton.InferInput(name, [1], "BYTES"))
            inputs[-1].set_data_from_numpy(np.array([value], dtype=np.object_))
        with triton.InferenceServerClient(server.http_url) as caller:
            (tmp_path / "out.mp4").write_bytes(caller.infer("file", inputs).as_numpy("MEDIA")[0])
        assert level(tmp_path / "out.mp4") == LEVELS[version]


def test_a_version_that_cannot_be_loaded_changes_nothing(server, client, load, repository, video, tmp_path):
    load(2)
    script = repository / "paint.2_script" / "1" / "script.py"
    good = script.read_text()
    script.write_text("def process(data):\n    return 1 / 0\n")
    with pytest.raises(ModelLoadError, match="ZeroDivisionError"):
        load(2, share=0.5)
    script.write_text(good)
    with pytest.raises(ModelLoadError, match=r"has no service 'paint\.3'; it has paint, paint\.2"):
        load(3)
    with pytest.raises(ModelLoadError, match=r"share cannot be 7; allowed is a number in 0\.\.1"):
        load(2, share=7)
    with pytest.raises(ModelLoadError, match="version cannot be 0"):
        load(0)
    assert client.run("paint", video, tmp_path / "out.mkv").version == 2
    assert level(tmp_path / "out.mkv") == LEVELS[2]


def test_a_version_of_nothing(tmp_path, paint):
    with pytest.raises(SettingError, match="has no service 'other' to be version 2 of; leave out --version"):
        new_service("other", version=2, repository=tmp_path, script=paint(1))
