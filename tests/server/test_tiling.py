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
from vireo_server.errors import SettingError
from vireo_server.locations import find_locations
from vireo_server.receptive_field import Network, examine
from vireo_server.runtimes import Runtime, load_runtime
from vireo_server.tiling import Tiled, TileLimits, Tiling

FORMS = [("srvgg", 2), ("srvgg", 3), ("srvgg", 4), ("rrdb", 2), ("rrdb", 4)]


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
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (150 << 20),) * 2)
        large = next(runtime.run([picture]))
        assert large.shape == (1, 3, 4096, 4096), large.shape
        assert (large[:, :, :100, :100] == small[:, :, :100, :100]).all()
        print("\\n".join(notes))
    """)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "memory ran out on 2048x2048 pixels of 2048x2048" in run.stdout


@pytest.mark.parametrize(("form", "scale", "radius", "grain"), [("srvgg", 4, 6, 1), ("rrdb", 2, 14, 2)])
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
