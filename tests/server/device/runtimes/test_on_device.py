# SPDX-License-Identifier: MIT
"""The runtimes of a GPU, on one that is not there: all but the device's own part is what runs on a real one."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from vireo_kernels.devices import Device
from vireo_server.adapters import adapt
from vireo_server.building import build_service
from vireo_server.errors import SettingError
from vireo_server.inference import infer
from vireo_server.new_service import new_service
from vireo_server.runtimes import Runtime, load_runtime, tensorrt_types
from vireo_server.runtimes.engine_files import engine_file, engine_key
from vireo_server.runtimes.engines import EngineSettings, build_engine, load_library
from vireo_server.runtimes.onnxruntime_cuda import ONNXRuntimeCUDA
from vireo_server.runtimes.tensorrt import TensorRT
from vireo_server.side import Border, Side
from vireo_server.wire import Request

SETTINGS = EngineSettings(rows=2, sizes=("8x8", "16x16", "32x24", "8x8", "16x16", "24x64"))
LIBRARIES = ["tensorrt", "tensorrt_rtx"]


def save(path, nodes, weights=(), *, inputs=(), output=("n", 3, "h2", "w2"), picture=("n", 3, "h", "w")):
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, picture), *inputs]
    gives = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)]
    graph = helper.make_graph(nodes, "test", given, gives, list(weights))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def blur(tmp_path):
    """A float network as people export it: 3x3 blur with a reach of one pixel."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[range(3), range(3)] = 1 / 9
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return save(tmp_path / "blur.onnx", [node], [numpy_helper.from_array(weight, "w")])


@pytest.fixture
def numbers(tmp_path):
    """A picture of one size to four numbers, moved by what is told beside it."""
    weight = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["told"]),
        helper.make_node("Add", ["told", "s"], ["y"]),
    ]
    beside = [helper.make_tensor_value_info("s", TensorProto.FLOAT, ("n", 1))]
    weights = [numpy_helper.from_array(weight, "w")]
    return save(tmp_path / "n.onnx", nodes, weights, inputs=beside, output=("n", 4), picture=("n", 3, 12, 20))


@pytest.fixture
def loaded(engines, tmp_path):
    """`loaded("tensorrt", path)`: the runtime, and the engine that it loaded."""

    def load(library, path, *, settings=SETTINGS, bits=8, notes=None):
        model = adapt(path, bits=bits, wide=True)
        found = engines(library, model, settings)
        key = engine_key(model, settings, library=load_library(library))
        cache, beside = tmp_path / "cache", tmp_path / "network"
        beside.mkdir(exist_ok=True)
        engine_file(beside, key, ["8.9"]).write_bytes(b"engine")
        note = (notes if notes is not None else []).append
        runtime = TensorRT(model, threads=1, library=library, settings=settings, beside=beside, cache=cache, note=note)
        return runtime, found[-1]

    return load


@pytest.fixture
def run(cupy):
    """`run(runtime, batch, told)`: the result of a batch, there and back."""

    def once(runtime, batch, told=None):
        (result,) = runtime.run([cupy.wrapped(batch.copy())], [told] if told else ())
        assert isinstance(result, cupy.ndarray)
        return result._values

    return once


def pictures(rows, height=18, width=26, seed=0, dtype=np.uint8):
    high = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, high, (rows, 3, height, width)).astype(dtype)


