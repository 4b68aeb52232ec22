# SPDX-License-Identifier: MIT
"""Large pictures in tiles, sizes that are no multiple, memory that runs out; with networks as people export them."""

import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from vireo_server.adapters import adapt
from vireo_server.errors import BadInput, SettingError
from vireo_server.locations import find_locations
from vireo_server.receptive_field import Network, examine
from vireo_server.runtimes import Runtime, load_runtime
from vireo_server.tiling import Tiled, TileLimits, Tiling

FORMS = [("srvgg", 2), ("srvgg", 3), ("srvgg", 4), ("rrdb", 2), ("rrdb", 4), ("rrdb_reshaped", 2)]


def pictures(rows, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, 3, height, width), dtype=np.uint8)


class Watched(Runtime):
    """A runtime that remembers the sizes it was given, and fails where told to."""

    def __init__(self, runtime, *, most=None, error=MemoryError):
        self._runtime, self.sizes, self.most, self.error = runtime, [], most, error
        self.conditions = runtime.conditions

    def run(self, batches, conditions=()):
        for batch in batches:
            self.sizes += [batch.shape[2:]] * len(batch)
            if self.most is not None and batch.shape[2] * batch.shape[3] > self.most:
                raise self.error("bad allocation")
        return self._runtime.run(batches, conditions)


def tiled(path, *, name="openvino", memory_mb=1024, most=None, error=MemoryError, notes=None, **limits):
    """The network in tiles, and what watches it."""
    inner = load_runtime(name, path, threads=2)._runtime
    watched = Watched(inner, most=most, error=error)
    note = (notes if notes is not None else []).append
    network = examine(adapt(path))
    return Tiled(watched, network, limits=TileLimits(memory_mb=memory_mb, **limits), at_once=2, note=note), watched


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("form", "scale"), FORMS)
def test_networks_as_people_export_them_are_taken_as_they_are(exported, form, scale, dtype, name):
    path, batch = exported(form, scale=scale, dtype=dtype), pictures(2, 32, 24)
    (output,) = load_runtime(name, path, threads=2).run([batch])
    assert output.shape == (2, 3, 32 * scale, 24 * scale)
    # What the export would have given to a program of its user's: floats 0..1, clipped, times 255, rounded.
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (floats,) = session.run(None, {"input": (batch / dtype(255)).astype(dtype)})
    expected = np.round(np.clip(floats.astype(np.float64), 0, 1) * 255)
    assert np.abs(output - expected).max() <= (1 if dtype is np.float32 else 2)
    assert output.std() > 10


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("form", "scale"), FORMS)
def test_tiles_give_the_very_pixels_of_the_whole_picture(exported, form, scale, name):
    path, batch = exported(form, scale=scale), pictures(2, 150, 118)
    (whole,) = load_runtime(name, path, threads=2).run([batch])
    runtime, watched = tiled(path, name=name, memory_mb=3)
    (output,) = runtime.run([batch])
    assert np.array_equal(output, whole)
    assert len(set(watched.sizes)) == 1  # a runtime prepares for one size
    assert len(watched.sizes) >= 8
    assert watched.sizes[0][0] < 150


def test_the_shipped_networks_in_tiles_with_what_they_are_told():
    repository, batch = find_locations().model_repository, pictures(2, 101, 87)
    told = [{"CONDITION": np.array([[1, 20, 0, 0], [0.5, 40, 1, 9]], np.float32)}]
    for service in ("restoration", "super_resolution"):
        path = repository / f"{service}_network" / "1" / "model.onnx"
        (whole,) = load_runtime("openvino", path, threads=2).run([batch], told if service == "restoration" else ())
        runtime, watched = tiled(path, memory_mb=2)
        (output,) = runtime.run([batch], told if service == "restoration" else ())
        assert np.array_equal(output, whole)
        assert len(watched.sizes) > 2


