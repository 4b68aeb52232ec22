# SPDX-License-Identifier: MIT
"""Which version of a service a run goes to, and that it stays there."""

from pathlib import Path

import pytest
from vireo_client import Client, Patience
from vireo_client.errors import FaultError, UnknownServiceError
from vireo_client.testing import DESCRIPTION, Loopback
from vireo_media.errors import OptionError

SERVICES = {"grade": DESCRIPTION, "grade.2": {**DESCRIPTION, "revision": "second"}}
TO_SECOND = {"grade": '{"2": 1}'}
PATIENCE = Patience(reply_seconds=1.0, unavailable_seconds=0.5, first_pause_seconds=0.05)


def opened(loopback: Loopback) -> set[str]:
    return {service for service, count in loopback.used.items() if count}


@pytest.mark.parametrize(
    ("versions", "wanted", "model"),
    [({}, None, "grade"), ({}, 2, "grade.2"), (TO_SECOND, None, "grade.2"), (TO_SECOND, 1, "grade")],
)
def test_the_configuration_chooses_unless_the_caller_does(clip: Path, tmp_path: Path, versions, wanted, model) -> None:
    loopback = Loopback(services=SERVICES, versions=versions)
    with Client(transport=loopback) as client:
        result = client.run("grade", clip, tmp_path / "out.mp4", version=wanted)
    assert opened(loopback) == {model}
    assert result.version == (2 if model == "grade.2" else 1)


def test_all_segments_of_a_video_go_to_one_version_by_the_name_of_the_run(clip: Path, tmp_path: Path) -> None:
    loopback = Loopback(services=SERVICES, versions={"grade": '{"1": 0.5, "2": 0.5}'})
    found = {}
    with Client(transport=loopback) as client:
        for name in ("a", "b", "c", "d", "e", "a"):
            loopback.used.clear()
            version = client.run("grade", clip, tmp_path / "out.mp4", request_id=name, overwrite=True).version
            assert len(opened(loopback)) == 1
            assert found.setdefault(name, version) == version
    assert set(found.values()) == {1, 2}


def test_a_run_that_was_broken_off_ends_on_its_version(clip: Path, tmp_path: Path) -> None:
    breaks = Loopback(
        services=SERVICES, fault=lambda sequence, request: FaultError("broken") if sequence >= 3 else None
    )
    with Client(transport=breaks, patience=PATIENCE) as client, pytest.raises(FaultError):
        client.run("grade", clip, tmp_path / "out.mp4", segments_in_flight=1)
    switched = Loopback(services=SERVICES, versions=TO_SECOND)
    with Client(transport=switched) as client:
        result = client.run("grade", clip, tmp_path / "out.mp4")
    assert (result.version, result.resumed, opened(switched)) == (1, 3, {"grade"})


def test_a_run_whose_version_is_gone_starts_anew_on_another_and_says_so(clip: Path, tmp_path: Path) -> None:
    breaks = Loopback(
        services=SERVICES,
        versions=TO_SECOND,
        fault=lambda sequence, request: FaultError("broken") if sequence >= 3 else None,
    )
    with Client(transport=breaks, patience=PATIENCE) as client, pytest.raises(FaultError):
        client.run("grade", clip, tmp_path / "out.mp4", segments_in_flight=1)
    with Client(transport=Loopback(services={"grade": DESCRIPTION})) as client:
        result = client.run("grade", clip, tmp_path / "out.mp4")
    assert (result.version, result.resumed) == (1, 0)
    assert "3 segments of an earlier run not used (other than then: the service" in result.warnings[0]


def test_a_version_that_is_not_served_or_cannot_be(clip: Path, tmp_path: Path) -> None:
    with Client(transport=Loopback(services=SERVICES)) as client:
        with pytest.raises(UnknownServiceError, match=r"service 'grade.3' is not served .* served are grade, grade.2"):
            client.run("grade", clip, tmp_path / "out.mp4", version=3)
        with pytest.raises(OptionError, match="version cannot be 0; allowed is 1 or more"):
            client.run("grade", clip, tmp_path / "out.mp4", version=0)
