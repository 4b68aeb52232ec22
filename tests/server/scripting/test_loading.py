# SPDX-License-Identifier: MIT
"""From a file to a service of a server that runs: `vireo new`, then `vireo load`."""

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from tritonclient.grpc.model_config_pb2 import ModelConfig
from vireo_client import Client
from vireo_media.testing import numbered_clip, read_frames
from vireo_server.errors import SettingError
from vireo_server.launching import ModelLoadError, load_service, running_server
from vireo_server.locations import find_locations
from vireo_server.network_settings import NetworkSettings
from vireo_server.new_service import SHARED, new_service
from vireo_server.services import read_description
from vireo_server.settings import read_settings

NEGATE = "def process(data):\n    for frame in data['frames']:\n        frame[...] = 255 - frame\n"
BRIGHT = NEGATE.replace("255 - frame", "200")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A float network as people export them: twice the size, by repeating pixels."""
    path = tmp_path_factory.mktemp("network") / "twice.onnx"
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")],
        "twice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, "h2", "w2"])],
        [helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "models"
    script = tmp_path_factory.mktemp("first") / "first.py"
    script.write_text(NEGATE)
    new_service("first", repository=folder, script=script, warmup="64x64")
    return folder


@pytest.fixture(scope="module")
def server(repository):
    with running_server(repository=repository) as running:
        yield running


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    numbered_clip(str(path), frames=24, gop=12)
    return path


def test_the_shipped_script_service_is_what_vireo_new_writes(tmp_path):
    shipped = find_locations().model_repository
    new_service("grade", repository=tmp_path, script=shipped / "grade_script" / "1" / "script.py")
    for model in ("grade", "grade_preprocess", "grade_script"):
        assert (tmp_path / model / "config.pbtxt").read_text() == (shipped / model / "config.pbtxt").read_text()


def test_a_new_repository_has_all_that_a_server_needs(repository):
    assert {path.name for path in repository.iterdir()} == {*SHARED, "first", "first_preprocess", "first_script"}


def test_a_network_and_a_script_become_services_while_the_server_runs(
    server, repository, network, script, video, tmp_path
):
    new_service("twice", repository=repository, onnx=network)
    new_service("bright", repository=repository, script=script(BRIGHT), warmup="64x64")
    before = server.pid
    for name in ("twice", "bright"):
        assert load_service(name, address=server.grpc_url).http == server.http_url
    assert server.services == ("first", "twice", "bright")
    with Client(server.grpc_url) as client:
        assert [service.name for service in client.services()] == ["bright", "first", "twice"]
        for name in ("twice", "bright", "first"):
            assert client.run(name, video, tmp_path / f"{name}.mp4").frames_out == 24
    assert [number for _, number in read_frames(tmp_path / "twice.mp4")] == list(range(24))
    assert server.pid == before
    assert "died" not in server.log


def test_a_changed_script_is_loaded_again(server, repository, script, video, tmp_path):
    new_service("changing", repository=repository, script=script(NEGATE), warmup="64x64")
    load_service("changing", address=server.grpc_url)
    path = repository / "changing_script" / "1" / "script.py"
    path.write_text(BRIGHT)
    load_service("changing", address=server.grpc_url)
    with Client(server.grpc_url) as client:
        client.run("changing", video, tmp_path / "out.mp4", options={"crf": 0})
    with av.open(str(tmp_path / "out.mp4")) as container:
        for frame in container.decode(video=0):
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - 200).max() <= 2
    assert "died" not in server.log


def test_a_video_under_way_while_its_script_is_loaded_again_is_of_one_version(
    server, repository, script, video, tmp_path
):
    slow = "import time\ndef process(data):\n    time.sleep(1)\n    for frame in data['frames']: frame[...] = {}\n"
    new_service("slow", repository=repository, script=script(slow.format(40)), warmup="64x64")
    load_service("slow", address=server.grpc_url)
    (repository / "slow_script" / "1" / "script.py").write_text(slow.format(200))
    with Client(server.grpc_url) as client, ThreadPoolExecutor() as pool:
        running = pool.submit(client.run, "slow", video, tmp_path / "out.mkv", options={"codec": "ffv1"})
        while not server.open_streams():
            time.sleep(0.02)
        load_service("slow", address=server.grpc_url)
        assert running.result().frames_out == 24
    # It ends on the old one where that is quicker than the loading, or else begins anew on the new one.
    with av.open(str(tmp_path / "out.mkv")) as container:
        levels = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    version = 40 if levels[0].mean() < 100 else 200
    assert all(np.abs(picture - version).max() <= 2 for picture in levels)


def test_what_cannot_be_loaded_says_why_and_leaves_nothing(server, repository, script):
    new_service("broken", repository=repository, script=script(NEGATE), warmup="64x64")
    (repository / "broken_script" / "1" / "script.py").write_text("def process(data):\n    return 1 / 0\n")
    with pytest.raises(ModelLoadError, match=r"(?s)broken_script.*ZeroDivisionError.*script.py:2 in process"):
        load_service("broken", address=server.grpc_url)
    with pytest.raises(ModelLoadError, match="has no service 'nothing'; it has "):
        load_service("nothing", address=server.grpc_url)
    with Client(server.grpc_url) as client:
        assert "broken" not in [service.name for service in client.services()]
    assert "broken" not in server.services


def test_no_such_server(server):
    with pytest.raises(ModelLoadError, match=f"server '127.0.0.1:1' was looked for .*{server.grpc_url}"):
        load_service("first", address="127.0.0.1:1")


def test_only_the_owner_can_ask_and_no_key_is_written_down(server):
    assert stat.S_IMODE(server.runtime.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.runtime / "server.json").stat().st_mode) == 0o600
    assert set(json.loads((server.runtime / "server.json").read_text())) == {"http", "grpc", "repository"}
    for path in server.runtime.iterdir():
        assert not path.is_file() or server.key.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [("Upper", "the name 'Upper' cannot be a service's"), ("first", "is there already; nothing was written")],
)
def test_names_that_cannot_be(repository, script, name, said):
    with pytest.raises(SettingError, match=said):
        new_service(name, repository=repository, script=script(NEGATE))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def process(data): return 3\n", "does not work with 16 frames of 640x360, the warm-up's: .* returned int"),
        ("OPTIONS = {'a': int}\ndef process(data): pass\n", "script.py:1: OPTIONS must be a literal dict"),
        ("OPTIONS = {'a': 1}\ndef process(data): pass\n", "allowed: name -> JSON Schema"),
    ],
)
def test_a_script_that_cannot_work_is_not_written(tmp_path, script, source, said):
    with pytest.raises(SettingError, match=said):
        new_service("name", repository=tmp_path / "models", script=script(source))
    assert not (tmp_path / "models").exists()


def test_neither_or_both(tmp_path, network, script):
    for arguments in ({}, {"script": script(NEGATE), "onnx": network}):
        with pytest.raises(SettingError, match="give one of --script, --onnx and --chain"):
            new_service("name", repository=tmp_path / "models", **arguments)


def test_parameters_of_a_network_are_tried_and_written(tmp_path, network):
    parameters = {"white": "255", "order": "bgr", "runtime": "onnxruntime"}
    new_service("name", repository=tmp_path, onnx=network, parameters=parameters)
    args = {"model_config": json.dumps({"name": "x", "parameters": written(tmp_path / "name_network")})}
    settings = read_settings(NetworkSettings, args)
    assert (settings.white, settings.order, settings.runtime) == (255.0, "bgr", "onnxruntime")


def written(model):
    """The parameters of a config.pbtxt, as Triton tells them."""
    config = text_format.Parse((model / "config.pbtxt").read_text(), ModelConfig())
    return {key: {"string_value": value.string_value} for key, value in config.parameters.items()}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"bits": "16"}, "unknown parameter 'bits' of a network; known are black, keep_fp32, mean, memory_mb"),
        ({"white": "much"}, "name: parameter white is 'much'; it must be float"),
        ({"memory_mb": "0"}, "parameter memory_mb is 0; allowed: 1 or more"),
        ({"runtime": "tensorflow"}, "parameter runtime is 'tensorflow'; allowed: auto, openvino"),
    ],
)
def test_parameters_that_cannot_be_are_refused_and_nothing_is_written(tmp_path, network, parameters, said):
    with pytest.raises(SettingError, match=said):
        new_service("name", repository=tmp_path / "models", onnx=network, parameters=parameters)
    assert not (tmp_path / "models").exists()


def test_parameters_of_a_network_without_one(tmp_path, script):
    with pytest.raises(SettingError, match="the parameter 'white' belongs to a network; give it with --onnx"):
        new_service("name", repository=tmp_path, script=script(NEGATE), parameters={"white": "255"})


def test_a_network_of_one_size_alone_says_so_to_clients(tmp_path, exported):
    new_service("tiles", repository=tmp_path, onnx=exported("rrdb_reshaped", size=(64, 80)))
    assert read_description(tmp_path, "tiles").picture_size is None
    new_service("whole", repository=tmp_path, onnx=exported("rrdb_reshaped", size=(24, 28)))
    assert read_description(tmp_path, "whole").picture_size == [28, 24]


def test_options_of_a_script_become_those_of_the_service(tmp_path, script):
    source = NEGATE + "OPTIONS = {'strength': {'type': 'number'}}\n"
    new_service("name", repository=tmp_path / "models", script=script(source), warmup="64x64")
    text = (tmp_path / "models" / "name" / "config.pbtxt").read_text()
    assert r"\"properties\": {\"strength\": {\"type\": \"number\"}, \"profiling\": {\"type\": \"boolean\"}}" in text
    assert r"\"segments\": false" in text


def test_modules_that_a_script_imports_and_its_packages_come_with_it(tmp_path, script):
    for folder in ("tools_of_a_script", "packages"):
        (tmp_path / folder).mkdir()
    script("", name="tools_of_a_script/__init__.py")
    script("LEVEL = 3\n", name="tools_of_a_script/levels.py")
    script("X = 1\n", name="packages/package_of_a_script.py")
    script("", name="not_imported.py")
    source = "import package_of_a_script\ndef process(data):\n    from tools_of_a_script import levels\n"
    new_service("name", repository=tmp_path / "models", script=script(source), warmup="64x64")
    stage = tmp_path / "models" / "name_script" / "1"
    assert {str(path.relative_to(stage)) for path in stage.rglob("*.py")} == {
        "script.py", "tools_of_a_script/__init__.py", "tools_of_a_script/levels.py", "packages/package_of_a_script.py",
    }  # fmt: skip