@pytest.mark.parametrize("size", [(33, 47), (64, 47), (31, 64)])
def test_a_size_that_is_no_multiple_is_padded_and_cropped(exported, size):
    path, batch = exported("rrdb"), pictures(1, *size)
    (output,) = load_runtime("openvino", path, threads=1).run([batch])
    assert output.shape == (1, 3, 2 * size[0], 2 * size[1])
    padded = np.pad(batch, ((0, 0), (0, 0), (0, size[0] % 2), (0, size[1] % 2)), mode="edge")
    (whole,) = load_runtime("openvino", path, threads=1).run([padded])
    assert np.array_equal(output, whole[:, :, : 2 * size[0], : 2 * size[1]])


def test_a_multiple_that_the_graph_does_not_tell_is_told_by_configuration(exported):
    runtime, watched = tiled(exported("srvgg"), multiple=16)
    (output,) = runtime.run([pictures(1, 40, 50)])
    assert output.shape == (1, 3, 80, 100)
    assert watched.sizes == [(48, 64)]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_file_without_free_axes_takes_every_size_that_its_graph_does(exported, name):
    batch = pictures(2, 37, 90)
    (free,) = load_runtime(name, exported("srvgg"), threads=1).run([batch])
    (output,) = load_runtime(name, exported("srvgg", size=(64, 64)), threads=1).run([batch])
    assert np.array_equal(output, free)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("size", [(150, 118), (64, 200), (48, 80), (64, 80), (31, 79)])
def test_a_network_of_one_size_alone_goes_over_every_picture_in_tiles_of_it(exported, name, size):
    batch, path = pictures(2, *size), exported("rrdb_reshaped", size=(64, 80))
    (free,) = load_runtime(name, exported("rrdb_reshaped"), threads=2).run([batch])
    runtime, watched = tiled(path, name=name)
    (output,) = runtime.run([batch])
    assert set(watched.sizes) == {(64, 80)}
    # At the border of a picture that is smaller than a tile there is another border than its own.
    inside = np.s_[:, :, : 2 * (size[0] - 14 * (size[0] < 64)), : 2 * (size[1] - 14 * (size[1] < 80))]
    # To the bit the same, but for what a runtime optimises where it knows sizes.
    assert np.abs(output[inside].astype(int) - free[inside]).max() <= 1


def test_a_network_of_one_size_that_looks_too_far_for_tiles_says_what_to_do(exported):
    path = exported("rrdb_reshaped", size=(24, 24))
    runtime = load_runtime("openvino", path, threads=1)
    assert next(runtime.run([pictures(1, 24, 20)])).shape == (1, 3, 48, 40)
    said = r"30x24 through a network that was exported for 24x24 alone, .* 14 pixels far; .* to less than 12: seams may"
    with pytest.raises(BadInput, match=said):
        next(runtime.run([pictures(1, 24, 30)]))
    seams = load_runtime("openvino", path, threads=1, limits=TileLimits(overlap=4))
    assert next(seams.run([pictures(1, 24, 30)])).shape == (1, 3, 48, 60)


def in_windows(graph):
    """Windows of 8x8 pixels that know of each other: sizes that are no multiples cannot be reshaped."""
    shape = graph.node("Shape", "input")
    eighths = graph.node("Div", graph.node("Slice", shape, graph.whole(2), graph.whole(4)), graph.whole(8))
    height, width = (graph.node("Slice", eighths, graph.whole(n), graph.whole(n + 1)) for n in (0, 1))
    parts = graph.node("Concat", graph.whole(1, 3), height, graph.whole(8), width, graph.whole(8), axis=0)
    cut = graph.node("Reshape", "input", parts)
    return graph.node("Reshape", graph.node("Sub", cut, graph.node("ReduceMean", cut, axes=[3, 5])), shape)


def test_what_sides_must_be_multiples_of_is_found_where_only_the_reshaping_tells(drawn):
    path = drawn(in_windows)
    assert examine(adapt(path)).grain == 8
    for name in ("openvino", "onnxruntime"):
        assert next(load_runtime(name, path, threads=1).run([pictures(1, 37, 41)])).shape == (1, 3, 37, 41)


def aligned(graph):
    scales = graph.weight(np.array([1, 1, 2, 2]), np.float32)
    nothing = graph.weight(np.zeros(0), np.float32)
    return graph.node("Resize", "input", nothing, scales, mode="linear", coordinate_transformation_mode="align_corners")


