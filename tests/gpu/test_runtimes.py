# SPDX-License-Identifier: MIT
"""The contract of runtimes, on a GPU: what those of the CPU give, a row's bits its own, results where the pictures are.

# Note [How near]
FP32 on both sides differs in the order of additions, so by a level at most, TF32 and FP16 by few. Within one GPU,
everything is to the bit.
"""

import numpy as np
import pytest
from vireo_server.choosing import GPU_RUNTIMES, runtime_fault
from vireo_server.locations import find_locations
from vireo_server.machine import PACKAGES, find_gpus, package_version
from vireo_server.runtimes import load_runtime
from vireo_server.runtimes.engines import EngineSettings

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]


def fault_of(name):
    device = find_gpus()[0][0]
    packages = {package: package_version(package) for package in PACKAGES}
    return runtime_fault(name, capability=device.capability, packages=packages, no_gpu="", gpu=device.name)


def test_at_least_one_runtime_of_a_gpu_is_there(gpu):
    """Else all that follows is skipped."""
    faults = [fault_of(name) for name in GPU_RUNTIMES]
    assert "" in faults, f"{faults}; `vireo doctor` says what to install"


@pytest.fixture(scope="module", params=GPU_RUNTIMES)
def name(request, gpu):
    """A runtime that this machine has."""
    if fault := fault_of(request.param):
        pytest.skip(fault)
    return request.param


@pytest.fixture
def load(name, gpu):
    """`load("super_resolution")`: that service's network on the GPU, and the CPU. Each takes and gives the host's."""

    def both(service, **settings):
        path = find_locations().model_repository / f"{service}_network" / "1" / "model.onnx"
        runtime = load_runtime(name, path, threads=0, engine=EngineSettings(**settings))

        def on_gpu(*batches, told=()):
            outputs = list(runtime.run([gpu.asarray(batch) for batch in batches], told))
            assert all(isinstance(output, gpu.ndarray) for output in outputs)
            return [gpu.asnumpy(output) for output in outputs]

        cpu = load_runtime("openvino", path, threads=0)
        return on_gpu, lambda *batches, told=(): list(cpu.run(batches, told))

    return both


def pictures(rows, height=90, width=120, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, channels, height, width), dtype=np.uint8)


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1), ("tf32", 3), ("fp16", 4)])
def test_it_gives_what_the_cpu_gives(load, precision, most):
    on_gpu, on_cpu = load("super_resolution", precision=precision)
    for found, expected in zip(on_gpu(pictures(3), pictures(6)), on_cpu(pictures(3), pictures(6)), strict=True):
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= most


def test_a_row_has_the_same_bits_in_any_company_and_at_any_time(load):
    on_gpu, _ = load("super_resolution")
    batch = pictures(7)
    (together,) = on_gpu(batch)
    alone = np.concatenate([on_gpu(batch[row : row + 1])[0] for row in range(7)])
    assert np.array_equal(together, alone)
    for _ in range(12):  # by then its launches are a graph
        assert np.array_equal(on_gpu(batch)[0], together)
    on_gpu(pictures(2, 64, 64))
    assert np.array_equal(on_gpu(batch)[0], together)


def test_rows_of_numbers_beside_the_picture(load):
    on_gpu, on_cpu = load("restoration")
    batch, told = pictures(5, 64, 96), [{"CONDITION": np.array([[1, 20, 1, 0]] * 5, np.float32)}]
    assert np.abs(on_gpu(batch, told=told)[0].astype(int) - on_cpu(batch, told=told)[0]).max() <= 1


@pytest.mark.parametrize(("service", "channels", "side"), [("features", 3, 96), ("shot_classification", 8, 64)])
def test_numbers_come_out_as_numbers(load, service, channels, side):
    on_gpu, on_cpu = load(service)
    batch = pictures(5, side, side, channels)
    (found,), (expected,) = on_gpu(batch), on_cpu(batch)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


def test_a_picture_larger_than_the_profiles_is_that_of_its_tiles(load):
    whole, _ = load("super_resolution")
    tiled, _ = load("super_resolution", sizes=("16x16", "128x128", "200x200"))
    batch = pictures(1, 300, 420)
    assert np.abs(whole(batch)[0].astype(int) - tiled(batch)[0]).max() <= 1
