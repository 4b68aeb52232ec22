# SPDX-License-Identifier: MIT
"""One contract, every runtime: pictures in, pictures out, a row's bits its own; and networks as people export them."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from vireo_server.errors import SettingError

RUNTIMES = ["openvino", "onnxruntime"]
KINDS = {
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
}
KINDS_OF_NUMPY = {"uint8": np.uint8, "float32": np.float32}


def save(path, nodes, initializers=(), *, kind="float32", inputs=("x",), shape=("N", 3, "H", "W")):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, KINDS[kind], shape) for name in inputs],
        [helper.make_tensor_value_info("y", KINDS[kind], ("N", 3, "H2", "W2"))],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def blur(tmp_path):
    """A float network as people export it: 3x3 blur, RGB 0..1 in and out."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    for channel in range(3):
        weight[channel, channel] = 1 / 9
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return save(tmp_path / "blur.onnx", [node], [numpy_helper.from_array(weight, "w")])


def pictures(rows, height=18, width=26, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, 3, height, width), dtype=np.uint8)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_float_network_takes_and_gives_bytes(name, blur):
    from vireo_server.runtimes import load_runtime

    batch = pictures(2)
    (output,) = load_runtime(name, blur, threads=2).run([batch])
    padded = np.pad(batch.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    mean = sum(padded[:, :, y : y + 18, x : x + 26] for y in range(3) for x in range(3)) / 9
    assert output.dtype == np.uint8
    assert np.abs(output - mean).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", RUNTIMES)
def test_weights_that_an_older_file_names_as_inputs_too_are_none(name, blur, tmp_path):
    from vireo_server.runtimes import load_runtime

    model, batch = onnx.load(blur), pictures(2)
    model.graph.node.append(helper.make_node("Mul", ["blurred", "one"], ["y"]))
    model.graph.node[0].output[0] = "blurred"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    onnx.save(model, tmp_path / "old.onnx")
    (expected,) = load_runtime(name, blur, threads=1).run([batch])
    assert np.array_equal(next(load_runtime(name, tmp_path / "old.onnx", threads=1).run([batch])), expected)


@pytest.mark.parametrize("name", RUNTIMES)
def test_requests_come_back_in_order_whatever_their_rows(name, blur):
    from vireo_server.runtimes import load_runtime

    runtime = load_runtime(name, blur, threads=2)
    batches = [pictures(rows, seed=rows) for rows in (3, 1, 5)]
    outputs = list(runtime.run(batches))
    assert [len(output) for output in outputs] == [3, 1, 5]
    for batch, output in zip(batches, outputs, strict=True):
        assert np.array_equal(output, next(runtime.run([batch])))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_row_has_the_same_bits_in_any_company(name, blur):
    from vireo_server.runtimes import load_runtime

    runtime = load_runtime(name, blur, threads=2)
    batch = pictures(7)
    (together,) = runtime.run([batch])
    alone = np.concatenate([next(runtime.run([batch[row : row + 1]])) for row in range(7)])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("name", RUNTIMES)
def test_pictures_of_many_sizes(name, blur):
    from vireo_server.runtimes import load_runtime

    runtime = load_runtime(name, blur, threads=2)
    for size in [*range(8, 20), 8]:
        (output,) = runtime.run([pictures(1, size, size + 1)])
        assert output.shape == (1, 3, size, size + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_in_any_type_is_an_identity(kind, tmp_path):
    from vireo_server.runtimes import load_runtime

    path = save(tmp_path / "identity.onnx", [helper.make_node("Identity", ["x"], ["y"])], kind=kind)
    batch = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 3, 16, 16)
    batch = batch.astype(np.uint16) * 257 if kind == "uint16" else batch
    (output,) = load_runtime("openvino", path, threads=1, bits=16 if kind == "uint16" else 8).run([batch])
    assert output.dtype == batch.dtype
    assert np.array_equal(output, batch)


def test_the_network_of_passthrough_is_exact():
    from vireo_server.locations import find_locations
    from vireo_server.runtimes import load_runtime

    batch = pictures(2)
    path = find_locations().model_repository / "passthrough_network" / "1" / "model.onnx"
    for name in RUNTIMES:
        (output,) = load_runtime(name, path, threads=1).run([batch])
        assert np.array_equal(output, batch)


def test_what_is_no_picture_network_says_what_it_is(tmp_path):
    from vireo_server.errors import SettingError
    from vireo_server.runtimes import load_runtime

    two = [helper.make_node("Add", ["x", "z"], ["y"])]
    with pytest.raises(SettingError, match=r"inputs \['x', 'z'\].*one picture as input and one output"):
        load_runtime("openvino", save(tmp_path / "two.onnx", two, inputs=("x", "z")), threads=1)
    gray = [helper.make_node("Identity", ["x"], ["y"])]
    with pytest.raises(SettingError, match=r"'x' has the shape \['N', 1, 'H', 'W'\]; allowed: \[N, 3, H, W\]"):
        load_runtime("openvino", save(tmp_path / "gray.onnx", gray, shape=("N", 1, "H", "W")), threads=1)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(SettingError, match="not a valid ONNX network"):
        load_runtime("openvino", tmp_path / "text.onnx", threads=1)
    with pytest.raises(SettingError, match="there is no network at"):
        load_runtime("openvino", tmp_path / "none.onnx", threads=1)


def test_an_unknown_runtime_lists_the_known_ones(blur):
    from vireo_server.errors import SettingError
    from vireo_server.runtimes import load_runtime

    with pytest.raises(SettingError, match="'tensorflow'; allowed: auto, openvino, onnxruntime, onnxruntime_cuda, ten"):
        load_runtime("tensorflow", blur, threads=1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_numbers_beside_the_picture_belong_to_their_rows(name, tmp_path):
    from vireo_server.runtimes import load_runtime

    shape = numpy_helper.from_array(np.array([0, 1, 1, 1]), "shape")
    nodes = [
        helper.make_node("ReduceSum", ["CONDITION", "columns"], ["told"], keepdims=1),
        helper.make_node("Reshape", ["told", "shape"], ["level"]),
        helper.make_node("Add", ["x", "level"], ["y"]),
    ]
    path = save(tmp_path / "told.onnx", nodes, [shape, numpy_helper.from_array(np.array([1]), "columns")])
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("CONDITION", TensorProto.FLOAT, ("N", 2)))
    onnx.save(model, path)
    runtime = load_runtime(name, path, threads=2)
    assert runtime.conditions == ("CONDITION",)
    batches = [np.zeros((rows, 3, 8, 8), np.uint8) for rows in (3, 2)]
    told = [{"CONDITION": np.array(rows, np.float32) / 255} for rows in ([[1, 1], [2, 2], [3, 3]], [[4, 4], [5, 5]])]
    levels = [output[:, 0, 0, 0].tolist() for output in runtime.run(batches, told)]
    assert levels == [[2, 4, 6], [8, 10]]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_network_of_16_bits_loses_none_of_them(name, blur):
    """For HDR: UINT16 in and out of a float graph."""
    from vireo_server.runtimes import load_runtime

    batch = np.random.default_rng(0).integers(0, 65536, (2, 3, 18, 26)).astype(np.uint16)
    (output,) = load_runtime(name, blur, threads=1, bits=16).run([batch])
    padded = np.pad(batch.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    mean = sum(padded[:, :, y : y + 18, x : x + 26] for y in range(3) for x in range(3)) / 9
    assert output.dtype == np.uint16
    assert np.abs(output - mean).max() <= 0.5 + 0.02


def test_a_network_that_does_not_fit_16_bits_is_refused(tmp_path):
    from vireo_server.runtimes import load_runtime

    same = [helper.make_node("Identity", ["x"], ["y"])]
    for kind, said in (("uint8", "is UINT8; allowed with 16 bits: UINT16, FLOAT"), ("float16", "is FLOAT16; allowed")):
        with pytest.raises(SettingError, match=said):
            load_runtime("openvino", save(tmp_path / f"{kind}.onnx", same, kind=kind), threads=1, bits=16)
    with pytest.raises(SettingError, match="is UINT16; allowed with 8 bits: UINT8, FLOAT, FLOAT16"):
        load_runtime("openvino", save(tmp_path / "uint16.onnx", same, kind="uint16"), threads=1)


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize(("black", "white"), [(0, 255), (-1, 1), (0.5, 2)])
def test_a_network_of_other_numbers_for_black_and_white(name, black, white, tmp_path):
    """It moves every pixel a quarter of the way from what it says is black to white, which tells all three numbers."""
    from vireo_server.adapters import Convention
    from vireo_server.runtimes import load_runtime

    parts = [numpy_helper.from_array(np.array(each, np.float32), key) for key, each in (("w", white), ("q", 0.25))]
    nodes = [
        helper.make_node("Sub", ["w", "x"], ["missing"]),
        helper.make_node("Mul", ["missing", "q"], ["some"]),
        helper.make_node("Add", ["x", "some"], ["y"]),
    ]
    path, batch = save(tmp_path / "quarter.onnx", nodes, parts), pictures(1)
    (output,) = load_runtime(name, path, threads=1, convention=Convention(black=black, white=white)).run([batch])
    assert np.abs(output - (batch + (255 - batch.astype(float)) / 4)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_network_whose_channels_are_bgr(name, kind, tmp_path):
    from vireo_server.adapters import Convention
    from vireo_server.runtimes import load_runtime

    blue_only = np.array([1, 0, 0], KINDS_OF_NUMPY[kind]).reshape(1, 3, 1, 1)
    nodes = [helper.make_node("Mul", ["x", "blue"], ["y"])]
    path, batch = (
        save(tmp_path / "blue.onnx", nodes, [numpy_helper.from_array(blue_only, "blue")], kind=kind),
        pictures(1),
    )
    (output,) = load_runtime(name, path, threads=1, convention=Convention(order="bgr")).run([batch])
    assert np.array_equal(output, batch * np.array([0, 0, 1], np.uint8).reshape(1, 3, 1, 1))


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_network_whose_colours_come_last(name, kind, tmp_path):
    from vireo_server.runtimes import load_runtime

    colours = np.array([1, 0, 1], KINDS_OF_NUMPY[kind])
    nodes = [helper.make_node("Mul", ["x", "colours"], ["y"])]
    ends = [helper.make_tensor_value_info(end, KINDS[kind], ("N", "H", "W", 3)) for end in ("x", "y")]
    graph = helper.make_graph(nodes, "last", ends[:1], ends[1:], [numpy_helper.from_array(colours, "colours")])
    path, batch = tmp_path / "last.onnx", pictures(2)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (output,) = load_runtime(name, path, threads=1).run([batch])
    assert np.array_equal(output, batch * np.array([1, 0, 1], np.uint8).reshape(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"black": 1, "white": 0}, "parameters black and white are 1 and 0; allowed: the smaller one first"),
        ({"order": "grb"}, "parameter order is 'grb'; allowed: rgb, bgr"),
    ],
)
def test_conventions_that_cannot_be(values, said):
    from vireo_server.adapters import Convention

    with pytest.raises(SettingError, match=said):
        Convention(**values)


@pytest.mark.parametrize("own", ["vireo_input", "vireo_output", "vireo_cast_vireo_input", "vireo_constant_1"])
def test_tensors_of_the_file_may_have_the_names_of_those_that_are_added(own, blur, tmp_path):
    from vireo_server.runtimes import load_runtime

    (expected,) = load_runtime("openvino", blur, threads=1).run([pictures(1)])
    model = onnx.load(blur)
    model.graph.initializer[0].name = model.graph.node[0].input[1] = own
    onnx.save(model, tmp_path / "named.onnx")
    for name in RUNTIMES:
        (output,) = load_runtime(name, tmp_path / "named.onnx", threads=1).run([pictures(1)])
        assert np.array_equal(output, expected)


def test_what_onnx_runtime_does_not_load_is_said_by_whoever_asked(blur, tmp_path):
    from vireo_server.runtimes import load_runtime

    model = onnx.load(blur)
    model.graph.node[0].op_type, model.graph.node[0].domain = "NoSuchOperator", "com.example"
    model.opset_import.add(domain="com.example", version=1)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(SettingError, match=r"onnxruntime cannot load the network .*NoSuchOperator.*another runtime"):
        load_runtime("onnxruntime", tmp_path / "other.onnx", threads=1)


def test_a_file_of_an_opset_too_old_says_what_to_do(blur, tmp_path):
    from vireo_server.runtimes import load_runtime

    model = onnx.load(blur)
    model.opset_import[0].version = 10
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(
        SettingError, match=r"is of opset 10; allowed: 11 or later; export it again with opset_version=17"
    ):
        load_runtime("openvino", tmp_path / "old.onnx", threads=1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_row_that_is_done_is_progress(name, blur):
    from vireo_server.runtimes import load_runtime

    done = []
    runtime = load_runtime(name, blur, threads=1, progress=lambda: done.append(1))
    for count, output in enumerate(runtime.run([pictures(3), pictures(1)])):
        assert len(output) == (3, 1)[count]
        assert len(done) == (3, 4)[count]


def test_an_output_of_other_channels_is_refused_when_the_network_is_loaded(tmp_path):
    from vireo_server.runtimes import load_runtime

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])],
        "grey",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, "H", "W"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 1, "H", "W"))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    with pytest.raises(SettingError, match=r"output 'y' has the shape \['N', 1, 'H', 'W'\]; allowed: \[N, 3, H, W\]"):
        load_runtime("openvino", tmp_path / "g.onnx", threads=1)


AT_ONCE = """
import builtins, sys, threading, time
from pathlib import Path
import numpy as np
from vireo_server.runtimes import load_runtime

find = builtins.__import__

def dawdle(name, *rest, **more):
    if name.startswith("numpy"):
        time.sleep(0.05)  # whoever waits for Python's lock gets it
    return find(name, *rest, **more)

def work():
    runtime = load_runtime("openvino", Path(sys.argv[1]), threads=1)
    ready.wait()
    list(runtime.run([np.zeros((1, 3, 8, 8), np.uint8)]))

ready = threading.Barrier(4)
builtins.__import__ = dawdle
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_use_openvino_first_at_once_do_not_wait_for_each_other(blur):
    """In a process of its own, in which nobody has used it."""
    subprocess.run([sys.executable, "-c", AT_ONCE, str(blur)], timeout=60, check=True)