def mirrored(graph):
    ends = graph.whole(-1), graph.whole(-(2**31)), graph.whole(3), graph.whole(-1)
    return graph.node("Slice", "input", *ends)


def over_rows(graph):
    return graph.node("Concat", "input", "input", axis=2)


def turned(graph):
    return graph.node("Transpose", "input", perm=[0, 1, 3, 2])


def by_column(graph):
    """Lighter from column to column, as networks that are told where a pixel is."""
    width = graph.node("Slice", graph.node("Shape", "input"), graph.whole(3), graph.whole(4))
    first, step = (graph.weight(np.array(number), np.int64) for number in (0, 1))
    columns = graph.node("Range", first, graph.node("Squeeze", width), step)
    ramp = graph.node("Mul", graph.node("Cast", columns, to=TensorProto.FLOAT), graph.weight(np.array(0.001)))
    return graph.node("Add", "input", ramp)


@pytest.mark.parametrize("form", [aligned, mirrored, turned, in_windows, by_column])
def test_what_depends_on_the_whole_picture_is_not_cut(drawn, form):
    assert examine(adapt(drawn(form))).radius is None


def bordered(mode):
    def form(graph):
        wider = graph.node("Pad", "input", graph.whole(0, 0, 2, 2, 0, 0, 2, 2), mode=mode)
        weight = graph.weight(graph.random.normal(0, 0.2, (3, 3, 5, 5)))
        return graph.node("Add", graph.node("Conv", wider, weight, kernel_shape=[5, 5]), "input")

    return form


def border_computed(graph):
    """As PyTorch's older exporter writes reflection padding: nobody can read how much goes on which side."""
    pads = graph.node("Cast", graph.node("Abs", graph.whole(0, 0, -2, 2, 0, 0, 2, -2)), to=TensorProto.INT64)
    weight = graph.weight(graph.random.normal(0, 0.2, (3, 3, 5, 5)))
    return graph.node("Conv", graph.node("Pad", "input", pads, mode="reflect"), weight, kernel_shape=[5, 5])


def bordered_on_one_side(graph):
    """Two pixels above and to the left that can be read, and two more that are computed."""
    some = graph.node("Pad", "input", graph.whole(0, 0, 2, 2, 0, 0, 0, 0))
    pads = graph.node("Cast", graph.node("Abs", graph.whole(0, 0, 2, -2, 0, 0, 0, 0)), to=TensorProto.INT64)
    weight = graph.weight(graph.random.normal(0, 0.2, (3, 3, 5, 5)))
    return graph.node("Conv", graph.node("Pad", some, pads), weight, kernel_shape=[5, 5])


