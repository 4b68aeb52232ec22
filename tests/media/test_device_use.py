# SPDX-License-Identifier: MIT
"""What servers with a GPU say of it, added up over requests and segments, and told in one line."""

from dataclasses import asdict
from typing import Any

import pytest
from vireo_media.device_use import DeviceUse


def report(to_host: int, *, why: str = "") -> dict[str, Any]:
    decoder = {"name": "software", "why": why} if why else {"name": "nvdec"}
    return {"decoder": decoder, "crossed": {"decode": {"to_device": 0, "to_host": 0}, "encode": {"to_host": to_host}}}


def segment(*reports: dict[str, Any]) -> DeviceUse:
    use = DeviceUse()
    for one in reports:
        use = use.after(one)
    return use


def test_requests_and_segments_are_added_up() -> None:
    one = segment(report(1_500_000), {"notes": []}, report(500_000))
    assert str(one) == "decoded by NVDEC; 0.0 MB to the GPU, 2.0 MB (encode) from it"
    both = sum([one, one, segment(report(1_000_000, why="nvdec=off"))], DeviceUse())
    assert str(both) == (
        "decoded by NVDEC (2 segments), software (nvdec=off) (1 segment); 0.0 MB to the GPU, 5.0 MB (encode) from it"
    )
    assert DeviceUse(**asdict(both)) == both


@pytest.mark.parametrize("said", [{}, {"decoder": None, "crossed": None}, {"decoder": 1, "crossed": {"encode": [1]}}])
def test_a_server_without_a_gpu_or_of_another_version_says_nothing(said: dict[str, Any]) -> None:
    assert not segment(said)
