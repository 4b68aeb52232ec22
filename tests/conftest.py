# SPDX-License-Identifier: MIT
"""What tests of several packages share: networks of the forms that people export, and CUDA kernels that run on the
host."""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from vireo_kernels.cuda import runner as cuda_runner

SHIM = Path(__file__).parent / "kernels" / "host_shim.h"
GUARD = 64

# Only a test that fails waits for so long.
_LONGEST_WAIT_SECONDS = 120

# Its tests share a server that takes long to start: they go to one worker.
_ONE_SERVER = "tests/end_to_end/"
_LONG = (_ONE_SERVER, "tests/durability/", "tests/perf/", "tests/server/launching/", "tests/server/scripting/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long folders first: what is short fills the other worker's time at the end."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in _LONG])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers take whole files, or a whole folder: what a module or a folder shares is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _ONE_SERVER if nodeid.startswith(_ONE_SERVER) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C reaches programs that tests start, too where the tests are a job in the background, whose shell has it
    ignored by all of them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """`wait_for(condition)`: what it gives as soon as it holds. A test that fails says what `told()` gives."""

    def wait(condition: Callable[[], Any], *, told: Callable[[], object] = str) -> Any:
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, f"still not so after {_LONGEST_WAIT_SECONDS} s: {told()}"
            time.sleep(0.02)
        return found

    return wait