@pytest.mark.parametrize("library", LIBRARIES)
def test_tensorrt_gives_what_the_cpu_gives(library, loaded, blur, cupy):
    runtime, _ = loaded(library, blur)
    assert runtime.side == "device"
    batches = [pictures(rows, seed=rows) for rows in (3, 1, 5)]
    expected = load_runtime("onnxruntime", blur, threads=1).run(batches)
    for want, found in zip(expected, runtime.run([cupy.wrapped(batch) for batch in batches]), strict=True):
        assert np.array_equal(want, found._values)
    assert list(runtime.run([])) == []
    assert cupy.crossed == {"to_device": 0, "to_host": 0}


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_come_out_as_numbers_and_the_rows_beside_them_belong_to_them(library, loaded, numbers, run):
    runtime, _ = loaded(library, numbers)
    assert runtime.conditions == ("s",)
    batch, told = pictures(5, 12, 20), {"s": np.arange(5, dtype=np.float32)[:, None]}
    output = run(runtime, batch, told)
    (expected,) = load_runtime("onnxruntime", numbers, threads=1).run([batch], [told])
    assert output.dtype == np.float32
    assert output.shape == (5, 4)
    assert np.array_equal(output, expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_pictures_of_16_bits_are_computed_as_32(library, loaded, blur, run):
    """TensorRT has no UINT16."""
    runtime, _ = loaded(library, blur, bits=16)
    batch = pictures(3, dtype=np.uint16)
    output = run(runtime, batch)
    (expected,) = load_runtime("onnxruntime", blur, threads=1, bits=16).run([batch])
    assert output.dtype == np.uint16
    assert np.array_equal(output, expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_shapes_are_always_the_same_and_the_profile_is_the_first_that_holds_them(library, loaded, blur, run):
    runtime, engine = loaded(library, blur)
    (context,) = engine.contexts
    for width, height, profile in ((26, 18, 0), (20, 40, 1), (32, 24, 0)):
        for rows in (1, 2, 3):
            run(runtime, pictures(rows, height, width))
            assert (context.profile, context.shapes["vireo_input"]) == (profile, (2, 3, height, width))
    with pytest.raises(SettingError, match=r"64x48 is in no profile .* 8x8 to 32x24 or 8x8 to 24x64; add a profile"):
        run(runtime, pictures(1, 48, 64))
    run(runtime, pictures(1))


def test_pictures_that_are_still_being_made_are_waited_for(loaded, blur, run, cupy):
    """They come from another stream, whose work may not be done."""
    runtime, _ = loaded("tensorrt", blur)
    with cupy.cuda.Stream() as theirs:
        run(runtime, pictures(1))
    assert runtime._stream.waited == [theirs]


def test_a_size_that_stays_is_replayed_from_a_graph(loaded, blur, run):
    runtime, _ = loaded("tensorrt", blur)
    (expected,) = load_runtime("onnxruntime", blur, threads=1).run([pictures(1)])
    stream = runtime._stream
    replays = []
    for _ in range(10):
        assert np.array_equal(run(runtime, pictures(1)), expected)
        replays.append(stream.replays)
    assert replays == [0] * 7 + [1, 2, 3]
    run(runtime, pictures(1, 20, 20))
    assert stream.replays == 3


def test_what_cannot_be_captured_is_launched(loaded, blur, run):
    runtime, engine = loaded("tensorrt", blur)
    engine.contexts[0].graphs_fail = True
    (expected,) = load_runtime("onnxruntime", blur, threads=1).run([pictures(1)])
    for _ in range(10):
        assert np.array_equal(run(runtime, pictures(1)), expected)
    assert runtime._stream.replays == 0


def test_tensorrt_rtx_decides_nothing_by_time_and_keeps_its_kernels(loaded, blur, run, tmp_path):
    """Lazy specialisation changes kernels, and so bits, while the server runs."""
    import tensorrt_rtx

    runtime, engine = loaded("tensorrt_rtx", blur)
    strategy = engine.contexts[0].strategy
    assert strategy.dynamic_shapes_kernel_specialization_strategy == (
        tensorrt_rtx.DynamicShapesKernelSpecializationStrategy.EAGER
    )
    assert strategy.cuda_graph_strategy == tensorrt_rtx.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    run(runtime, pictures(1))
    (kept,) = (tmp_path / "cache").glob("*.kernels")
    assert kept.read_bytes() == b"kernels"
    assert loaded("tensorrt_rtx", blur)[1].known == [b"kernels"]


def test_a_launch_that_fails_says_what_the_library_said(loaded, blur, run):
    import tensorrt_rtx

    runtime, engine = loaded("tensorrt_rtx", blur)
    runtime._log.log(tensorrt_rtx.ILogger.ERROR, "out of memory on the device")
    engine.contexts[0].execute_async_v3 = lambda stream: False
    with pytest.raises(RuntimeError, match="TensorRT did not compute: out of memory on the device"):
        run(runtime, pictures(1))


def test_pictures_beyond_the_profiles_come_in_tiles_on_the_device(engines, blur, run, cupy, monkeypatch, tmp_path):
    settings = replace(SETTINGS, sizes=("8x8", "40x40", "48x40"))
    loaded = engines("tensorrt_rtx", adapt(blur, wide=True), settings)
    monkeypatch.setattr("vireo_server.runtimes.tensorrt.kept_engine", lambda *arguments, **named: b"engine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime = load_runtime("tensorrt_rtx", blur, threads=1, engine=settings)
    batch = pictures(2, 61, 75)
    (expected,) = load_runtime("onnxruntime", blur, threads=1).run([batch])
    assert np.array_equal(run(runtime, batch), expected)
    assert cupy.crossed == {"to_device": 0, "to_host": 0}
    assert loaded[0].contexts[0].runs == 4  # of 2 rows each: 4 tiles a picture


def test_the_runtime_loads_what_was_built_ahead(engines, blur, run, monkeypatch, tmp_path):
    new_service("mine", repository=tmp_path, onnx=blur)
    folder = tmp_path / "mine_network"
    given = 'parameters { key: "sizes" value { string_value: "8x8, 40x40, 48x40" } }'
    (folder / "config.pbtxt").write_text((folder / "config.pbtxt").read_text() + given)
    (built,) = build_service("mine", repository=tmp_path, capabilities=["8.9"])
    settings = EngineSettings(sizes=("8x8", "40x40", "48x40"))
    loaded = engines("tensorrt_rtx", adapt(blur), settings)
    monkeypatch.setattr("vireo_server.runtimes.tensorrt.kept_engine", lambda *arguments, **named: pytest.fail("built"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime = load_runtime("tensorrt_rtx", folder / "1" / "model.onnx", threads=1, engine=settings)
    assert run(runtime, pictures(1)).shape == (1, 3, 18, 26)
    assert loaded[0].data == built.read_bytes()


def test_networks_of_one_size_need_one_profile(numbers):
    model = adapt(numbers)
    two = build_engine(model, SETTINGS, library=load_library("tensorrt_rtx"), capabilities=["8.9"])
    one = replace(SETTINGS, sizes=("12x20",) * 3)
    assert len(build_engine(model, one, library=load_library("tensorrt_rtx"), capabilities=["8.9"])) == len(two)


@pytest.fixture
def bound(cupy):
    """`bound(model)`: ONNX Runtime by I/O binding, with its provider for the host."""

    def load(model, **settings):
        return ONNXRuntimeCUDA(
            model, threads=1, settings=replace(SETTINGS, **settings), provider="CPUExecutionProvider"
        )

    return load


def test_onnx_runtime_reads_and_writes_memory_of_the_device(bound, blur, numbers, run):
    runtime, cpu = bound(adapt(blur)), load_runtime("onnxruntime", blur, threads=1)
    for rows, height, width in ((3, 18, 26), (1, 18, 26), (5, 20, 40)):
        batch = pictures(rows, height, width)
        assert np.array_equal(run(runtime, batch), next(cpu.run([batch])))
    deep = pictures(3, dtype=np.uint16)
    output = run(bound(adapt(blur, bits=16)), deep)
    assert np.array_equal(output, next(load_runtime("onnxruntime", blur, threads=1, bits=16).run([deep])))
    batch, told = pictures(5, 12, 20), {"s": np.arange(5, dtype=np.float32)[:, None]}
    output = run(bound(adapt(numbers)), batch, told)
    assert np.array_equal(output, next(load_runtime("onnxruntime", numbers, threads=1).run([batch], [told])))


def test_onnx_runtime_never_goes_on_with_the_cpu_by_itself(cupy, blur, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SettingError, match=r"has no CUDAExecutionProvider; pip uninstall onnxruntime && pip install"):
        load_runtime("onnxruntime_cuda", blur, threads=1)


def test_what_onnx_runtime_does_not_load_is_an_error_after_which_auto_goes_on(bound, blur):
    network = onnx.load_from_string(adapt(blur))
    network.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(SettingError, match=r"cannot load the network with its CPUExecutionProvider: .*NoSuchOperator"):
        bound(network.SerializeToString())


def test_auto_takes_the_best_that_works_and_says_which(run, engines, blur, monkeypatch, tmp_path):
    installed = {"cupy-cuda12x", "openvino", "onnxruntime", "tensorrt-rtx-cu12", "tensorrt-cu12", "onnxruntime-gpu"}
    monkeypatch.setattr("vireo_server.machine.package_version", lambda name: "1" if name in installed else None)
    monkeypatch.setattr("vireo_server.runtimes.tensorrt.kept_engine", lambda *arguments, **named: b"engine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = next(load_runtime("openvino", blur, threads=1).run([pictures(1)]))
    engines("tensorrt_rtx", adapt(blur), SETTINGS)
    notes = []

    def load(device=0):
        notes.clear()
        runtime = load_runtime("auto", blur, threads=1, engine=SETTINGS, device=device, note=notes.append)
        batch = pictures(1)
        output = run(runtime, batch) if runtime.side == "device" else next(runtime.run([batch]))
        assert np.array_equal(output, expected)
        return type(runtime._runtime).__name__

    assert load() == "TensorRT"
    assert notes == ["runtime auto is tensorrt_rtx, on CUDA device 0"]
    assert load(device=None) == "OpenVINO"
    assert notes == []
    monkeypatch.setattr("vireo_server.runtimes.tensorrt.load_library", _missing)
    assert load() == "OpenVINO"
    assert notes[0] == "runtime auto passes tensorrt_rtx by: gone"
    assert notes[1] == "runtime auto passes tensorrt by: gone"
    assert notes[2].startswith("runtime auto passes onnxruntime_cuda by: the installed onnxruntime ")
    assert notes[3].startswith("runtime auto is openvino, on the CPU; `vireo doctor` says")


def _missing(name):
    raise SettingError("gone")


def test_the_types_are_those_of_the_library():
    trt = load_library("tensorrt_rtx").module
    names = {
        "InputTensor": "ITensor", "Network": "INetworkDefinition", "OptimizationProfile": "IOptimizationProfile",
        "TimingCache": "ITimingCache", "BuilderConfig": "IBuilderConfig", "RuntimeCache": "IRuntimeCache",
        "RuntimeConfig": "IRuntimeConfig", "ExecutionContext": "IExecutionContext", "Engine": "ICudaEngine",
    }  # fmt: skip
    same = ("Builder", "Runtime", "OnnxParser", "ParserError")
    for name, real in (*names.items(), *zip(same, same, strict=True)):
        kind, real = getattr(tensorrt_types, name), getattr(trt, real)
        members = {member for member in (*vars(kind), *kind.__annotations__) if not member.startswith("_")}
        assert members
        assert members <= set(dir(real)), name


@pytest.mark.parametrize(("side", "crossed"), [("device", "to_device"), ("host", "to_host"), ("either", None)])
def test_pictures_are_brought_to_the_networks_side_and_counted(side, crossed, cupy, request_of):
    """Never silently: a service on a GPU whose network computes on the CPU says so in its counters."""
    counted = []
    border = Border(Side(device=Device(0), count=lambda *given: counted.append(given)), stage="network")
    batch = pictures(2)
    given = batch if side == "device" else cupy.wrapped(batch.copy())

    class Same(Runtime):
        def __init__(self):
            self.side = side

        def run(self, batches, conditions=()):
            return iter(batches)

    request = request_of({"INPUT": given})
    infer(Same(), [Request(request, stage="network")], model="m", border=border)
    output = request.wait().tensors["OUTPUT"]
    assert isinstance(output, np.ndarray) == (side == "host")
    assert np.array_equal(output if side == "host" else output._values, batch)
    assert counted == ([(crossed, batch.nbytes)] if crossed else [])
