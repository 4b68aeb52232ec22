# SPDX-License-Identifier: MIT
"""Finished segments on disk: whole or not there."""

from pathlib import Path

import numpy as np
import pytest
from vireo_client.journal import Journal
from vireo_media.errors import OutputError
from vireo_media.times import timing_rows

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
    assert np.array_equal(segment.timing, [[0, -1, 2, 1], [4, 5, 6, 0], [8, 9, 10, 0]])
    assert segment.timing.dtype == np.int64
    assert [path.name for path in journal.folder.iterdir()] == ["segment-000007.packets"]


def test_an_unfinished_segment_leaves_nothing(journal: Journal) -> None:
    with journal.write(0) as writer:
        writer.add([b"one"], timing_rows([(0, 0, 1, 1)]))
    assert list(journal.folder.iterdir()) == []


def test_an_empty_segment_is_one_too(journal: Journal) -> None:
    with journal.write(0) as writer:
        writer.finish(output=None)
    assert list(journal.read(0).packets()) == []
    assert journal.read(0).timing.shape == (0, 4)


def test_the_folder_is_beside_the_output_and_goes_away(tmp_path: Path, journal: Journal) -> None:
    assert journal.folder == tmp_path / "out.mp4.vireo"
    (journal.folder / "left over").touch()
    assert list(Journal(tmp_path / "out.mp4").folder.iterdir()) == []
    journal.remove()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_segment_is_refused(journal: Journal) -> None:
    with journal.write(0) as writer:
        writer.add([b"one"], timing_rows([(0, 0, 1, 1)]))
        writer.finish(output=OUTPUT)
    path = next(journal.folder.iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OutputError, match="is no finished segment"):
        journal.read(0)


def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(OutputError, match=r"none/out\.mp4\.vireo' failed: No such file or directory"):
        Journal(tmp_path / "none" / "out.mp4")
    journal.remove()
    with pytest.raises(OutputError, match="check the space and the permissions"):
        journal.write(0)