class _Graph:
    """Nodes and weights of one network, float32 or float16, NCHW RGB 0..1 on both sides."""

    def __init__(self, dtype: type) -> None:
        self.dtype, self.nodes, self.weights = dtype, [], []
        self.random = np.random.default_rng(1)

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, values: NDArray[np.float32], dtype: type | None = None) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values).astype(dtype or self.dtype), name))
        return name

    def convolution(self, source: str, inputs: int, outputs: int) -> str:
        weight = self.random.normal(0, (2 / inputs / 9) ** 0.5, (outputs, inputs, 3, 3))
        names = self.weight(weight), self.weight(self.random.normal(0, 0.05, outputs))
        return self.node("Conv", source, *names, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def enlarged(self, source: str, scale: int) -> str:
        scales = self.weight(np.array([1, 1, scale, scale]), np.float32)
        nothing = self.weight(np.zeros(0), np.float32)
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", source, nothing, scales, **mode)

    def scaled(self, source: str, factor: float) -> str:
        return self.node("Mul", source, self.weight(np.array(factor)))

    def whole(self, *values: int) -> str:
        return self.weight(np.array(values), np.int64)

    def save(self, path: Path, output: str, size: tuple[int, int] | None) -> Path:
        kind = TensorProto.FLOAT if self.dtype is np.float32 else TensorProto.FLOAT16
        self.nodes.append(helper.make_node("Identity", [output], ["output"]))
        ends = (1, 3, *size) if size else ("batch", 3, "height", "width")
        sides = (
            [helper.make_tensor_value_info("input", kind, ends)],
            [helper.make_tensor_value_info("output", kind, ("batch", 3, "height_out", "width_out"))],
        )
        graph = helper.make_graph(self.nodes, "exported", *sides, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def _srvgg(graph: _Graph, scale: int) -> str:
    """SRVGGNetCompact's form: convolutions with PReLU, pixel shuffle, and the enlarged input added."""
    value, channels = graph.convolution("input", 3, 8), 8
    for _ in range(3):
        slopes = graph.weight(np.linspace(0.1, 0.4, channels).reshape(-1, 1, 1))
        value = graph.convolution(graph.node("PRelu", value, slopes), channels, channels)
    value = graph.convolution(value, channels, 3 * scale**2)
    shuffled = graph.node("DepthToSpace", graph.scaled(value, 0.1), blocksize=scale, mode="CRD")
    return graph.node("Add", shuffled, graph.enlarged("input", scale))


def _folded_as_pytorch_does(graph: _Graph, size: tuple[int, int] | None) -> str:
    """Pixel unshuffle by 2 of the input: reshaped by sizes that are computed, or by numbers."""
    if size is None:
        shape = graph.node("Shape", "input")
        batch = graph.node("Slice", shape, graph.whole(0), graph.whole(1))
        halves = graph.node("Div", graph.node("Slice", shape, graph.whole(2), graph.whole(4)), graph.whole(2))
        height, width = (graph.node("Slice", halves, graph.whole(n), graph.whole(n + 1)) for n in (0, 1))
        two = graph.whole(2)
        parts = graph.node("Concat", batch, graph.whole(3), height, two, width, two, axis=0)
        whole = graph.node("Concat", batch, graph.whole(12), halves, axis=0)
    else:
        parts = graph.whole(1, 3, size[0] // 2, 2, size[1] // 2, 2)
        whole = graph.whole(1, 12, size[0] // 2, size[1] // 2)
    return graph.node(
        "Reshape", graph.node("Transpose", graph.node("Reshape", "input", parts), perm=[0, 1, 3, 5, 2, 4]), whole
    )


def _rrdb(graph: _Graph, scale: int, folded: str) -> str:
    """RRDB's form: a dense block with LeakyReLU scaled by 0.2, then nearest enlargement and convolutions.

    As Real-ESRGAN does for x2, the input is folded by pixel unshuffle to half the size, and enlarged twice.
    """
    first = graph.convolution(folded, 12, 8)
    grown = [first]
    for _ in range(2):
        inputs = graph.node("Concat", *grown, axis=1) if len(grown) > 1 else first
        grown.append(graph.node("LeakyRelu", graph.convolution(inputs, 8 * len(grown), 8), alpha=0.2))
    dense = graph.convolution(graph.node("Concat", *grown, axis=1), 24, 8)
    value = graph.node("Add", first, graph.scaled(dense, 0.2))
    for _ in range({2: 2, 4: 3}[scale]):
        value = graph.node("LeakyRelu", graph.convolution(graph.enlarged(value, 2), 8, 8), alpha=0.2)
    return graph.node("Sigmoid", graph.convolution(value, 8, 3))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported("srvgg", scale=4, dtype=np.float16)`: the ONNX file of such a network. Of "rrdb" the input is folded by
    one operator, of "rrdb_reshaped" as PyTorch does it. With a `size`, (height, width), it has no free axes."""
    folder = tmp_path_factory.mktemp("exported")

    def make(form: str, *, scale: int = 2, dtype: type = np.float32, size: tuple[int, int] | None = None) -> Path:
        graph = _Graph(dtype)
        if form == "srvgg":
            output = _srvgg(graph, scale)
        elif form == "rrdb":
            output = _rrdb(graph, scale, graph.node("SpaceToDepth", "input", blocksize=2))
        else:
            output = _rrdb(graph, scale, _folded_as_pytorch_does(graph, size))
        sides = "x".join(map(str, size or ()))
        return graph.save(folder / f"{form}_x{scale}_{dtype.__name__}_{sides}.onnx", output, size)

    return make


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[[Callable[[_Graph], str]], Path]:
    """`drawn(form)`: the ONNX file of what the function `form` draws; it is given the graph and names its output."""

    def make(form: Callable[[_Graph], str]) -> Path:
        graph = _Graph(np.float32)
        return graph.save(tmp_path / "exported.onnx", form(graph), None)

    return make


class HostRunner:
    """Runs the `.cu` files on the host: the shim loops over grid and blocks.

    Every array stands between guard bytes; a kernel that writes there, or uses a vector access at an address that is no
    multiple of its size, fails its test.
    """

    def __init__(self, libraries: dict[str, ctypes.CDLL], threads: tuple[int, int]) -> None:
        self.threads = threads
        self._libraries = libraries
        self._buffers: list[np.ndarray] = []
        self.vector_accesses = 0

    def _guarded(self, shape: Sequence[int], dtype: Any, offset: int) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        buffer = np.full(size + 2 * GUARD + 16, 0xA5, np.uint8)
        # numpy aligns to 16 bytes at least; offset moves the array off that.
        begin = GUARD + (-buffer.ctypes.data) % 16 + offset
        self._buffers.append(buffer[:begin])
        self._buffers.append(buffer[begin + size :])
        return buffer[begin : begin + size].view(dtype).reshape(shape)

    def place(self, array: np.ndarray, *, offset: int = 0) -> np.ndarray:
        """A copy of an array between guard bytes, `offset` bytes off a multiple of 16."""
        copy = self._guarded(array.shape, array.dtype, offset)
        copy[...] = array
        return copy

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return self._guarded(shape, np.dtype(dtype), 0)

    def table(self, values: np.ndarray) -> np.ndarray:
        return self.place(values)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def launch(self, source: str, kernel: str, *, items: tuple[int, int, int], arguments: Sequence[Any]) -> None:
        library = self._libraries[source]
        assert getattr(library, f"{kernel}_arguments")() == len(arguments), (
            f"{kernel} takes another number of arguments"
        )
        stored: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                stored.append(ctypes.c_void_p(argument.ctypes.data))
            else:
                assert isinstance(argument, (np.int32, np.int64)), f"{kernel}: {argument!r} has no size on a device"
                stored.append((ctypes.c_int32 if isinstance(argument, np.int32) else ctypes.c_int64)(int(argument)))
        addresses = (ctypes.c_void_p * len(stored))(*(ctypes.addressof(value) for value in stored))
        grid = (ctypes.c_int * 3)(*cuda_runner.blocks(items, self.threads))
        before = self._count(library, "vector_accesses")
        getattr(library, f"{kernel}_on_host")(grid, (ctypes.c_int * 2)(*self.threads), addresses)
        self.vector_accesses += self._count(library, "vector_accesses") - before
        assert self._count(library, "misaligned_accesses") == 0, f"{kernel}: a vector access is not aligned"
        for guard in self._buffers:
            assert (guard == 0xA5).all(), f"{kernel} wrote beside an array"

    @staticmethod
    def _count(library: ctypes.CDLL, name: str) -> int:
        return ctypes.c_int.in_dll(library, name).value


@pytest.fixture(scope="session")
def host_libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, ctypes.CDLL]]:
    """Compile every `.cu` file for the host, once, when first asked for."""
    loaded: dict[str, ctypes.CDLL] = {}

    def load() -> dict[str, ctypes.CDLL]:
        if not loaded:
            compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
            if compiler is None:
                pytest.skip("no host C++ compiler (g++, c++ or clang++) to run the CUDA sources with")
            folder = tmp_path_factory.mktemp("cuda_on_host")
            for source in sorted(cuda_runner.FOLDER.glob("*.cu")):
                target = folder / f"{source.stem}.so"
                command = [compiler, "-x", "c++", "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared"]
                command += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-include", str(SHIM)]
                made = subprocess.run([*command, "-o", str(target), str(source)], capture_output=True, text=True)
                assert made.returncode == 0, made.stderr
                loaded[source.name] = ctypes.CDLL(str(target))
        return loaded

    return load


@pytest.fixture(scope="session")
def host_runner(host_libraries: Callable[[], dict[str, ctypes.CDLL]]) -> Callable[[tuple[int, int]], HostRunner]:
    """`host_runner((32, 4))`: runs CUDA kernels on the host, in blocks of this size."""
    return lambda threads: HostRunner(host_libraries(), threads)


@pytest.fixture(scope="session")
def gpu() -> Any:
    """CuPy, where there is a GPU for it. Without one a test is skipped, with VIREO_REQUIRE_GPU=1 it fails."""
    try:
        import cupy

        cupy.cuda.Device(0).compute_capability  # noqa: B018 - asks the driver
    except (ImportError, RuntimeError) as error:
        if os.environ.get("VIREO_REQUIRE_GPU") == "1":
            pytest.fail(f"VIREO_REQUIRE_GPU is 1 and there is no GPU to be used: {error}")
        pytest.skip(f"no GPU: {error}")
    return cupy
