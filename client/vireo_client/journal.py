# SPDX-License-Identifier: MIT
"""Finished segments on disk, in a folder beside the output: one file a segment, there only when it is whole.

A file is the packets one after the other, then a footer: the rows of PACKET_TIMING and the packets' sizes (int64,
little endian), a JSON object with everything else, and 24 bytes that say how long those are. So packets are written
as they come and a segment costs no memory, however long it is.
"""

import contextlib
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from vireo_media.coded import CodedSegment
from vireo_media.errors import OutputError
from vireo_media.times import Timing, timing_rows

__all__ = ["Journal", "SegmentWriter"]

_MAGIC = b"VIREOSG1"
_TAIL = struct.Struct("<QQ8s")  # packets, bytes of JSON, magic


class Journal:
    """The folder `<output>.vireo` beside an output. Raises OutputError where it cannot be made."""

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.vireo")
        with _disk_errors(self.folder):
            self.remove()
            self.folder.mkdir()

    def write(self, index: int) -> "SegmentWriter":
        """A writer for segment `index`."""
        return SegmentWriter(self._path(index))

    def read(self, index: int) -> CodedSegment:
        """The finished segment `index`; its packets stay on disk until they are asked for."""
        path = self._path(index)
        with path.open("rb") as file:
            count, length, _ = _tail(file, path)
            file.seek(-_TAIL.size - length - count * 40, os.SEEK_END)
            timing = np.frombuffer(file.read(count * 32), dtype="<i8").reshape(-1, 4)
            file.seek(count * 8, os.SEEK_CUR)
            header: Mapping[str, Any] = json.loads(file.read(length))
        return CodedSegment(
            index=index, output=header["output"] or {}, timing=timing, packets=lambda: _read_packets(path)
        )

    def remove(self) -> None:
        """Remove the folder with all that is in it, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"segment-{index:06d}.packets"


class SegmentWriter:
    """Writes one segment; use it as a context manager. Without `finish` it leaves nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        with _disk_errors(self._part):
            self._file = self._part.open("wb")
        self._timing: list[Timing] = [timing_rows([])]
        self._sizes: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # A full disk was said already, or is behind us.
            self._file.close()
        self._part.unlink(missing_ok=True)

    def add(self, packets: Sequence[bytes], timing: Timing) -> None:
        """Append packets with their rows, (M, 4) int64."""
        with _disk_errors(self._part):
            self._file.writelines(packets)
        self._sizes += [len(packet) for packet in packets]
        self._timing.append(np.array(timing, dtype="<i8"))

    def finish(self, *, output: Mapping[str, Any] | None) -> None:
        """Write the footer and give the file its name. `output` is REPORT.output."""
        header = json.dumps({"output": output}).encode()
        with _disk_errors(self._path):
            self._file.write(np.concatenate(self._timing).astype("<i8").tobytes())
            self._file.write(np.array(self._sizes, dtype="<i8").tobytes())
            self._file.write(header)
            self._file.write(_TAIL.pack(len(self._sizes), len(header), _MAGIC))
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._part, self._path)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """A full disk or a folder that went away, in our words."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"writing {str(path)!r} failed: {error.strerror or error}; finished segments are kept there until the "
            f"output "
            "is written; check the space and the permissions of that folder"
        ) from error


def _read_packets(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        count, length, _ = _tail(file, path)
        file.seek(-_TAIL.size - length - count * 8, os.SEEK_END)
        sizes = np.frombuffer(file.read(count * 8), dtype="<i8")
        file.seek(0)
        for size in sizes.tolist():
            yield file.read(size)


def _tail(file: Any, path: Path) -> tuple[int, int, bytes]:
    file.seek(-_TAIL.size, os.SEEK_END)
    count, length, magic = _TAIL.unpack(file.read(_TAIL.size))
    if magic != _MAGIC:
        raise OutputError(f"{str(path)!r} is no finished segment: it was changed or damaged; run again")
    return count, length, magic
