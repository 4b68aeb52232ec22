# SPDX-License-Identifier: MIT
"""TensorRT-RTX engines, built without a GPU: parsing, precision, profiles, keeping them, and every way to fail."""

import re
import shutil
import sys
import threading
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import typer.testing
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2
from vireo_client import command_line
from vireo_server import building
from vireo_server.adapters import adapt
from vireo_server.building import build_service
from vireo_server.errors import SettingError
from vireo_server.locations import find_locations
from vireo_server.machine import find_gpus
from vireo_server.new_service import new_service
from vireo_server.runtimes import NetworkFile, load_runtime
from vireo_server.runtimes.engine_files import engine_file, engine_key, find_engine, kept_engine
from vireo_server.runtimes.engines import EngineSettings, build_engine, load_library
from vireo_server.runtimes.precision import halved, with_convolutions, with_float_biases

pytest.importorskip("tensorrt_rtx", reason="no tensorrt_rtx: pip install tensorrt-rtx-cu12==1.7.1.116")

SHIPPED = find_locations().model_repository
SMALL = EngineSettings(rows=2, sizes=("16x16", "64x48", "128x96"))


@pytest.fixture(scope="module")
def library():
    return load_library("tensorrt_rtx")


@pytest.fixture
def network(tmp_path):
    """`network("Relu")`: a float network of one node between two convolutions, as people export it."""

    def save(operator="Relu", **attributes):
        weight = numpy_helper.from_array(np.full((3, 3, 1, 1), 1 / 3, np.float32), "w")
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
            helper.make_node(operator, ["a"], ["b"], name="middle", **attributes),
            helper.make_node("Conv", ["b", "w"], ["y"], name="last"),
        ]
        pictures = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, f"{name}h", f"{name}w"]) for name in "xy"
        ]
        graph = helper.make_graph(nodes, "test", pictures[:1], pictures[1:], [weight])
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return save


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
@pytest.mark.parametrize("service", ["super_resolution", "passthrough"])
def test_the_shipped_networks_become_engines(library, service, precision):
    model = adapt(find_locations().model_repository / f"{service}_network" / "1" / "model.onnx")
    settings = replace(SMALL, precision=precision)
    engine = build_engine(model, settings, library=library, capabilities=["7.5", "8.9", "12.0"])
    assert len(engine) > 1000


def test_a_layer_that_cannot_bear_half_precision_keeps_its_own(library, network):
    model = adapt(network())
    half = onnx.load_from_string(halved(model, keep=["middle"]))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(half).graph.value_info
    }
    (middle,) = [node for node in half.graph.node if node.name == "middle"]
    (last,) = [node for node in half.graph.node if node.name == "last"]
    assert types[middle.input[0]] == TensorProto.FLOAT
    assert types[last.input[0]] == TensorProto.FLOAT16
    settings = replace(SMALL, precision="fp16", keep_fp32=("middle",))
    assert build_engine(model, settings, library=library, capabilities=["8.9"])
    with pytest.raises(SettingError, match=r"keep_fp32 names the node 'none', .* it has first, middle, last"):
        halved(model, keep=["none"])


def test_half_precision_computes_nearly_the_same(network):
    """By ONNX Runtime: the graph itself is what TensorRT computes."""
    import onnxruntime

    model = adapt(network("Sigmoid"))
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    exact, half = (
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"vireo_input": batch})[0]
        for graph in (model, halved(model))
    )
    assert half.dtype == np.uint8
    assert np.abs(exact.astype(int) - half).max() <= 1


