# SPDX-License-Identifier: MIT
"""Finished segments on disk, in a folder beside the output: one file a segment, there only when it is whole.

A file is the packets one after the other, then a footer: the rows of PACKET_TIMING and the packets' sizes (int64,
little endian), a JSON object with everything else, and 24 bytes that say how long those are. So packets are written
as they come and a segment costs no memory, however long it is.

# Note [When a finished segment may be used again]
`job.json` says what the run was: the service with its description and revision, what START says of the stream (options
and encoder with it), and the versions that make the bytes. Where any of it differs, the run starts anew. Every segment
also keeps a digest of the very packets it was made from, so a source that was changed gives up only the segments that
it changed, whatever its name, size and date are.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from vireo_media.coded import CodedSegment
from vireo_media.device_use import DeviceUse
from vireo_media.errors import OutputError
from vireo_media.exchange import Reply
from vireo_media.times import CodedPacket, Timing, timing_rows

__all__ = ["Journal", "SegmentResult", "SegmentWriter", "kept_job", "packets_digest"]

_MAGIC = b"VIREOSG1"
_TAIL = struct.Struct("<QQ8s")  # packets, bytes of JSON, magic
_JOB = "job.json"
_LOCK = "lock"


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """What one finished segment was: frames in and out, what the service wants the caller to know, and what a server
    with a GPU says of that.
    """

    index: int
    frames_in: int
    frames_out: int
    notes: tuple[str, ...]
    device: DeviceUse = field(default_factory=DeviceUse)


class Journal:
    """The folder `<output>.vireo` beside an output, locked as long as it is open.

    `job` is what the segments depend on, by name; finished segments of an earlier run of the same job are kept, unless
    `anew`. `notes` says what became of an earlier run. Raises OutputError where it cannot be made, or another run
    writes the same output.
    """

    resumes = True

    def __init__(self, output: Path, *, job: Mapping[str, Any] | None = None, anew: bool = False) -> None:
        self.folder = _folder(output)
        self.notes: list[str] = []
        job = dict(job or {})
        with _disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._lock = self._take_lock()
        try:
            with _disk_errors(self.folder):
                self._begin(job, anew=anew)
        except BaseException:
            os.close(self._lock)
            self._remove_if_empty()
            raise
        self._found = self._indices()
        self._changed: list[int] = []
        self._output: dict[str, Any] = {}

    def write(self, index: int) -> "SegmentWriter":
        """A writer for segment `index`."""
        return SegmentWriter(self._path(index))

    def read(self, index: int) -> CodedSegment:
        """The finished segment `index`; its packets and times stay on disk until they are asked for."""
        path = self._path(index)
        _, header = _read_footer(path)
        if header["output"] != self._output:  # Hundreds of segments say the same.
            self._output = header["output"] or {}
        return CodedSegment(
            index=index,
            output=self._output,
            timing=lambda: _read_footer(path)[0],
            packets=lambda: _read_packets(path),
        )

    def finished(self, index: int, packets: Iterable[CodedPacket]) -> SegmentResult | None:
        """What an earlier run made of segment `index`, None where it did not finish it or the packets are others."""
        if index not in self._found:
            return None
        with contextlib.suppress(OutputError, OSError, ValueError, KeyError):
            _, header = _read_footer(self._path(index))
            if header["digest"] == packets_digest(packets):
                known = header["result"]
                device = DeviceUse(**known.get("device", {}))
                return SegmentResult(**{**known, "notes": tuple(known["notes"]), "device": device})
        self._changed.append(index)
        return None

    @property
    def changed(self) -> list[int]:
        """The segments of an earlier run whose packets in the source are others now, or whose files are damaged."""
        return sorted(self._changed)

    @property
    def kept(self) -> int:
        """How many segments are finished."""
        return len(self._indices())

    def remove(self) -> None:
        """Remove the folder with all that is in it, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        """Let go of it, and leave what it has to a later run; a folder without a finished segment goes."""
        if self._lock < 0:
            return
        if self.folder.is_dir() and not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    def _begin(self, job: Mapping[str, Any], *, anew: bool) -> None:
        before = _read_job(self.folder) or {"its job": None}
        kept = self.kept
        changed = sorted(key for key in {*job, *before} if job.get(key) != before.get(key))
        if anew or changed or not kept:
            if kept:
                why = "overwriting was asked for" if anew else f"other than then: {', '.join(changed)}"
                self.notes.append(f"{_count(kept)} of an earlier run not used ({why}); starting anew")
            for path in self.folder.iterdir():
                if path.name != _LOCK:
                    path.unlink()
            new = self.folder / f"{_JOB}.part"
            new.write_text(json.dumps(job), encoding="utf-8")
            new.replace(self.folder / _JOB)
        else:
            for path in self.folder.glob("*.part"):
                path.unlink()
            self.notes.append(f"continuing an earlier run: {_count(kept)} finished already")

    def _take_lock(self) -> int:
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise OutputError(
                f"another run is writing {str(self.folder.with_suffix(''))!r} just now; "
                "wait until it is done, or choose another name"
            ) from error
        except OSError:  # A file system without locks: then two runs at once are the user's own care.
            return lock
        return lock

    def _remove_if_empty(self) -> None:
        with contextlib.suppress(OSError):
            if not self.kept:
                shutil.rmtree(self.folder)

    def _indices(self) -> set[int]:
        return {int(path.stem.rpartition("-")[2]) for path in self.folder.glob("segment-*.packets")}

    def _path(self, index: int) -> Path:
        return self.folder / f"segment-{index:06d}.packets"


