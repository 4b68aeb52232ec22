# SPDX-License-Identifier: MIT
"""`vireo doctor`: this machine as it is, and machines that are not here, by what is known of their GPUs."""

import json
import shutil
import stat
from dataclasses import replace

import pytest
import typer.testing
from vireo_client import command_line
from vireo_server.choosing import Choice, choose
from vireo_server.doctor import advice, as_json, as_text, uses
from vireo_server.launching.repository import read_repository
from vireo_server.locations import find_locations
from vireo_server.machine import (
    DECODED,
    ENCODED,
    WORKS,
    Gpu,
    Machine,
    examine,
    find_gpus,
    try_decoder,
    try_encoder,
    try_kernels,
)

REFUSED = "Invalid argument"


def machine(name, capability, *, decodes=(), encodes=(), **more):
    """A machine with one GPU; `name` None: none."""
    gpu = Gpu(name=name or "", capability=capability, memory_mb=40000, free_mb=39000, driver="550.54", uuid="GPU-1")
    packages = {"openvino": "1", "onnxruntime": "1", "cupy-cuda12x": "13.6.0", "tensorrt-rtx-cu12": "1.7"}
    return Machine(
        system="Linux", python="3.11.9", cores=8, memory_mb=64000, shared_memory_mb=8000, triton="/t", can_serve=True,
        gpus=(gpu,) if name else (), no_gpu="" if name else "no NVIDIA driver is installed",
        decodes={codec: WORKS if codec in decodes else REFUSED for codec in DECODED} if name else {},
        encodes={codec: WORKS if codec in encodes else REFUSED for codec in ENCODED} if name else {},
        kernels=WORKS if name else "", packages={**packages, **more},
    )  # fmt: skip


OLDER = ("h264", "hevc", "hevc 10 bit", "vp9")
#: NVIDIA's tables of NVDEC and NVENC.
MACHINES = {
    "T4": machine("Tesla T4", "7.5", decodes=OLDER, encodes=("h264_nvenc", "hevc_nvenc")),
    "A10": machine("NVIDIA A10", "8.6", decodes=(*OLDER, "av1"), encodes=("h264_nvenc", "hevc_nvenc")),
    "A100": machine("NVIDIA A100-SXM4-40GB", "8.0", decodes=OLDER),
    "L4": machine("NVIDIA L4", "8.9", decodes=(*OLDER, "av1"), encodes=ENCODED),
    "L40S": machine("NVIDIA L40S", "8.9", decodes=(*OLDER, "av1"), encodes=ENCODED),
    "RTX": machine("NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0", decodes=DECODED, encodes=ENCODED),
    "H100": machine("NVIDIA H100 80GB HBM3", "9.0", decodes=OLDER),
    "H200": machine("NVIDIA H200", "9.0", decodes=OLDER),
    "none": machine(None, ""),
}


@pytest.fixture
def repository(tmp_path):
    """`repository("tensorrt_rtx")`: passthrough with that runtime."""

    def make(runtime):
        folder = tmp_path / "models"
        shutil.copytree(find_locations().model_repository, folder)
        config = folder / "passthrough_network" / "config.pbtxt"
        config.write_text(config.read_text().replace('string_value: "auto"', f'string_value: "{runtime}"'))
        return read_repository(folder)

    return make


def fault(machine, repository):
    return next(one.fault for one in uses(machine, repository) if one.service == "passthrough")


@pytest.mark.parametrize(
    ("runtime", "faults"),
    [
        ("openvino", {}),
        ("auto", {}),
        (
            "tensorrt_rtx",
            {
                "H100": "builds nothing for Hopper",
                "H200": "builds nothing for Hopper",
                "none": "there is no GPU: no NVI",
            },
        ),
        ("tensorrt", dict.fromkeys(MACHINES, "tensorrt-cu12 is not installed")),
        ("magic", dict.fromkeys(MACHINES, "runtime 'magic' is none of auto, openvino, onnxruntime, ")),
    ],
)
def test_which_services_could_be_loaded_where(repository, runtime, faults):
    made = repository(runtime)
    for name, one in MACHINES.items():
        found = fault(one, made)
        assert faults[name] in found if name in faults else found == ""


