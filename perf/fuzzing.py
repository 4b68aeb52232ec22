# SPDX-License-Identifier: MIT
"""Mutated packets and containers on a real server: no hang, no stage that stays dead, an answer to everything."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vireo_client import Client, Patience
from vireo_client.errors import ServiceError, UnavailableError, WaitError
from vireo_client.grpc_transport import GrpcTransport
from vireo_client.watching import ServerWatch
from vireo_media.container import MediaSource
from vireo_media.description import StreamDescription
from vireo_media.errors import VireoError
from vireo_media.exchange import Request
from vireo_media.probing import probe
from vireo_media.segments import whole_video
from vireo_media.testing import numbered_clip
from vireo_media.times import CodedPacket, timing_rows

from perf.serving import ServeProcess

_SERVICE = "passthrough"
_CHUNK = 8
_HANG_SECONDS = 60.0
_X265 = "log-level=none:pools=1"
_SOURCES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("h264.mp4", {}),
    ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": _X265}}),
    ("mpeg4.mp4", {"codec": "mpeg4"}),
    ("mpeg2.ts", {"codec": "mpeg2video"}),
    ("vp9.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    ("vp8.webm", {"codec": "libvpx", "options": {"deadline": "realtime"}}),
    ("ffv1.mkv", {"codec": "ffv1", "gop": 1}),
    ("mjpeg.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    ("h264.ts", {}),
)


@dataclass(frozen=True)
class _Source:
    name: str
    data: bytes
    stream: StreamDescription
    packets: tuple[CodedPacket, ...]


def fuzz(*, cases: int, seed: int) -> dict[str, Any]:
    """Send mutated input, two thirds of it packets and one third files; what became of it, as JSON's values.

    `reached_a_frame` counts the cases of which the service gave at least one decoded frame, `deaths` the stages that
    the watchdog had to replace, `deaths_of_triton` how often `vireo serve` had to start Triton itself again, `hangs`
    the cases without an end within a minute.
    """
    rng = random.Random(seed)
    ended: Counter[str] = Counter()
    reached = hangs = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, ServeProcess() as server:
        folder = Path(name)
        sources = [_source(folder / file, keywords) for file, keywords in _SOURCES]
        transport = GrpcTransport(server.grpc_url)
        watch = ServerWatch(transport, _SERVICE)
        patience = Patience(reply_seconds=_HANG_SECONDS, unavailable_seconds=20, most_faults=0, most_deaths=0)
        with Client(transport=transport, patience=patience) as client:
            for number in range(cases):
                source = rng.choice(sources)
                if number % 3:
                    kind, frames = _send_packets(transport, watch, source, rng)
                else:
                    kind, frames = _send_file(client, source, folder, rng)
                ended[kind] += 1
                reached += frames > 0
                hangs += kind == "hang"
                if kind in ("StageDiedError", "RestartingError", "UnavailableError"):
                    server.wait_until_ready()
            # Whatever came before, the server still serves.
            server.wait_until_ready()
            client.run(_SERVICE, sources[0].data, folder / "last.mp4", overwrite=True)
        watch.stop()
        log = server.log
        return {
            "cases": cases,
            "seed": seed,
            "reached_a_frame": reached,
            "ended": dict(sorted(ended.items())),
            "hangs": hangs,
            "deaths": log.count(" died (signal"),
            "deaths_of_triton": log.count("Triton ended by itself"),
            "given_up": log.count(" is given up: "),
            "open_streams_at_the_end": _open_streams(server),
            "seconds": round(time.monotonic() - began, 1),
        }


def _source(path: Path, keywords: dict[str, Any]) -> _Source:
    numbered_clip(path, **{"frames": 24, "gop": 12, "size": (128, 80)} | keywords)
    source = MediaSource(path)
    stream = probe(source).description
    return _Source(path.name, path.read_bytes(), stream, tuple(whole_video(source, stream).packets()))


def _send_packets(transport: GrpcTransport, watch: ServerWatch, source: _Source, rng: random.Random) -> tuple[str, int]:
    """One sequence of mutated packets: how it ended, and how many frames came of it."""
    stream = source.stream
    if rng.random() < 0.1:
        huge = rng.random() < 0.2
        stream = replace(stream, extradata=rng.randbytes(1 << 20) if huge else _mutated(stream.extradata, rng))
    # Mostly behind the first chunk, so that the decoder is well under way when it happens.
    first = 0 if rng.random() < 0.25 else _CHUNK
    packets = _mutated_packets(list(source.packets), rng, first=first)
    frames = 0
    deadline = time.monotonic() + _HANG_SECONDS
    moment = watch.moment()
    try:
        with transport.connect(_SERVICE, label="fuzz") as connection:
            watch.add(connection)
            try:
                for request in _requests(stream, packets):
                    connection.send(request)
                    while (reply := connection.receive(seconds=0.2)) is None:
                        watch.check(moment)
                        if time.monotonic() > deadline:
                            return "hang", frames
                    frames += len(reply[0])
            finally:
                watch.remove(connection)
                if frames < 0:
                    transport.abort(_SERVICE, connection.sequence)
    except ServiceError as error:
        return type(error).__name__, max(frames, _decoded_before(error))
    return "ok", frames


def _decoded_before(error: ServiceError) -> int:
    """A refusal that names a time in the video behind its start came after a decoded frame."""
    return int(" at 00:00:" in str(error) and " at 00:00:00.000" not in str(error))


def _requests(stream: StreamDescription, packets: list[CodedPacket]) -> Iterator[Request]:
    chunks = [packets[i : i + _CHUNK] for i in range(0, len(packets), _CHUNK)]
    for number, chunk in enumerate([*chunks, [], []]):
        yield Request(
            stream=stream.to_json() if number == 0 else "",
            packets=[packet.data for packet in chunk],
            timing=timing_rows([packet[1:] for packet in chunk]),
            chunk=number,
            start=number == 0,
            end=number == len(chunks) + 1,
        )


def _send_file(client: Client, source: _Source, folder: Path, rng: random.Random) -> tuple[str, int]:
    seen: list[int] = []
    try:
        result = client.run(
            _SERVICE,
            _mutated_file(source.data, rng),
            folder / "out.mp4",
            overwrite=True,
            progress=lambda progress: seen.append(progress.frames),
        )
    except WaitError:
        return "hang", max(seen, default=0)
    except UnavailableError as error:
        return type(error).__name__, max(seen, default=0)
    except VireoError as error:
        return type(error).__name__, max([*seen, int("decode at 00:00:" in str(error))])
    return "ok", result.frames_out


def _mutated_packets(packets: list[CodedPacket], rng: random.Random, *, first: int) -> list[CodedPacket]:
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(min(first, len(packets) - 1), len(packets))
        packet = packets[place]
        what = rng.choice(("bytes", "bytes", "bytes", "cut", "drop", "double", "swap", "time", "empty"))
        if what == "bytes":
            packets[place] = packet._replace(data=_mutated(packet.data, rng))
        elif what == "cut":
            packets[place] = packet._replace(data=packet.data[: rng.randrange(len(packet.data) + 1)])
        elif what == "drop" and len(packets) > 2:
            del packets[place]
        elif what == "double":
            packets.insert(place, packet)
        elif what == "swap":
            other = rng.randrange(len(packets))
            packets[place], packets[other] = packets[other], packets[place]
        elif what == "time":
            name = rng.choice(("pts", "pts", "dts", "duration"))
            now = getattr(packet, name)
            packets[place] = packet._replace(
                **{name: rng.choice((-(2**63), -(2**62), 2**62, 2**63 - 1, 0, -1, now + 1))}
            )
        elif what == "empty":
            packets[place] = packet._replace(data=b"")
    return packets


def _mutated_file(data: bytes, rng: random.Random) -> bytes:
    """A third of the files: cut off, or with a number in their head or their end (where indices are) gone mad."""
    what = rng.random()
    if what < 0.1:
        return data[: rng.randrange(len(data))]
    if what < 0.33:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 2, 4))):
            near = rng.randrange(min(2048, len(data) - 8))
            place = rng.choice((near, len(data) - 8 - near))
            size = rng.choice((1, 2, 4, 8))
            mad = rng.choice((0, 1, (1 << 8 * size) - 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1))
            changed[place : place + size] = mad.to_bytes(size, "big")
        return bytes(changed)
    return _mutated(data, rng)


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 32))):
        if not changed:
            break
        place = rng.randrange(len(changed))
        what = rng.random()
        if what < 0.6:
            changed[place] ^= 1 << rng.randrange(8)
        elif what < 0.8:
            changed[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif what < 0.9:
            del changed[place : place + rng.randrange(1, 16)]
        else:
            changed[place:place] = rng.randbytes(rng.randrange(1, 16))
    return bytes(changed)


def _open_streams(server: ServeProcess) -> int:
    """How many are left when those whose callers went away had the time to be closed."""
    end = time.monotonic() + 20
    while (count := int(server.health().get("open_streams", -1))) and time.monotonic() < end:
        time.sleep(0.2)
    return count
