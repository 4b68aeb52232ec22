# SPDX-License-Identifier: MIT
"""From a network that gives numbers to a service: `vireo new`, `vireo load`, `vireo run`."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from vireo_client import Client
from vireo_media.testing import numbered_clip
from vireo_server.errors import SettingError
from vireo_server.launching import load_service, running_server
from vireo_server.new_service import new_service
from vireo_server.services import read_description

VIREO = Path(sys.executable).with_name("vireo")
LABELS = "dark\nbright\n\nneither\n"
IMAGENET = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """`network(dims, outputs)`: a float network as torch exports them, of the mean of each channel."""
    folder = tmp_path_factory.mktemp("network")

    def save(dims=("n", 3, 32, 48), outputs=3, *, kind=TensorProto.FLOAT, axes=(2, 3)):
        weights = np.random.default_rng(outputs).normal(size=(3, outputs)).astype(np.float32)
        nodes = [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=list(axes), keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["p"], axis=1),
            helper.make_node("ArgMax", ["p"], ["y"], axis=1)
            if kind == TensorProto.INT64
            else helper.make_node("Identity", ["p"], ["y"]),
        ]
        shape = ["n", 1 if kind == TensorProto.INT64 else outputs]
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(dims))],
            [helper.make_tensor_value_info("y", kind, shape)],
            [numpy_helper.from_array(weights, "w")],
        )
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        return path

    return save


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(LABELS)
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory, network):
    folder = tmp_path_factory.mktemp("served") / "models"
    new_service("embedding", repository=folder, onnx=network(("n", 3, "h", "w"), 5), parameters={"size": "40x24"})
    return folder


@pytest.fixture(scope="module")
def server(repository):
    with running_server(repository=repository) as running:
        yield running


@pytest.mark.server
def test_a_classifier_becomes_a_service_while_the_server_runs(server, repository, network, labels, tmp_path):
    path = network()
    arguments = ["new", "tags", "--onnx", path, "--labels", labels, "--sample", "every=5", "--repository", repository]
    for name, value in IMAGENET.items():
        arguments += ["--set", f"{name}={value}"]
    done = subprocess.run([VIREO, *map(str, arguments)], capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, "")
    assert "then: vireo run tags INPUT out.json" in done.stdout
    load_service("tags", address=server.grpc_url)
    numbered_clip(str(tmp_path / "clip.mp4"), frames=20, size=(96, 64))
    with Client(server.grpc_url) as client:
        found = client.extract("tags", tmp_path / "clip.mp4")
        assert found.seconds.tolist() == [0, 0.2, 0.4, 0.6]
        assert list(found.to_json()["rows"][0]["SCORES"]) == ["dark", "bright", "neither"]
        scores = found.results["SCORES"]
        assert np.allclose(found.video["SCORES"], scores.mean(0), atol=1e-6)
        # The network alone, on pictures that Pillow made smaller, as in its training.
        small = [frame.resize((48, 32), Image.Resampling.BILINEAR) for frame in read_pictures(tmp_path / "clip.mp4")]
        pictures = np.stack([np.asarray(frame) for frame in small[::5]])
        values = (pictures / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"x": values.transpose(0, 3, 1, 2).astype(np.float32)})
        assert np.allclose(scores, expected, atol=0.02)
        plain = client.extract("embedding", tmp_path / "clip.mp4", options={"sample": "key"})
        assert plain.results["EMBEDDING"].shape == (2, 5)
        assert np.isclose(np.linalg.norm(plain.video["EMBEDDING"]), 1, atol=1e-6)


def read_pictures(path):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_image()


def test_what_a_service_says_of_itself(repository, network, labels, tmp_path):
    new_service("tags", repository=tmp_path / "models", onnx=network(), labels=labels)
    description = read_description(tmp_path / "models", "tags")
    assert (description.kind, description.segments, description.sample) == ("extraction", False, "rate=2")
    assert description.results == {"SCORES": {"labels": ["dark", "bright", "neither"], "video": True}}
    assert not (tmp_path / "models" / "tags_preprocess").exists()
    new_service("class", repository=tmp_path / "models", onnx=network(kind=TensorProto.INT64))
    assert read_description(tmp_path / "models", "class").outputs == ["NUMBERS"]
    last = network(("n", 32, 48, 3), axes=(1, 2))
    new_service("last", repository=tmp_path / "models", onnx=last)
    assert "[ -1, 3, 32, 48 ]" in (tmp_path / "models" / "last_decode" / "config.pbtxt").read_text()


def test_weights_that_an_older_file_names_as_inputs_too_are_none(network, tmp_path):
    model = onnx.load(str(network()))
    kernel = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    model.graph.initializer.append(numpy_helper.from_array(kernel, "kernel"))
    model.graph.node.insert(0, helper.make_node("Conv", ["x", "kernel"], ["same"]))
    model.graph.node[1].input[0] = "same"
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    onnx.save(model, str(tmp_path / "old.onnx"))
    new_service("old", repository=tmp_path / "models", onnx=tmp_path / "old.onnx")
    assert "[ -1, 3, 32, 48 ]" in (tmp_path / "models" / "old_decode" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("dims", "arguments", "said"),
    [
        (("n", 3, "h", "w"), {}, "takes pictures of any size; say of which: --set size=224x224"),
        (("n", 3, 32, 48), {"names": "a\nb\n"}, r"there are 2 labels, and the network gives \[3\] numbers a picture"),
        (("n", 3, 32, 48), {"names": "a\nb\na\n"}, "has 'a' twice; give text, one label a line, each another"),
        (("n", 3, 32, 48), {"names": ""}, "has no label"),
        (("n", 3, 32, 48), {"sample": "some"}, "sample cannot be 'some'; allowed is all, key"),
        (
            ("n", 3, 32, 48),
            {"parameters": {"stride": "2"}},
            "unknown parameter 'stride' of a network; known are antialias",
        ),
        (("n", 3, 32, 48), {"parameters": {"mean": "0.5"}}, "parameter mean has 1 numbers; allowed: three"),
        (("n", 3, 32, 48), {"parameters": {"std": "1,0,1"}}, "allowed: numbers above 0"),
        (("n", 3, 32, 48), {"parameters": {"mean": "a,b,c"}}, "parameter mean is 'a,b,c'; allowed: numbers"),
        (("n", 3, 32, 48), {"parameters": {"fit": "shrink"}}, "parameter fit is 'shrink'; allowed: stretch, crop"),
        (("n", 3, 32, 48), {"parameters": {"size": "big"}}, "parameter size is 'big'; allowed: WIDTHxHEIGHT"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(tmp_path, network, dims, arguments, said):
    given = dict(arguments)
    if "names" in given:
        given["labels"] = tmp_path / "labels.txt"
        given["labels"].write_text(given.pop("names"))
    with pytest.raises(SettingError, match=said):
        new_service("name", repository=tmp_path / "models", onnx=network(dims), **given)
    assert not (tmp_path / "models").exists()


def test_labels_of_what_gives_pictures(tmp_path, labels):
    script = tmp_path / "mine.py"
    script.write_text("def process(data):\n    pass\n")
    with pytest.raises(SettingError, match="--labels belongs to a network that gives numbers"):
        new_service("name", repository=tmp_path / "models", script=script, labels=labels)