@pytest.fixture
def quantised(tmp_path):
    """A convolution in INT8 between QuantizeLinear and DequantizeLinear, as quantisers export it."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.integers(-127, 128, (3, 3, 3, 3)).astype(np.int8), "w8")
    numbers = {"xs": np.float32(1 / 127), "ws": np.float32(1 / 2000), "zero": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "zero"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "xs", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w8", "ws", "zero"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["y"], pads=[1, 1, 1, 1]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, f"{name}h", f"{name}w"]) for name in "xy")
    tensors = [weight, *(numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items())]
    graph = helper.make_graph(nodes, "test", [x], [y], tensors)
    path = tmp_path / "quantised.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_quantised_network_runs_and_becomes_an_engine(library, quantised):
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 24), dtype=np.uint8)
    results = [next(load_runtime(name, quantised, threads=1).run([batch])) for name in ("openvino", "onnxruntime")]
    assert np.abs(results[0].astype(int) - results[1]).max() <= 1
    assert build_engine(adapt(quantised), SMALL, library=library, capabilities=["8.9"])


@pytest.mark.parametrize("per_channel", [False, True])
def test_what_onnx_runtimes_quantiser_writes_becomes_an_engine(library, tmp_path, per_channel):
    """Biases too: it makes INT32 ones, which TensorRT refuses."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(0)
            self._left = [{"INPUT": rng.integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)} for _ in range(2)]

        def get_next(self):
            return self._left.pop() if self._left else None

    shipped = find_locations().model_repository / "super_resolution_network" / "1" / "model.onnx"
    quantize_static(
        str(shipped), str(tmp_path / "q.onnx"), Pictures(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, extra_options={"ActivationSymmetric": True},
    )  # fmt: skip
    model = adapt(tmp_path / "q.onnx")
    assert build_engine(model, SMALL, library=library, capabilities=["8.9"])
    batch = np.random.default_rng(1).integers(0, 256, (1, 3, 16, 24), dtype=np.uint8)
    as_written, folded = (
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"INPUT": batch})[0]
        for graph in (model, with_float_biases(model))
    )
    assert with_float_biases(model) != model
    assert np.abs(as_written.astype(int) - folded).max() <= 1