NVDEC_OLDER = {
    "h264": "NVDEC",
    "h264 10 bit": "CPU",
    "hevc": "NVDEC",
    "hevc 10 bit": "NVDEC",
    "vp9": "NVDEC",
    "av1": "CPU",
}
SOFTWARE = {"h264": "x264", "hevc": "x265", "av1": "SVT-AV1"}


@pytest.mark.parametrize(
    ("name", "packages", "decode", "pixels", "network", "encode"),
    [
        ("T4", {}, NVDEC_OLDER, "CUDA", "tensorrt_rtx", {**SOFTWARE, "h264": "NVENC", "hevc": "NVENC"}),
        (
            "A10",
            {},
            {**NVDEC_OLDER, "av1": "NVDEC"},
            "CUDA",
            "tensorrt_rtx",
            {**SOFTWARE, "h264": "NVENC", "hevc": "NVENC"},
        ),
        ("A100", {}, NVDEC_OLDER, "CUDA", "tensorrt_rtx", SOFTWARE),
        ("L4", {}, {**NVDEC_OLDER, "av1": "NVDEC"}, "CUDA", "tensorrt_rtx", dict.fromkeys(SOFTWARE, "NVENC")),
        ("L40S", {}, {**NVDEC_OLDER, "av1": "NVDEC"}, "CUDA", "tensorrt_rtx", dict.fromkeys(SOFTWARE, "NVENC")),
        ("RTX", {}, dict.fromkeys(DECODED, "NVDEC"), "CUDA", "tensorrt_rtx", dict.fromkeys(SOFTWARE, "NVENC")),
        ("H100", {}, NVDEC_OLDER, "CUDA", "openvino", SOFTWARE),
        ("H100", {"onnxruntime-gpu": "1"}, NVDEC_OLDER, "CUDA", "onnxruntime_cuda", SOFTWARE),
        ("H200", {"tensorrt-cu12": "11"}, NVDEC_OLDER, "CUDA", "tensorrt", SOFTWARE),
        ("H200", {"tensorrt-cu13": "11"}, NVDEC_OLDER, "CUDA", "tensorrt", SOFTWARE),
        ("none", {}, dict.fromkeys(DECODED, "CPU"), "CPU", "openvino", SOFTWARE),
        ("L4", {"cupy-cuda12x": None}, dict.fromkeys(DECODED, "CPU"), "CPU", "openvino", SOFTWARE),
        ("none", {"openvino": None}, dict.fromkeys(DECODED, "CPU"), "CPU", "onnxruntime", SOFTWARE),
    ],
)
def test_what_each_part_runs_on(name, packages, decode, pixels, network, encode):
    one = replace(MACHINES[name], packages={**MACHINES[name].packages, **packages})
    assert choose(one) == Choice(decode=decode, preprocess=pixels, network=network, encode=encode)


def test_a_runtime_that_is_named_is_what_is_used():
    assert choose(MACHINES["L4"], runtime="openvino").network == "openvino"


def test_what_to_install_for_more():
    assert advice(MACHINES["L4"]) == advice(MACHINES["none"]) == []
    (hopper,) = advice(MACHINES["H200"])
    assert hopper == (
        "TensorRT-RTX builds nothing for Hopper, and networks are computed on the CPU here; for the GPU: pip install "
        "tensorrt-cu12"
    )
    assert advice(replace(MACHINES["H200"], packages={**MACHINES["H200"].packages, "tensorrt-cu12": "11"})) == []
    older = replace(MACHINES["L4"], packages={"cupy-cuda13x": "13.6.0", "tensorrt-rtx-cu12": "1.7"}, kernels="no NVRTC")
    assert choose(older).preprocess == "CPU"
    assert advice(older) == ["to use the GPU: CuPy must run its kernels there (no NVRTC): pip install 'vireo[gpu]'"]
    assert advice(replace(older, kernels=WORKS)) == []
    bare = replace(MACHINES["T4"], packages={}, shared_memory_mb=64, decodes=dict.fromkeys(DECODED, REFUSED))
    small, gpu, nvdec = advice(bare)
    assert "64 MB" in small
    assert "--shm-size" in small
    assert "pip install 'vireo[gpu]'" in gpu
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in nvdec
    assert advice(replace(bare, can_serve=False, triton="no Triton found"))[0] == "to serve here: no Triton found"


