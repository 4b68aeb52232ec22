# SPDX-License-Identifier: MIT
"""Finished segments on disk: whole or not there."""

from pathlib import Path

import numpy as np
import pytest
from vireo_client.journal import Journal, SegmentResult, packets_digest
from vireo_media.device_use import DeviceUse
from vireo_media.errors import OutputError
from vireo_media.times import CodedPacket, timing_rows

OUTPUT = {"codec": "h264", "time_base": [1, 25]}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "out.mp4")


def test_a_finished_segment_comes_back_as_it_was(journal: Journal) -> None:
    with journal.write(7) as writer:
        writer.add([b"one", b""], timing_rows([(0, -1, 2, 1), (4, 5, 6, 0)]))
        writer.add([], timing_rows([]))
        writer.add([b"three"], timing_rows([(8, 9, 10, 0)]))
        writer.finish(output=OUTPUT)
    segment = journal.read(7)
    assert (segment.index, segment.output) == (7, OUTPUT)
    assert list(segment.packets()) == list(segment.packets()) == [b"one", b"", b"three"]
    assert np.array_equal(segment.timing(), [[0, -1, 2, 1], [4, 5, 6, 0], [8, 9, 10, 0]])
    assert segment.timing().dtype == np.int64
    assert sorted(path.name for path in journal.folder.iterdir()) == ["job.json", "lock", "segment-000007.packets"]


def test_an_unfinished_segment_leaves_nothing(journal: Journal) -> None:
    with journal.write(0) as writer:
        writer.add([b"one"], timing_rows([(0, 0, 1, 1)]))
    assert journal.kept == 0
    assert not list(journal.folder.glob("segment*"))


def test_an_empty_segment_is_one_too(journal: Journal) -> None:
    with journal.write(0) as writer:
        writer.finish(output=None)
    assert list(journal.read(0).packets()) == []
    assert journal.read(0).timing().shape == (0, 4)


def test_the_folder_is_beside_the_output_and_goes_away(tmp_path: Path, journal: Journal) -> None:
    assert journal.folder == tmp_path / "out.mp4.vireo"
    with pytest.raises(OutputError, match=r"another run is writing '.*out\.mp4' just now"):
        Journal(tmp_path / "out.mp4")
    journal.remove()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_nothing_finished_leaves_nothing(tmp_path: Path, journal: Journal) -> None:
    journal.close()
    journal.close()
    assert list(tmp_path.iterdir()) == []


PACKETS = [CodedPacket(b"coded", 0, 0, 1, 1)]


def finish(journal: Journal, index: int) -> SegmentResult:
    result = SegmentResult(
        index=index, frames_in=1, frames_out=2, notes=("a note",), device=DeviceUse(decoders={"NVDEC": 1})
    )
    with journal.write(index) as writer:
        writer.add([b"one"], timing_rows([(0, 0, 1, 1)]))
        writer.finish(output=OUTPUT, result=result, digest=packets_digest(PACKETS))
    return result


def test_the_same_job_goes_on_and_another_starts_anew(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    first = Journal(output, job={"the options": 1})
    result = finish(first, 3)
    first.close()
    again = Journal(output, job={"the options": 1})
    assert again.notes == ["continuing an earlier run: 1 segment finished already"]
    assert again.finished(3, PACKETS) == result
    assert again.finished(2, PACKETS) is None
    assert again.changed == []
    assert again.finished(3, [PACKETS[0]._replace(data=b"other")]) is None
    assert again.finished(3, [PACKETS[0]._replace(pts=7)]) is None
    assert again.changed == [3, 3]
    again.close()
    other = Journal(output, job={"the options": 2})
    assert other.notes == ["1 segment of an earlier run not used (other than then: the options); starting anew"]
    assert (other.finished(3, PACKETS), other.kept) == (None, 0)
    finish(other, 1)
    other.close()
    anew = Journal(output, job={"the options": 2}, anew=True)
    assert anew.notes == ["1 segment of an earlier run not used (overwriting was asked for); starting anew"]
    assert anew.kept == 0
    anew.close()


@pytest.mark.parametrize("cut", [1, 10, 60, 10_000])
def test_a_damaged_segment_is_done_again(tmp_path: Path, cut: int) -> None:
    first = Journal(tmp_path / "out.mp4")
    finish(first, 0)
    first.close()
    path = first.folder / "segment-000000.packets"
    path.write_bytes(path.read_bytes()[cut:])
    again = Journal(tmp_path / "out.mp4")
    assert again.finished(0, PACKETS) is None
    again.remove()


def test_a_damaged_segment_is_refused(journal: Journal) -> None:
    with journal.write(0) as writer:
        writer.add([b"one"], timing_rows([(0, 0, 1, 1)]))
        writer.finish(output=OUTPUT)
    path = journal.folder / "segment-000000.packets"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OutputError, match="is no finished segment"):
        journal.read(0)


def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(OutputError, match=r"none/out\.mp4\.vireo' failed: No such file or directory"):
        Journal(tmp_path / "none" / "out.mp4")
    journal.remove()
    with pytest.raises(OutputError, match="check the permissions of that folder"):
        journal.write(0)