def test_a_network_with_numbers_beside_the_picture(library, tmp_path):
    nodes = [
        helper.make_node("Unsqueeze", ["s", "axes"], ["s4"]),
        helper.make_node("Mul", ["x", "s4"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in "xy")
    s = helper.make_tensor_value_info("s", TensorProto.FLOAT, ["n", 1])
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    graph = helper.make_graph(nodes, "test", [x, s], [y], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    assert build_engine(adapt(tmp_path / "m.onnx"), SMALL, library=library, capabilities=["8.9"])


def test_the_alternative_configuration_is_of_the_network_and_its_plan_can_be_built(library):
    """By TensorRT-RTX, which needs no GPU: the network as it is, strongly typed, at the shapes that stand there."""
    folder = find_locations().model_repository / "super_resolution_network"
    text = (folder / "configs" / "tensorrt_plan.pbtxt").read_text()
    ours, plan = (
        text_format.Parse(each, model_config_pb2.ModelConfig())
        for each in ((folder / "config.pbtxt").read_text(), text)
    )
    assert (plan.name, list(plan.input), list(plan.output)) == (ours.name, list(ours.input), list(ours.output))
    assert (plan.platform, plan.dynamic_batching) == ("tensorrt_plan", ours.dynamic_batching)
    shapes = {
        kind: [int(size) for size in re.search(rf"--{kind}Shapes=INPUT:(\S+)", text)[1].split("x")]
        for kind in ("min", "opt", "max")
    }
    assert shapes["max"][0] == plan.max_batch_size
    graph = onnx.load(folder / "1" / "model.onnx").graph
    for value, wanted in ((graph.input[0], plan.input[0]), (graph.output[0], plan.output[0])):
        assert (value.name, value.type.tensor_type.elem_type) == (wanted.name, TensorProto.UINT8)
    sizes = tuple(f"{width}x{height}" for _, _, height, width in shapes.values())
    settings = EngineSettings(rows=plan.max_batch_size, sizes=sizes)
    model = (folder / "1" / "model.onnx").read_bytes()
    assert build_engine(model, settings, library=library, capabilities=["7.5", "8.9"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rows": 0}, "rows is 0; allowed: 1 or more"),
        ({"precision": "int8"}, "precision is 'int8'; allowed: fp32, tf32, fp16"),
        ({"keep_fp32": ("a",)}, "keep_fp32 names 'a' at precision 'fp32'; it is for fp16"),
        ({"sizes": ("64x64", "32x32", "128x128")}, "smallest, typical and largest"),
        ({"sizes": ("64x64", "128x128")}, "three sizes a profile"),
        ({"sizes": ("64", "64x64", "64x64")}, "three sizes a profile"),
        ({"sizes": ()}, "three sizes a profile"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(SettingError, match=said):
        EngineSettings(**settings)


def test_the_first_profile_that_holds_a_picture_or_what_there_is():
    settings = EngineSettings(sizes=("16x16", "64x48", "128x96", "100x100", "1280x720", "1920x1088"))
    assert settings.profile_of(16, 16) == settings.profile_of(128, 96) == 0
    assert settings.profile_of(1920, 1080) == 1
    with pytest.raises(
        SettingError, match=r"3840x2160 is in no profile .* 16x16 to 128x96 or 100x100 to 1920x1088; add"
    ):
        settings.profile_of(3840, 2160)


def test_what_the_library_cannot_take_names_the_node_and_its_own_words(library, network):
    with pytest.raises(SettingError, match=r"tensorrt_rtx 1\..* cannot take this network: node 'middle' \(Det\): "):
        build_engine(adapt(network("Det")), SMALL, library=library, capabilities=["8.9"])


def test_a_gpu_it_does_not_build_for(library, network):
    model = adapt(network())
    with pytest.raises(SettingError, match=r"'9\.0' cannot be built for .* allowed: 7\.5, 8\.0, 8\.6, 8\.9, 12\.0"):
        build_engine(model, SMALL, library=library, capabilities=["9.0"])
    with pytest.raises(SettingError, match="needs tensorrt_rtx"):
        build_engine(model, SMALL, library=replace(library, name="tensorrt"), capabilities=["8.9"])


@pytest.mark.skipif(bool(find_gpus()[0]), reason="there is a GPU")
def test_without_a_gpu_the_runtime_says_so_and_what_to_use(network):
    with pytest.raises(
        SettingError, match=r"'tensorrt_rtx' needs an NVIDIA GPU and CuPy.*use runtime auto, openvino or"
    ):
        load_runtime("tensorrt_rtx", network(), threads=0)


def test_a_library_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(SettingError, match=r"'tensorrt': the package is not installed .*pip install tensorrt-cu12"):
        load_library("tensorrt")


def test_the_key_changes_with_all_that_an_engine_depends_on(library, network):
    model = adapt(network())
    key = engine_key(model, SMALL, library=library)
    assert key == engine_key(model, SMALL, library=library)
    others = {
        engine_key(adapt(network("Tanh")), SMALL, library=library),
        engine_key(model, replace(SMALL, rows=3), library=library),
        engine_key(model, replace(SMALL, precision="fp16"), library=library),
        engine_key(model, SMALL, library=replace(library, name="tensorrt")),
    }
    assert len(others | {key}) == 5


def test_an_engine_is_built_once_by_whoever_comes_first(tmp_path):
    built, notes = [], []
    inside, go_on = threading.Event(), threading.Event()

    def build():
        built.append(1)
        inside.set()
        go_on.wait(10)
        return b"engine"

    path = tmp_path / "engines" / "key.sm89.engine"
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(kept_engine(path, build, note=notes.append))) for _ in range(3)
    ]
    threads[0].start()
    assert inside.wait(10)
    for thread in threads[1:]:
        thread.start()
    while sum("waiting for it" in note for note in notes) < 2:
        threads[1].join(0.01)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert results == [b"engine"] * 3
    assert len(built) == 1
    assert notes[0] == "building the engine key.sm89.engine"
    assert any(note.startswith("built the engine key.sm89.engine in ") for note in notes)


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail():
        raise SettingError("no")

    path = tmp_path / "key.sm89.engine"
    with pytest.raises(SettingError):
        kept_engine(path, fail, note=lambda text: None)
    assert not path.exists()
    assert kept_engine(path, lambda: b"engine", note=lambda text: None) == b"engine"


def test_engines_built_ahead_lie_where_the_runtime_looks(tmp_path, network, library):
    repository = tmp_path / "models"
    new_service("mine", repository=repository, onnx=network())
    config = repository / "mine_network" / "config.pbtxt"
    config.write_text(
        config.read_text() + 'parameters { key: "sizes" value { string_value: "16x16, 64x48, 128x96" } }\n'
    )
    (path,) = build_service("mine", repository=repository, capabilities=["8.9", "12.0"])
    folder = repository / "mine_network" / "1"
    settings = EngineSettings(sizes=("16x16", "64x48", "128x96"))
    model, engine, _ = NetworkFile(folder / "model.onnx", 1, 8, "picture", None, settings).prepared("tensorrt_rtx")
    key = engine_key(model, engine, library=library)
    assert path == engine_file(folder, key, ["8.9", "12.0"])
    assert find_engine(folder, key, "8.9") == find_engine(folder, key, "12.0") == path
    assert find_engine(folder, key, "8.0") is None
    assert find_engine(folder, "other", "8.9") is None


@pytest.mark.parametrize(
    "service",
    # frame_interpolation_network too, but for that it takes half a minute.
    ["features", "passthrough", "restoration", "sdr_to_hdr_network", "shot_classification", "super_resolution"],
)
def test_every_shipped_network_becomes_an_engine_as_it_is_configured(tmp_path, service):
    """Windows, numbers, what is told beside the picture, 16 bits."""
    shutil.copytree(SHIPPED, tmp_path / "models")
    (path,) = build_service(service, repository=tmp_path / "models", capabilities=["7.5", "8.9"])
    assert path.parent == tmp_path / "models" / f"{service}_network" / "1"
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(("name", "side"), [("restoration", 48), ("shot_classification", 64)])
def test_fully_connected_layers_as_convolutions_give_the_same(name, side):
    """Which TensorRT-RTX has for Turing. By ONNX Runtime."""
    model, _, _ = NetworkFile(SHIPPED / f"{name}_network" / "1" / "model.onnx", 1, 8, "picture", None, None).prepared(
        "tensorrt_rtx"
    )
    changed = with_convolutions(model)
    kinds = {node.op_type for node in onnx.load_from_string(changed).graph.node}
    assert "Gemm" not in kinds
    assert with_convolutions(changed) == changed
    results = []
    for one in (model, changed):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # that weights are left over
        session = onnxruntime.InferenceSession(one, options)
        given = {
            value.name: np.random.default_rng(0)
            .integers(0, 200, [2, value.shape[1], *[side] * (len(value.shape) - 2)])
            .astype(np.uint8 if value.type == "tensor(uint8)" else np.float32)
            for value in session.get_inputs()
        }
        results.append(session.run(None, given)[0].astype(float))
    np.testing.assert_allclose(*results, atol=1 if name == "restoration" else 1e-5, rtol=1e-5)


def test_a_product_that_turing_lacks_is_said_with_what_helps(tmp_path, library):
    pictures = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, "H", "W"]) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Transpose", ["x"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last", "w"], ["product"]),
        helper.make_node("Transpose", ["product"], ["y"], perm=[0, 3, 1, 2]),
    ]
    graph = helper.make_graph(nodes, "test", pictures[:1], pictures[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with pytest.raises(SettingError, match=r"FP32 GEMM is not supported.*; set the parameter precision to fp16"):
        build_engine(model, SMALL, library=library, capabilities=["7.5"])
    assert build_engine(model, replace(SMALL, precision="fp16"), library=library, capabilities=["7.5"])


def test_a_service_is_built_with_the_networks_that_it_shares_and_none_of_others(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED, tmp_path / "models")
    monkeypatch.setattr(building, "build_engine", lambda model, *arguments, **options: b"engine")
    built = {
        service: {
            path.parents[1].name
            for path in build_service(service, repository=tmp_path / "models", capabilities=["8.9"])
        }
        for service in ("video_tags", "restore_and_upscale", "sdr_to_hdr_network")
    }
    assert built == {
        "video_tags": {"shot_classification_network", "features_network"},
        "restore_and_upscale": {"restoration_network", "super_resolution_network"},
        "sdr_to_hdr_network": {"sdr_to_hdr_network_network"},
    }
    for service in ("sdr_to_hdr", "frame_interpolation"):  # not those of sdr_to_hdr_network
        with pytest.raises(SettingError, match=f"no network of a service '{service}'"):
            build_service(service, repository=tmp_path / "models", capabilities=["8.9"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "--compute-capability", "8.9"], "has no network of a service 'nothing'; it has networks of "),
        (["passthrough", "--compute-capability", "9.0"], "'9.0' cannot be built for by tensorrt_rtx"),
        (["passthrough", "--compute-capability", ","], "--compute-capability is empty"),
        (["mine", "--compute-capability", "8.9", "--repository", "nowhere"], "nowhere' does not exist"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the shipped repository, whatever the folder
    done = typer.testing.CliRunner().invoke(command_line._app, ["build", *arguments])
    assert done.exit_code == 1
    assert said in done.stderr


def test_the_command_says_what_it_builds_and_where_it_lies(tmp_path):
    for model in ("features", "features_network"):
        shutil.copytree(SHIPPED / model, tmp_path / model)
    arguments = ["build", "features", "--compute-capability", "8.9,12.0", "--repository", str(tmp_path)]
    done = typer.testing.CliRunner().invoke(command_line._app, arguments)
    assert done.exit_code == 0, done.stderr
    (path,) = tmp_path.glob("*/1/*.sm89-sm120.engine")
    building, wrote, then = done.stdout.splitlines()
    assert building == f"building {path}"
    assert wrote.startswith(f"wrote {path.name} (")
    assert "runtime auto or tensorrt_rtx load it" in then
