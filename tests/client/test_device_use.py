# SPDX-License-Identifier: MIT
"""`vireo run` tells what a GPU did where there is one."""

from pathlib import Path
from typing import Any

import pytest
from vireo_client.client import RunResult
from vireo_client.command_line import _report
from vireo_media.device_use import DeviceUse

KNOWN: dict[str, Any] = {
    "output": Path("out.mp4"), "frames_in": 2, "frames_out": 2, "seconds": 1.0, "duration_seconds": 1.0, "segments": 1,
    "warnings": (),
}  # fmt: skip


def test_the_command_line_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    _report(RunResult(**KNOWN), quiet=False)
    assert "GPU" not in capsys.readouterr().out
    use = DeviceUse().after({"decoder": {"name": "nvdec"}, "crossed": {"encode": {"to_host": 3_000_000}}})
    _report(RunResult(**KNOWN, device=use), quiet=False)
    said = "on a GPU: decoded by NVDEC; 0.0 MB to the GPU, 3.0 MB (encode) from it"
    assert capsys.readouterr().out.splitlines()[1] == said
