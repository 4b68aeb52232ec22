# SPDX-License-Identifier: MIT
"""What perf.gpu reads and counts, and that it says what it could not run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DMON = """\
# gpu     sm    mem    enc    dec    jpg    ofa   rxpci   txpci
# Idx      %      %      %      %      %      %    MB/s    MB/s
    0     50     10      0     70      0      0     100       3
    1     99     99     99     99      0      0     999     999
    0     70      -      0     90      0      0     200       5
"""
METRICS = """\
# TYPE vireo_host_device_bytes counter
vireo_host_device_bytes{direction="to_host",model="encode",stage="encode"} 12
vireo_host_device_bytes{direction="to_device",model="a_preprocess",stage="preprocess"} 5
vireo_host_device_bytes{direction="to_device",model="b_preprocess",stage="preprocess"} 6
nv_other{model="encode"} 7
"""


@pytest.fixture(scope="module")
def evaluate():
    """`evaluate("read_dmon(given)", text)`: what an expression of perf's programs comes to, where they run."""

    def run(expression, given=None):
        names = "from perf.clips import *; from perf.gpu import *; from perf.gpu import _served; "
        names += "from perf.gpu_watch import *"
        code = f"import json, sys; {names}; given = json.load(sys.stdin); print(json.dumps({expression}))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, input=json.dumps(given), capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_what_nvidia_smi_says_becomes_means_of_the_first_gpu(evaluate):
    means, nothing = evaluate("[read_dmon(text) for text in given]", [DMON, "Not supported"])
    assert means == {
        "busy_percent": 60.0, "memory_busy_percent": 10.0, "nvenc_percent": 0.0, "nvdec_percent": 80.0,
        "pcie_to_device_mb_s": 150.0, "pcie_to_host_mb_s": 4.0,
    }  # fmt: skip
    assert "no samples: 'Not supported'" in nothing["not_run"]


def test_what_is_counted(evaluate):
    """The work of a network grows with the picture; the crossings of all models of a stage are added."""
    sizes = "(64, 32), (128, 64)"
    (small, large), crossed = evaluate(
        f"[[multiply_adds(NETWORK, width=w, height=h) for w, h in ({sizes})], read_crossings(given)]", METRICS
    )
    assert large == 4 * small > 0
    assert crossed == {"encode to_host": 12, "preprocess to_device": 11}


@pytest.mark.server
@pytest.mark.timeout(300)
def test_a_service_is_measured_whole(evaluate):
    (measured,) = evaluate("_served('passthrough', 'device', None, SAMPLE, segments={2: 24})").values()
    assert measured["frames_s"] > 0
    assert measured["copied_bytes_a_frame"]["encode to_host"] >= 0
    assert measured["gpu"]


def test_without_a_gpu_it_says_so_and_writes_that(program, tmp_path):
    done = program("gpu", "--json", tmp_path / "gpu.json", "--only", "network")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    if not found["machine"]["gpus"]:
        assert found["network"]["not_run"].startswith(("CuPy is not installed", "there is no CUDA device"))
        assert "not answered: network" in done.stdout