def quantised(graph):
    def both(source, step):
        names = graph.weight(np.array(step), np.float32), graph.weight(np.array(128), np.uint8)
        return graph.node("DequantizeLinear", graph.node("QuantizeLinear", source, *names), *names)

    weight = both(graph.weight(graph.random.normal(0, 0.2, (3, 3, 3, 3))), 0.01)
    blurred = graph.node("Conv", both("input", 1 / 127), weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return graph.node("Add", both(blurred, 1 / 100), "input")


def down_and_up(graph):
    weight = graph.weight(graph.random.normal(0, 0.2, (3, 3, 2, 2)))
    half = graph.node("Conv", "input", weight, kernel_shape=[2, 2], strides=[2, 2])
    return graph.node("Add", graph.node("ConvTranspose", half, weight, kernel_shape=[2, 2], strides=[2, 2]), "input")


def with_a_level(graph):
    """A plane of one value, as large as the picture: the same in every tile."""
    return graph.node("Add", "input", graph.node("Expand", graph.weight(np.array(0.1)), graph.node("Shape", "input")))


def normalised(graph):
    """By the mean of each pixel's channels, as NAFNet's layers."""
    weight = graph.weight(graph.random.normal(0, 0.2, (3, 3, 3, 3)))
    mean = graph.node("ReduceMean", "input", axes=[1])
    return graph.node("Conv", graph.node("Sub", "input", mean), weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize(
    ("form", "radius", "grain"),
    [
        (with_a_level, 0, 1),
        (bordered("reflect"), 2, 1),
        (bordered("edge"), 2, 1),
        (bordered("constant"), 2, 1),
        (border_computed, 4, 1),
        (bordered_on_one_side, 4, 1),
        (quantised, 1, 1),
        (normalised, 1, 1),
        (down_and_up, 3, 2),
    ],
)
def test_other_operators_in_tiles_give_the_very_pixels_too(drawn, form, radius, grain):
    path, batch = drawn(form), pictures(1, 150, 118)
    network = examine(adapt(path))
    assert network.radius <= radius
    assert network.grain == grain
    (whole,) = load_runtime("openvino", path, threads=2).run([batch])
    runtime, watched = tiled(path, memory_mb=1)
    runtime._pixels = 60 * 60
    assert np.array_equal(next(runtime.run([batch])), whole)
    assert len(watched.sizes) > 2


@pytest.mark.parametrize(
    ("form", "opset", "per_channel"), [("srvgg", 17, True), ("rrdb", 17, False), ("srvgg", 12, False)]
)
def test_quantised_operators_are_computed_as_onnx_runtime_does_and_in_tiles(
    exported, tmp_path, form, opset, per_channel
):
    """QLinearConv and its kind, of which OpenVINO truncates the results, and cannot load a network of RRDB's form."""
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Pictures(CalibrationDataReader):
        left = 1

        def get_next(self):
            self.left -= 1
            return {"input": pictures(1, 32, 32).astype(np.float32) / 255} if self.left == 0 else None

    model, path = onnx.load(exported(form)), tmp_path / "quantised.onnx"
    model.opset_import[0].version = opset
    quantize_static(model, str(path), Pictures(), quant_format=QuantFormat.QOperator, per_channel=per_channel)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "QLinearConv" in kinds
    batch = pictures(1, 96, 128)
    own = InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = own.run(None, {"input": batch.astype(np.float32) / np.float32(255)})
    expected = np.rint(np.clip(expected, 0, 1) * 255)
    for name in ("openvino", "onnxruntime"):
        runtime = load_runtime(name, path, threads=2)
        (whole,) = runtime.run([batch])
        assert np.mean(np.abs(whole - expected)) < 0.02, name
        runtime._pixels = 64 * 64
        assert np.array_equal(next(runtime.run([batch])), whole)
        assert runtime.tile(96, 128) != (96, 128)


def without_its_border(graph):
    weight = graph.weight(graph.random.normal(0, 0.2, (3, 3, 3, 3)))
    return graph.node("Conv", "input", weight, kernel_shape=[3, 3])


def half_as_large(graph):
    return graph.node("AveragePool", "input", kernel_shape=[2, 2], strides=[2, 2])


@pytest.mark.parametrize(
    ("form", "made"), [(without_its_border, "254x254"), (half_as_large, "128x128"), (over_rows, "256x512")]
)
def test_what_is_no_multiple_of_the_picture_is_refused_when_it_is_loaded(drawn, form, made):
    with pytest.raises(
        SettingError, match=rf"exported.*\.onnx makes {made} of a picture of 256x256; allowed: the same"
    ):
        load_runtime("openvino", drawn(form), threads=1)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_where_memory_runs_out_tiles_become_smaller_and_stay_so(exported, error):
    path, batch, notes = exported("srvgg"), pictures(2, 128, 160), []
    (whole,) = load_runtime("openvino", path, threads=2).run([batch])
    runtime, watched = tiled(path, most=6000, error=error, notes=notes)
    assert np.array_equal(next(runtime.run([batch])), whole)
    assert "memory ran out on 160x128 pixels of 160x128: from now on in tiles of" in notes[0]
    tried = len(watched.sizes)
    assert np.array_equal(next(runtime.run([batch])), whole)
    assert all(height * width <= 6000 for height, width in watched.sizes[tried:])


def test_an_error_that_is_not_of_memory_and_a_tile_that_cannot_shrink_are_told(exported):
    runtime, watched = tiled(exported("srvgg"), most=0)
    with pytest.raises(MemoryError, match="bad allocation"):
        next(runtime.run([pictures(1, 128, 128)]))
    assert min(height for height, _ in watched.sizes) < 64
    runtime, watched = tiled(exported("srvgg"))
    watched.run = lambda batches, conditions: (_ for _ in ()).throw(RuntimeError("a fault of the network"))
    with pytest.raises(RuntimeError, match="a fault of the network"):
        next(runtime.run([pictures(1, 128, 128)]))


def test_a_process_that_may_not_have_the_memory_goes_on_in_tiles(exported):
    """The kernel refuses memory for real: the whole picture needs more than the process may have."""
    program = textwrap.dedent(f"""
        import resource
        from pathlib import Path
        import numpy as np
        from vireo_server.runtimes import load_runtime
        from vireo_server.tiling import TileLimits
        notes, limits = [], TileLimits(memory_mb=100_000)
        runtime = load_runtime("onnxruntime", Path({str(exported("srvgg"))!r}), threads=1, limits=limits,
                               note=notes.append)
        picture = np.random.default_rng(0).integers(0, 256, (1, 3, 2048, 2048), dtype=np.uint8)
        small = next(runtime.run([picture[:, :, :64, :64]]))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (250 << 20),) * 2)
        large = next(runtime.run([picture]))
        assert large.shape == (1, 3, 4096, 4096), large.shape
        assert (large[:, :, :100, :100] == small[:, :, :100, :100]).all()
        print("\\n".join(notes))
    """)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "memory ran out on 2048x2048 pixels of 2048x2048" in run.stdout


@pytest.mark.parametrize(
    ("form", "scale", "radius", "grain"), [("srvgg", 4, 6, 1), ("rrdb", 2, 14, 2), ("rrdb_reshaped", 2, 14, 2)]
)
def test_the_radius_is_no_less_than_what_a_pixel_is_seen_to_reach(exported, form, scale, radius, grain):
    path = exported(form, scale=scale)
    network = examine(adapt(path))
    assert (network.radius, network.grain) == (radius, grain)
    batch = pictures(1, 96, 96)
    changed = batch.copy()
    changed[:, :, 48:50, 48:50] = 255 - changed[:, :, 48:50, 48:50]
    one, two = (next(load_runtime("openvino", path, threads=1).run([each])) for each in (batch, changed))
    rows = np.flatnonzero((one != two).any(axis=(0, 1, 3)))
    assert 48 * scale - rows.min() <= radius * scale
    assert rows.max() + 1 - 50 * scale <= radius * scale


def test_a_network_that_looks_at_the_whole_picture_is_not_cut_but_for_an_overlap_of_its_users(tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    sides = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", 3, "H", "W"))] for name in ("x", "y"))
    graph = helper.make_graph(nodes, "whole", *sides)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "w.onnx")
    runtime, watched = tiled(tmp_path / "w.onnx", memory_mb=1)
    next(runtime.run([pictures(1, 300, 300)]))
    assert watched.sizes == [(300, 300)]
    runtime, watched = tiled(tmp_path / "w.onnx", memory_mb=1, overlap=8)
    next(runtime.run([pictures(1, 300, 300)]))
    assert len(watched.sizes) > 1


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [(100, 40, 8), (100, 100, 8), (100, 99, 3), (64, 48, 16), (7, 9, 0)]
)
def test_what_is_taken_from_the_tiles_is_the_picture_once(size, tile, overlap):
    places = Tiling(size, tile, overlap).places()
    assert [first for _, first, _ in places] == [0, *(end for *_, end in places[:-1])]
    assert places[-1][2] == size
    for begin, first, end in places:
        assert begin >= 0
        assert begin + min(tile, size) <= size
        assert first == 0 or first - begin >= overlap
        assert end == size or begin + tile - end >= overlap


@pytest.mark.parametrize(("name", "value"), [("memory_mb", 0), ("multiple", 0), ("overlap", -2)])
def test_numbers_that_cannot_be_are_refused(name, value):
    with pytest.raises(SettingError, match=f"parameter {name} is {value}; allowed:"):
        TileLimits(**{name: value})


def test_memory_of_a_pixel_is_of_the_order_of_the_activations():
    network = examine(adapt(find_locations().model_repository / "super_resolution_network" / "1" / "model.onnx"))
    assert isinstance(network, Network)
    assert 16 * 4 * 2 <= network.bytes_per_pixel <= 16 * 4 * 6
