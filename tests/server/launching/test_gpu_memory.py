# SPDX-License-Identifier: MIT
"""Which GPU a server takes, and Triton's pools for it, on machines that are made up by a program called nvidia-smi."""

import stat
from pathlib import Path

import pytest
from vireo_server.launching import plain_command, running_server
from vireo_server.launching.errors import LaunchError
from vireo_server.launching.gpu_memory import choose_gpu, pool_for
from vireo_server.launching.repository import read_repository
from vireo_server.locations import find_locations
from vireo_server.machine import Gpu

T4 = "Tesla T4, 7.5, 15360, 15000, 550.54, GPU-5a3c1e2b-0001"
H200 = "NVIDIA H200, 9.0, 143771, 143000, 550.54, GPU-7b0d4f6a-0002"
UUIDS = [T4.split(", ")[-1], H200.split(", ")[-1]]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """`nvidia_smi(T4, H200)`: what the machine's driver shows."""

    def make(*lines):
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return make


def test_a_machine_without_gpus_has_no_pools_and_refuses_to_choose_one():
    assert choose_gpu(None, {}) is None
    with pytest.raises(
        LaunchError, match=r"serve: --gpu 0 is not there \(no NVIDIA driver is installed .*\); name one"
    ):
        choose_gpu(0, {})


@pytest.mark.parametrize(
    ("wanted", "visible", "number"),
    [
        (None, None, 0),
        (1, None, 1),
        (None, "1,0", 1),
        (0, "1", 0),
        (None, "", None),
        (None, "-1", None),
        (None, "7", None),
        (None, UUIDS[1], 1),
        (None, "GPU-7b0d", 1),
        (None, "GPU-none", None),
        (0, UUIDS[1], 0),
    ],
)
def test_a_server_takes_one_gpu(nvidia_smi, wanted, visible, number):
    nvidia_smi(T4, H200)
    found = choose_gpu(wanted, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert (None if found is None else found.number) == number
    if found is not None:
        # Not by a number, which CUDA may count otherwise than nvidia-smi.
        assert found.environment == {"CUDA_VISIBLE_DEVICES": UUIDS[number]}
        assert "(of 2: start a server for each, --gpu 0, --gpu 1, ...)" in str(found)


def test_a_part_of_a_gpu_is_served_as_it_is_named(nvidia_smi):
    nvidia_smi(H200)
    found = choose_gpu(None, {"CUDA_VISIBLE_DEVICES": "MIG-9c1e"})
    assert found.environment == {"CUDA_VISIBLE_DEVICES": "MIG-9c1e"}
    assert found.gpu.memory_mb == 143771 // 7


def test_a_gpu_that_is_not_there_is_refused(nvidia_smi):
    nvidia_smi(T4)
    with pytest.raises(LaunchError, match=r"--gpu 1 is not there \(there are 0\)"):
        choose_gpu(1, {})


def gpu(line):
    name, capability, memory, free, driver, uuid = line.split(", ")
    return Gpu(name=name, capability=capability, memory_mb=int(memory), free_mb=int(free), driver=driver, uuid=uuid)


def test_pools_follow_from_the_chunks_of_what_is_served():
    repository = read_repository(find_locations().model_repository)
    pools = {name: pool_for(repository, [name], gpu(H200)) for name in ("restoration", "hdr_to_sdr")}
    # 24 chunks of 2^20 pixels: 3 bytes of FRAMES, 6 of INPUT, 64 MB of OUTPUT.
    assert pools["restoration"].size == 24 * ((9 << 20) + (64 << 20))
    assert pools["hdr_to_sdr"].size > pools["restoration"].size
    both = pool_for(repository, ["restoration", "hdr_to_sdr"], gpu(H200))
    assert both == pools["hdr_to_sdr"], "of services side by side the one with the largest chunks says how large"
    small = pool_for(repository, ["hdr_to_sdr"], gpu(T4))
    assert small.size == int(15360 * (1 << 20) * 0.2), "most of a GPU's memory is for networks"
    assert str(pools["restoration"]).startswith("1752 MB on the GPU for frames between stages; ")


@pytest.mark.server
def test_triton_takes_what_is_computed(nvidia_smi):
    nvidia_smi(T4, H200)
    said = []
    with running_server(services=["passthrough"], gpu=1, say=said.append) as server:
        command, environment = (
            Path(f"/proc/{server.pid}/{name}").read_text().split("\0") for name in ("cmdline", "environ")
        )
    (line,) = [line for line in said if "GPU 1, NVIDIA H200" in line]
    assert "(of 2: start a server for each, --gpu 0, --gpu 1, ...); " in line
    repository = read_repository(find_locations().model_repository)
    assert set(pool_for(repository, ["passthrough"], gpu(H200)).options) <= set(command)
    assert "--pinned-memory-pool-byte-size=0" in command
    assert f"CUDA_VISIBLE_DEVICES={UUIDS[1]}" in environment


def test_plain_tritonserver_is_given_the_same(nvidia_smi, tmp_path):
    nvidia_smi(T4, H200)
    command = plain_command(tmp_path / "backends")
    repository = read_repository(find_locations().model_repository)
    assert set(pool_for(repository, repository.services, gpu(T4)).options) <= set(command.arguments)
    assert f"CUDA_VISIBLE_DEVICES={UUIDS[0]} " in command.shell()


def test_there_is_no_pinned_pool(tmp_path):
    """Into it Triton's Python backend cannot copy what finds no room on a GPU."""
    assert "--pinned-memory-pool-byte-size=0" in plain_command(tmp_path / "backends").arguments
