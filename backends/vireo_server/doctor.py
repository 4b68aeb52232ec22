# SPDX-License-Identifier: MIT
"""`vireo doctor`: what this machine has, what each service would therefore use, and what to install for more."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vireo_server.choosing import CPU, GPU_RUNTIMES, HOPPER, NVENC, Choice, choose, has_cupy, runtime_fault
from vireo_server.errors import SettingError
from vireo_server.launching.errors import LaunchError
from vireo_server.launching.repository import Repository, read_repository
from vireo_server.locations import find_locations
from vireo_server.machine import WORKS, Machine, examine
from vireo_server.network_settings import NetworkSettings
from vireo_server.services import read_parameter

_ENOUGH_SHARED_MEMORY_MB = 1024


@dataclass(frozen=True, kw_only=True)
class Uses:
    """What a service uses on a machine, and what stands against its running; empty where nothing does.

    `network` says it in words, for networks and scripts; `choice` for each part.
    """

    service: str
    network: str
    choice: Choice
    fault: str = ""


def uses(machine: Machine, repository: Repository) -> list[Uses]:
    """What each service of a repository would use."""
    found = []
    for service in repository.services:
        networks, fault, choice, by_nvdec = [], "", replace(choose(machine), network=""), True
        for model in repository.steps_by_ensemble.get(service, ()):
            config = repository.folder / model / "config.pbtxt"
            text = config.read_text(encoding="utf-8")
            # NVDEC does not tell how coarsely a picture was quantised.
            by_nvdec = by_nvdec and "quantizer_step" not in (read_parameter(config, "condition") or "")
            if 'backend: "script"' in text:
                networks.append(f"the script {model}")
            if 'backend: "network"' in text:
                runtime = read_parameter(config, "runtime") or NetworkSettings.runtime
                choice = choose(machine, runtime=runtime)
                networks.append(f"{model} by {choice.network or runtime}")
                fault = fault or _runtime_fault(machine, runtime)
        if not by_nvdec:
            choice = replace(choice, decode=dict.fromkeys(choice.decode, CPU))
        network = ", ".join(networks) or "no network"
        found.append(Uses(service=service, network=network, choice=choice, fault=fault))
    return found


def advice(machine: Machine) -> list[str]:
    """What to install or change for more, the most needed first."""
    lines = []
    if not machine.can_serve:
        lines.append(f"to serve here: {machine.triton}")
    if machine.shared_memory_mb < _ENOUGH_SHARED_MEMORY_MB:
        lines.append(
            f"/dev/shm has {machine.shared_memory_mb} MB, and frames travel through it: in Docker add --shm-size=1g"
        )
    if machine.gpus and not has_cupy(machine.packages):
        lines.append("to use the GPU: pip install 'vireo[gpu]' (CuPy 13.6 and what compiles its kernels, TensorRT-RTX)")
    elif machine.gpus and machine.kernels != WORKS:
        lines.append(f"to use the GPU: CuPy must run its kernels there ({machine.kernels}): pip install 'vireo[gpu]'")
    elif machine.gpus and choose(machine).network not in GPU_RUNTIMES:
        package = "tensorrt-cu12" if machine.gpus[0].capability == HOPPER else "tensorrt-rtx-cu12==1.7.1.116"
        why = "TensorRT-RTX builds nothing for Hopper, and " if machine.gpus[0].capability == HOPPER else ""
        lines.append(f"{why}networks are computed on the CPU here; for the GPU: pip install {package}")
    if machine.gpus and all(why != WORKS for why in machine.decodes.values()):
        lines.append(
            "NVDEC does not work: in a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video; elsewhere look "
            "for libnvcuvid.so.1 of the driver"
        )
    return lines


def as_text(machine: Machine, services: Sequence[Uses], tips: Sequence[str]) -> str:
    """A report for people."""
    lines = [
        f"machine   {machine.system}, Python {machine.python}, {machine.cores} cores, {machine.memory_mb} MB memory, "
        f"{machine.shared_memory_mb} MB /dev/shm",
        f"Triton    {machine.triton if machine.can_serve else 'none'}",
        f"GPU       {'; '.join(_gpu(machine, number) for number in range(len(machine.gpus))) or machine.no_gpu}",
    ]
    if machine.kernels:
        lines.append(f"CUDA      kernels: {machine.kernels}")
    for title, tried in (("NVDEC", machine.decodes), ("NVENC", machine.encodes)):
        lines += [f"{title:9} {name}: {outcome}" for name, outcome in tried.items()]
    known = {name: version for name, version in machine.packages.items() if version is not None}
    lines.append("packages  " + ", ".join(f"{name} {version}" for name, version in known.items()))
    path = choose(machine)
    lines.append("decode    " + ", ".join(f"{name} by {what}" for name, what in path.decode.items()))
    lines.append(f"pixels    by {path.preprocess} kernels")
    asked = " (NVENC where a caller says nvenc=on)" if NVENC in path.encode.values() else ""
    lines.append("encode    " + ", ".join(f"{name} by {what}" for name, what in path.encode.items()) + asked)
    lines += [f"service   {one.service}: {one.network}{_faulty(one)}" for one in services]
    lines += [f"advice    {tip}" for tip in tips] or ["advice    none: everything that the services need is here"]
    return "\n".join(lines)


def as_json(machine: Machine, services: Sequence[Uses], tips: Sequence[str]) -> str:
    """The same for programs."""
    found = {"machine": asdict(machine), "services": [asdict(one) for one in services], "advice": list(tips)}
    return json.dumps(found, indent=1)


def doctor_command(*, repository: Path | None, json: bool, say: Callable[[str], None] = print) -> int:
    """`vireo doctor`. Returns the exit code: 0 where every service can be served, else 1."""
    try:
        found = read_repository(repository or find_locations().model_repository)
        machine = examine()
        services = uses(machine, found)
    except (LaunchError, SettingError, OSError) as error:
        print(f"vireo: doctor: {error}", file=sys.stderr)
        return 1
    write = as_json if json else as_text
    say(write(machine, services, advice(machine)))
    return 0 if machine.can_serve and not any(one.fault for one in services) else 1


def _runtime_fault(machine: Machine, runtime: str) -> str:
    gpu = machine.gpus[0] if machine.gpus else None
    return runtime_fault(
        runtime,
        capability=gpu.capability if gpu else None,
        packages=machine.packages,
        no_gpu=machine.no_gpu,
        gpu=gpu.name if gpu else "",
    )


def _faulty(one: Uses) -> str:
    return f"; it cannot be loaded: {one.fault}" if one.fault else ""


def _gpu(machine: Machine, number: int) -> str:
    gpu = machine.gpus[number]
    memory = f"{gpu.free_mb} of {gpu.memory_mb} MB free"
    return f"{gpu.name}, compute capability {gpu.capability}, {memory}, driver {gpu.driver}"
