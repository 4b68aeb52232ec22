# SPDX-License-Identifier: MIT
"""Files with RIFE's interface behind our stages: the planes that they want, and the picture that they give."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from vireo_server.errors import BadInput, SettingError
from vireo_server.formats import Format
from vireo_server.interpolating import InterpolationStage
from vireo_server.network_settings import NetworkSettings
from vireo_server.runtimes import load_runtime
from vireo_server.settings import PreprocessSettings
from vireo_server.tags import NOTHING
from vireo_training.graph import FLOAT, Graph
from vireo_training.interpolation import interpolation_graph

WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The shipped motion search in both interfaces."""
    folder = tmp_path_factory.mktemp("networks")
    for planes in (7, 11):
        (folder / f"{planes}.onnx").write_bytes(interpolation_graph(planes=planes))
    return folder


def probe(path, planes, kind=onnx.TensorProto.FLOAT):
    """A network that gives three of its planes back: the timestep and, of 11, the grid."""
    names = [f"{name}{index}" for name, count in (("x", planes),) for index in range(count)]
    nodes = [
        onnx.helper.make_node("Split", ["x"], names, axis=1),
        onnx.helper.make_node("Concat", [names[6], *(names[7:9] if planes == 11 else names[6:7] * 2)], ["y"], axis=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "probe",
        [onnx.helper.make_tensor_value_info("x", kind, ["N", planes, "H", "W"])],
        [onnx.helper.make_tensor_value_info("y", kind, ["N", 3, "H", "W"])],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def pairs(count, seed=0):
    """Two pictures a row, the second one the first moved by (6, 4): (N, 6, H, W) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 3, HEIGHT // 8 + 4, WIDTH // 8 + 4))
    large = np.kron(noise, np.ones((8, 8)))
    for axis in (2, 3):  # Soft edges, as pictures have them.
        large = sum(np.roll(large, n, axis) for n in range(8)) / 8
    first = large[:, :, 16 : 16 + HEIGHT, 16 : 16 + WIDTH]
    second = large[:, :, 12 : 12 + HEIGHT, 10 : 10 + WIDTH]
    between = large[:, :, 14 : 14 + HEIGHT, 13 : 13 + WIDTH]
    return np.concatenate([first, second], axis=1).astype(np.uint8), between


def psnr(one, two):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - two) ** 2))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_both_interfaces_find_the_motion_and_give_one_picture(networks, runtime):
    batch, truth = pairs(2)
    half = np.full((2, 1), 0.5, np.float32)
    made = []
    for planes in (7, 11):
        network = load_runtime(runtime, networks / f"{planes}.onnx", threads=2, interface="interpolation")
        assert network.conditions == ("TIMESTEP",)
        (output,) = network.run([batch], [{"TIMESTEP": half}])
        made.append(output)
    assert np.abs(made[0].astype(int) - made[1]).max() <= 1
    inside = np.s_[:, :, 8:-8, 8:-8]
    blended = (batch[:, :3].astype(float) + batch[:, 3:]) / 2
    repeated = max(psnr(batch[:, :3][inside], truth[inside]), psnr(batch[:, 3:][inside], truth[inside]))
    assert psnr(made[0][inside], truth[inside]) > max(psnr(blended[inside], truth[inside]), repeated) + 3


def test_the_planes_are_those_of_the_file_itself(networks):
    batch, _ = pairs(1)
    planes = np.concatenate([batch / 255, np.full((1, 1, HEIGHT, WIDTH), 0.25)], axis=1).astype(np.float32)
    session = onnxruntime.InferenceSession(networks / "7.onnx", providers=["CPUExecutionProvider"])
    itself = np.rint(session.run(None, {"INPUT": planes})[0].clip(0, 1) * 255)
    network = load_runtime("onnxruntime", networks / "7.onnx", threads=1, interface="interpolation")
    (output,) = network.run([batch], [{"TIMESTEP": np.array([[0.25]], np.float32)}])
    assert np.abs(output - itself).max() <= 1


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_row_has_its_own_timestep_and_the_grid_ends_at_the_edges(tmp_path, runtime, kind):
    network = load_runtime(runtime, probe(tmp_path / "p.onnx", 11, kind), threads=1, interface="interpolation")
    batch = np.zeros((2, 6, 9, 5), np.uint8)
    (output,) = network.run([batch], [{"TIMESTEP": np.array([[0.2], [0.8]], np.float32)}])
    assert (np.abs(output[:, 0].astype(int) - np.array([51, 204])[:, np.newaxis, np.newaxis]) <= 1).all()
    # What is under 0 is black; -1, -0.5, 0, 0.5, 1 across and -1 ... 1 in ninths down.
    across, down = np.array([0, 0, 0, 0.5, 1]) * 255, np.array([0, 0, 0, 0, 0, 0.25, 0.5, 0.75, 1]) * 255
    assert np.abs(output[0, 1] - across).max() < 1
    assert np.abs(output[0, 2] - down[:, np.newaxis]).max() < 1


@pytest.mark.parametrize("planes", [3, 8])
def test_other_planes_are_refused_when_it_is_loaded(tmp_path, planes):
    graph = Graph("other")
    bounds = [graph.constant(f"c{n}", np.array([n], np.int64)) for n in (0, 3, 1)]
    graph.add("Slice", "INPUT", *bounds, output="OUTPUT")
    shapes = {"input_shape": ("N", planes, "H", "W"), "output_shape": ("N", 3, "H", "W")}
    path = tmp_path / "other.onnx"
    path.write_bytes(graph.serialize(**shapes, doc="", element=FLOAT))
    words = rf"'INPUT' is FLOAT \['N', {planes}, 'H', 'W'\]; allowed .* \[N, 7, H, W\] or \[N, 11, H, W\]"
    with pytest.raises(SettingError, match=words):
        load_runtime("openvino", path, threads=1, interface="interpolation")


def test_a_file_with_seven_planes_is_no_picture_network(networks):
    with pytest.raises(SettingError, match=r"allowed: \[N, 3, H, W\], planar RGB"):
        load_runtime("openvino", networks / "7.onnx", threads=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda: NetworkSettings(interface="rife"), "parameter interface is 'rife'; allowed: picture, interpolation"),
        (lambda: PreprocessSettings(slots="some"), "parameter slots is 'some'; allowed: none, rows, pairs"),
        (lambda: PreprocessSettings(slots="pairs", layout="interleaved"), "allowed with slots 'pairs': planar"),
        (lambda: PreprocessSettings(slots="pairs", padding="zero"), "parameter padding is 'zero'; allowed: edge, none"),
        (lambda: PreprocessSettings(multiple=32), "belong to slots 'pairs'; remove them"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        settings()


def test_a_size_that_may_not_be_padded_is_refused_before_a_picture_is_looked_at():
    class Request:
        def json(self, name):
            format = Format(**{**vars(NOTHING), "width": 100, "height": 64})
            return json.loads(format.to_json())

    stage = InterpolationStage(PreprocessSettings(slots="pairs", multiple=32, padding="none"))
    stage.listen(Request())
    with pytest.raises(BadInput, match="the picture is 100x64; allowed: sides that are multiples of 32"):
        stage.open(Request())
