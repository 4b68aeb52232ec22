# SPDX-License-Identifier: MIT
"""What is said of a GPU while something runs: by `nvidia-smi`, how busy its parts are and what goes over PCIe; by the
server, what its stages copied."""

from __future__ import annotations

import re
import statistics
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from perf.questions import Answer

#: Column of `nvidia-smi dmon` -> its name here. "sm" is NVML's utilisation: the share of time in which any kernel ran.
_COLUMNS = {
    "sm": "busy_percent",
    "mem": "memory_busy_percent",
    "enc": "nvenc_percent",
    "dec": "nvdec_percent",
    "rxpci": "pcie_to_device_mb_s",
    "txpci": "pcie_to_host_mb_s",
}
_COMMAND = ("nvidia-smi", "dmon", "--select", "ut", "--delay", "1")


@contextmanager
def watched_gpu(command: Sequence[str] = _COMMAND) -> Iterator[Answer]:
    """Watch the first GPU, once a second; the answer is filled when the block ends: the mean of each column, or why
    there is none."""
    found: Answer = {}
    try:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        yield found
        found["not_run"] = str(error)
        return
    try:
        yield found
    finally:
        program.terminate()
        text, _ = program.communicate()
        found.update(read_dmon(text))


def read_dmon(text: str) -> Answer:
    """The means of the columns that are known, over the samples of GPU 0."""
    names: list[str] = []
    samples: dict[str, list[float]] = {}
    for line in text.splitlines():
        words = line.replace("#", " ").split()
        if line.startswith("#"):
            names = words if "gpu" in words else names
            continue
        values = dict(zip(names, words, strict=False))
        if values.get("gpu") == "0":
            for column, name in _COLUMNS.items():
                if values.get(column, "-").isdecimal():
                    samples.setdefault(name, []).append(float(values[column]))
    if not samples:
        return {"not_run": f"nvidia-smi dmon gave no samples: {text.strip()[-200:]!r}"}
    return {name: round(statistics.mean(values), 1) for name, values in samples.items()}


def crossed_bytes(metrics_url: str) -> dict[str, float]:
    """What the stages copied between host and device so far: "stage direction" -> bytes."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{metrics_url}/metrics", timeout=10) as response:
        return read_crossings(response.read().decode())


def read_crossings(metrics: str) -> dict[str, float]:
    """The same, from a server's metrics as Prometheus reads them."""
    found: dict[str, float] = {}
    for labels, value in re.findall(r"^vireo_host_device_bytes\{(.*)\} (\S+)$", metrics, re.MULTILINE):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        name = f"{told['stage']} {told['direction']}"
        found[name] = found.get(name, 0.0) + float(value)
    return found