def test_the_report_tells_the_gpu_its_codecs_and_each_service(repository):
    made = repository("tensorrt_rtx")
    text = as_text(MACHINES["T4"], uses(MACHINES["T4"], made), advice(MACHINES["T4"]))
    assert "GPU       Tesla T4, compute capability 7.5, 39000 of 40000 MB free, driver 550.54" in text
    assert "NVDEC     h264: works" in text
    assert "NVDEC     av1: Invalid argument" in text
    assert "NVENC     hevc_nvenc: works" in text
    assert "service   passthrough: passthrough_network by tensorrt_rtx\n" in text
    assert "service   grade: the script grade_script\n" in text
    assert "decode    h264 by NVDEC, h264 10 bit by CPU, hevc by NVDEC" in text
    assert "pixels    by CUDA kernels" in text
    assert "encode    h264 by NVENC, hevc by NVENC, av1 by SVT-AV1 (NVENC where a caller says nvenc=on)" in text
    text = as_text(MACHINES["none"], uses(MACHINES["none"], made), [])
    assert "GPU       no NVIDIA driver is installed" in text
    assert "it cannot be loaded: there is no GPU" in text
    values = json.loads(as_json(MACHINES["L4"], uses(MACHINES["L4"], made), ["a"]))
    assert values["machine"]["gpus"][0]["capability"] == "8.9"
    assert values["machine"]["encodes"]["av1_nvenc"] == WORKS
    assert values["advice"] == ["a"]
    (upscale,) = [one for one in values["services"] if one["service"] == "super_resolution"]
    assert upscale["choice"]["network"] == "tensorrt_rtx"
    assert upscale["choice"]["decode"]["av1"] == "NVDEC"
    (restoration,) = [one for one in values["services"] if one["service"] == "restoration"]
    assert set(restoration["choice"]["decode"].values()) == {"CPU"}  # it must know how pictures were quantised


def test_this_machine_as_it_is():
    found = examine()
    assert found.can_serve
    assert found.packages["openvino"]
    assert bool(found.gpus) != bool(found.no_gpu)
    assert bool(found.gpus) == bool(found.decodes)


def test_what_the_driver_says(tmp_path):
    program = tmp_path / "nvidia-smi"

    def says(script):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return find_gpus(str(program))

    (first, second), why = says(
        "echo 'NVIDIA L4, 8.9, 23034, 22000, 550.54, GPU-1'; echo 'Tesla T4, 7.5, 15360, 100, 550.54, GPU-2'"
    )
    assert (first.name, first.capability, second.free_mb, second.uuid, why) == ("NVIDIA L4", "8.9", 100, "GPU-2", "")
    assert says("echo 'Failed to initialize NVML'; exit 9")[1] == (
        "the NVIDIA driver does not answer: Failed to initialize NVML"
    )
    assert says("exit 0") == ((), "the NVIDIA driver shows no GPU")
    assert says("echo 'NVIDIA GB10, 12.1, [N/A], [N/A], 580.95, GPU-1'") == (
        (),
        "the NVIDIA driver tells of a GPU what is not understood here: "
        "'NVIDIA GB10, 12.1, [N/A], [N/A], 580.95, GPU-1'",
    )
    assert "no NVIDIA driver is installed" in find_gpus(str(tmp_path / "none"))[1]


@pytest.mark.skipif(bool(find_gpus()[0]), reason="there is a GPU")
def test_without_a_gpu_every_codec_says_why_not():
    for codec in ("h264", "av1"):
        assert try_decoder(codec) not in ("", WORKS)
    assert try_encoder("h264_nvenc") not in ("", WORKS)
    # Each names a decoder that knows GPUs, and misses only the GPU.
    assert len({try_decoder(codec) for codec in DECODED}) == 1
    assert "CuPy is not installed" in try_kernels()


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_command(arguments):
    done = typer.testing.CliRunner().invoke(command_line._app, ["doctor", *arguments])
    assert done.exit_code == 0, done.output
    if arguments:
        assert {one["service"] for one in json.loads(done.stdout)["services"]} >= {"passthrough", "super_resolution"}
    else:
        assert done.stdout.startswith("machine   Linux")


def test_no_repository(tmp_path):
    done = typer.testing.CliRunner().invoke(command_line._app, ["doctor", "--repository", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "vireo: doctor: serve: the model repository" in done.stderr
