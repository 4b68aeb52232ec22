# SPDX-License-Identifier: MIT
"""A run that ended half way goes on from there: same bytes, and what changed meanwhile is noticed."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vireo_client import Client, Patience
from vireo_client.errors import FaultError, RefusedError, ServiceError
from vireo_client.testing import DESCRIPTION, Loopback
from vireo_media.errors import OutputError
from vireo_media.exchange import Request
from vireo_media.testing import numbered_clip

PATIENCE = Patience(reply_seconds=1.0, unavailable_seconds=0.5, first_pause_seconds=0.05)


@pytest.fixture(scope="module")
def expected(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("expected") / "out.mp4"
    with Client(transport=Loopback()) as client:
        client.run("passthrough", clip, path)
    return path.read_bytes()


def fails_in(segment: int, error: type[ServiceError] = FaultError) -> Callable[[int, Request], ServiceError | None]:
    return lambda sequence, request: error("broken") if sequence >= segment and request.chunk == 2 else None


@pytest.fixture
def broken_off(clip: Path, tmp_path: Path) -> Path:
    """An output of which three of five segments are finished."""
    output = tmp_path / "out.mp4"
    with (
        Client(transport=Loopback(fault=fails_in(3)), patience=PATIENCE) as client,
        pytest.raises(FaultError, match=r"3 finished segments are kept in '.*out\.mp4\.vireo': run the same command"),
    ):
        client.run("passthrough", clip, output, segments_in_flight=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.vireo"]
    return output


def resume(clip: Path, output: Path, **keywords) -> tuple[Loopback, list[str], int]:
    loopback = Loopback(services={"passthrough": keywords.pop("description", DESCRIPTION)})
    told: list[str] = []
    with Client(transport=loopback) as client:
        result = client.run("passthrough", clip, output, notice=told.append, **keywords)
    assert result.warnings == ()
    assert [path.name for path in output.parent.iterdir() if path.suffix != ".copy"] == ["out.mp4"]
    return loopback, told, result.resumed


def test_the_same_command_goes_on_with_the_same_bytes(clip: Path, broken_off: Path, expected: bytes) -> None:
    loopback, told, resumed = resume(clip, broken_off)
    assert (loopback.opened, resumed) == (2, 3)
    assert told == ["continuing an earlier run: 3 segments finished already"]
    assert broken_off.read_bytes() == expected


def test_what_was_told_is_a_warning_where_nobody_listens(clip: Path, broken_off: Path) -> None:
    with Client(transport=Loopback()) as client:
        result = client.run("passthrough", clip, broken_off)
    assert result.warnings == ("continuing an earlier run: 3 segments finished already",)


@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ({"options": {"crf": 35}}, "other than then: the encoder's options"),
        ({"description": {**DESCRIPTION, "revision": "b"}}, "the service's description, the service's revision"),
        ({"overwrite": True}, "overwriting was asked for"),
    ],
)
def test_another_job_starts_anew_and_says_so(clip: Path, broken_off: Path, keywords: dict, why: str) -> None:
    loopback, told, resumed = resume(clip, broken_off, **keywords)
    assert (loopback.opened, resumed) == (5, 0)
    assert why in told[0]


def test_another_input_under_the_same_name_starts_anew(broken_off: Path, tmp_path: Path) -> None:
    other = tmp_path / "in.copy"
    numbered_clip(other, frames=450, gop=25, bframes=2, size=(160, 112), container="mp4")
    _, told, resumed = resume(other, broken_off)
    assert resumed == 0
    assert "other than then: the input" in told[0]


def test_a_segment_that_changed_in_the_source_is_done_again(clip: Path, broken_off: Path, tmp_path: Path) -> None:
    """Same name, size and date; one bit of one packet of the second segment differs."""
    import av

    changed = tmp_path / "in.copy"
    with av.open(str(clip)) as container:
        place = next(p.pos for p in container.demux(video=0) if p.pts is not None and p.pts * p.time_base > 5)
    data = bytearray(clip.read_bytes())
    data[place + 20] ^= 1
    changed.write_bytes(data)
    shutil.copystat(clip, changed)
    loopback, told, resumed = resume(changed, broken_off)
    assert (loopback.opened, resumed) == (3, 2)
    assert "1 of them had changed in the source and were done again" in told


def test_a_refusal_keeps_nothing(clip: Path, tmp_path: Path) -> None:
    """The same command would only be refused again."""
    loopback = Loopback(fault=fails_in(3, RefusedError))
    with Client(transport=loopback) as client, pytest.raises(RefusedError):
        client.run("passthrough", clip, tmp_path / "out.mp4", segments_in_flight=1)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("share", [2, 5])
def test_a_full_disk_is_one_message_and_the_run_goes_on_when_there_is_room(
    clip: Path, small_disk: Path, expected: bytes, share: int
) -> None:
    """Full while the file is put together, or already while segments come back."""
    ballast, output = small_disk / "ballast", small_disk / "out.mp4"
    filled = 512 * 1024 - len(expected) // share
    assert filled > 0
    ballast.write_bytes(bytes(filled))
    with (
        Client(transport=Loopback()) as client,
        pytest.raises(OutputError, match=r"No space left on device.*; \d finished segments? (is|are) kept"),
    ):
        client.run("passthrough", clip, output, segments_in_flight=1)
    names = sorted(path.name for path in small_disk.rglob("*"))
    assert not [name for name in names if name.endswith((".part", ".mp4"))], names
    ballast.unlink()
    with Client(transport=Loopback()) as client:
        result = client.run("passthrough", clip, output)
    assert result.resumed
    assert output.read_bytes() == expected


def test_a_disk_that_is_full_from_the_start_leaves_nothing(clip: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(508 * 1024))
    with Client(transport=Loopback()) as client, pytest.raises(OutputError, match="No space left on device"):
        client.run("passthrough", clip, small_disk / "out.mp4")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