def kept_job(output: Path) -> dict[str, Any] | None:
    """What an earlier run of the same output was, None where none was broken off."""
    return _read_job(_folder(output))


def _folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.vireo")


def _read_job(folder: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        value = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return None


def packets_digest(packets: Iterable[CodedPacket]) -> str:
    """What tells one run of packets from another: their bytes, times and flags."""
    digest = hashlib.sha256()
    for packet in packets:
        digest.update(struct.pack("<Qqqqq", len(packet.data), *packet[1:]))
        digest.update(packet.data)
    return digest.hexdigest()


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

    def take(self, reply: Reply) -> None:
        """Append what a reply brought."""
        self.add(reply.packets, reply.timing)

    def finish(
        self, *, output: Mapping[str, Any] | None, result: SegmentResult | None = None, digest: str | None = None
    ) -> None:
        """Write the footer and give the file its name. `output` is REPORT.output.

        `result` and `digest` (of the source's packets) let a later run use it.
        """
        values = {"output": output, "result": None if result is None else asdict(result), "digest": digest}
        header = json.dumps(values).encode()
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
    except OutputError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutputError(
            f"writing {str(path)!r} failed: {error.strerror or error}; finished segments are kept there until the "
            f"output is written; {'make room on that disk' if full else 'check the permissions of that folder'}"
        ) from error


def _count(segments: int) -> str:
    return f"{segments} segment{'s' * (segments != 1)}"


def _read_footer(path: Path) -> tuple[Timing, dict[str, Any]]:
    """The rows of PACKET_TIMING and the JSON object of a finished segment. Raises OutputError where it is damaged."""
    with path.open("rb") as file:
        count, length, _ = _tail(file, path)
        footer = _TAIL.size + length + count * 40
        if footer > path.stat().st_size:
            raise _damaged(path)
        file.seek(-footer, os.SEEK_END)
        packets = file.tell()
        timing = np.frombuffer(file.read(count * 32), dtype="<i8").reshape(-1, 4)
        sizes = np.frombuffer(file.read(count * 8), dtype="<i8")
        if int(sizes.sum()) != packets:
            raise _damaged(path)
        return timing, json.loads(file.read(length))


def _read_packets(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        count, length, _ = _tail(file, path)
        file.seek(-_TAIL.size - length - count * 8, os.SEEK_END)
        sizes = np.frombuffer(file.read(count * 8), dtype="<i8")
        file.seek(0)
        for size in sizes.tolist():
            yield file.read(size)


def _tail(file: Any, path: Path) -> tuple[int, int, bytes]:
    if path.stat().st_size < _TAIL.size:
        raise _damaged(path)
    file.seek(-_TAIL.size, os.SEEK_END)
    count, length, magic = _TAIL.unpack(file.read(_TAIL.size))
    if magic != _MAGIC:
        raise _damaged(path)
    return count, length, magic


def _damaged(path: Path) -> OutputError:
    return OutputError(f"{str(path)!r} is no finished segment: it was changed or damaged; run again")
