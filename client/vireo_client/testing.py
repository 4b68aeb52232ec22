# SPDX-License-Identifier: MIT
"""A service in this process, for tests without a server: it decodes and encodes for real and obeys the contract.

from vireo_client import Client
from vireo_client.testing import Loopback

with Client(transport=Loopback()) as client:
    client.run("passthrough", "in.mp4", "out.mp4")
"""

import base64
import contextlib
import json
import queue
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import av.error
from av.video.frame import PictureType
from vireo_media.container import libav_packet
from vireo_media.description import StreamDescription
from vireo_media.errors import InputError
from vireo_media.exchange import Request
from vireo_media.times import FLAG_DISCARD, FLAG_KEY, UNKNOWN, timing_rows

from vireo_client.errors import RefusedError, ServiceError, UnknownServiceError
from vireo_client.transport import Connection, ModelConfiguration, Tensor, WireReply

__all__ = ["DESCRIPTION", "Fault", "Loopback"]

DESCRIPTION: Mapping[str, Any] = {
    "contract": 1,
    "kind": "transformation",
    "segments": True,
    "max_packets": 32,
    "max_rows": 32,
    "max_pixels": 7680 * 4320,
    "revision": "loopback",
    "options": {"type": "object", "properties": {}, "additionalProperties": False},
}

_INPUTS = (
    Tensor(name="STREAM", datatype="BYTES", dims=(1,)),
    Tensor(name="PACKETS", datatype="BYTES", dims=(-1,)),
    Tensor(name="PACKET_TIMING", datatype="INT64", dims=(-1, 4)),
    Tensor(name="CHUNK", datatype="INT64", dims=(1,)),
)
_OUTPUTS = (
    Tensor(name="OUTPUT_PACKETS", datatype="BYTES", dims=(-1,)),
    Tensor(name="OUTPUT_TIMING", datatype="INT64", dims=(-1, 4)),
    Tensor(name="REPORT", datatype="BYTES", dims=(1,)),
)

Fault = Callable[[int, Request], ServiceError | None]
"""Called with the number of the sequence (from 0, in the order they were opened) and each of its requests; an error
that it returns is that request's reply."""

_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "ffv1": "ffv1"}
_DECODERS = {"av1": "libdav1d"}
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER


class Loopback:
    """A `Transport` to an identity service in this process.

    `services` are descriptions by name. `fault` makes requests fail. `aborted` collects the ids of sequences that
    were aborted, `open` and `most_open` count sequences, `used` those of each service. `versions` are the texts of the
    parameter of that name.
    """

    url = "loopback"

    def __init__(
        self,
        *,
        services: Mapping[str, Mapping[str, Any]] | None = None,
        versions: Mapping[str, str] | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.services = dict(services or {"passthrough": DESCRIPTION})
        self.versions = dict(versions or {})
        self.fault = fault
        self.aborted: list[str] = []
        self.opened = self.open = self.most_open = 0
        self.used: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _counted(self, service: str) -> Any:
        with self._lock:
            number = self.opened
            self.opened += 1
            self.used[service] += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        connection = _LoopbackConnection(self, number, json.loads(json.dumps(dict(self.services[service]))))
        try:
            yield connection
        finally:
            connection.close()
            with self._lock:
                self.open -= 1

    def connect(self, service: str, *, label: str = "") -> contextlib.AbstractContextManager[Connection]:
        """See `Transport.connect`."""
        if service not in self.services:
            raise UnknownServiceError(f"service {service!r}: unknown here")
        manager: contextlib.AbstractContextManager[Connection] = self._counted(service)
        return manager

    def configuration(self, model: str) -> ModelConfiguration:
        """See `Transport.configuration`."""
        if model not in self.services:
            raise UnknownServiceError(f"service {model!r}: unknown here")
        return ModelConfiguration(
            description=json.dumps(dict(self.services[model])),
            versions=self.versions.get(model),
            inputs=_INPUTS,
            outputs=_OUTPUTS,
        )

    def models(self) -> list[str]:
        """See `Transport.models`."""
        return sorted(self.services)

    def abort(self, service: str, sequence: str) -> None:
        """See `Transport.abort`."""
        self.aborted.append(sequence)

    def stage_counts(self, service: str) -> None:
        """See `Transport.stage_counts`: nothing here dies on its own."""

    def keep_alive(self, service: str, sequences: Sequence[str], *, computing: Callable[[], None]) -> None:
        """See `Transport.keep_alive`."""

    def reconnect(self) -> None:
        """See `Transport.reconnect`."""

    def close(self) -> None:
        """See `Transport.close`."""


class _LoopbackConnection:
    def __init__(self, loopback: Loopback, number: int, description: Mapping[str, Any]) -> None:
        self.sequence = str(uuid.uuid4())
        self._loopback, self._number = loopback, number
        self._max_rows = int(description["max_rows"])
        self._max_packets = int(description["max_packets"])
        self._replies: queue.SimpleQueue[WireReply | ServiceError] = queue.SimpleQueue()
        self._worker: _Chain | None = None
        self._chunk = 0

    def send(self, request: Request) -> None:
        """See `Connection.send`."""
        fault = self._loopback.fault(self._number, request) if self._loopback.fault is not None else None
        if fault is not None:
            self._replies.put(fault)
            return
        try:
            self._replies.put(self._handle(request))
        except (InputError, av.error.FFmpegError) as error:
            self._replies.put(RefusedError(f"decode: {error}"))

    def receive(self, *, seconds: float) -> WireReply | None:
        """See `Connection.receive`."""
        try:
            reply = self._replies.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(reply, ServiceError):
            raise reply
        return reply

    def close(self) -> None:
        """See `Connection.close`."""
        self._worker = None

    def _handle(self, request: Request) -> WireReply:
        if request.start:
            self._worker = _Chain(StreamDescription.from_json(request.stream), max_rows=self._max_rows)
        if self._worker is None or request.chunk != self._chunk or len(request.packets) > self._max_packets:
            raise InputError(f"chunk {request.chunk!r} came for chunk {self._chunk!r} of sequence {self.sequence!r}")
        self._chunk += 1
        return self._worker.step(request)


class _Chain:
    """decode and encode of one sequence."""

    def __init__(self, stream: StreamDescription, *, max_rows: int) -> None:
        self._stream, self._max_rows = stream, max_rows
        self._base = Fraction(*stream.time_base)
        decoder: Any = av.CodecContext.create(_DECODERS.get(stream.codec, stream.codec), "r")
        decoder.width, decoder.height, decoder.thread_count = stream.width, stream.height, 1
        if stream.extradata:
            decoder.extradata = stream.extradata
        decoder.open()
        self._decoder = decoder
        self._encoder: Any = None
        self._discarded: set[int] = set()
        self._durations: dict[int, int] = {}
        self._decoding_times: deque[int] = deque()
        self._waiting: deque[tuple[int, av.VideoFrame]] = deque()
        self._rows = 1
        self._flushed = False

    def step(self, request: Request) -> WireReply:
        for data, (pts, dts, duration, flags) in zip(request.packets, request.timing.tolist(), strict=True):
            self._durations[pts] = duration
            self._decoding_times.append(dts)
            if flags & FLAG_DISCARD:
                self._discarded.add(pts)
            packet = libav_packet(data, pts=pts, dts=dts, duration=duration, time_base=self._base)
            self._take(self._decoder.decode(packet))
        if (not request.packets or request.end) and not self._flushed:
            self._flushed = True
            self._take(self._decoder.decode(None))
        self._rows = min(max(self._rows, len(request.packets)), self._max_rows)
        count = len(self._waiting) if request.end else min(self._rows, len(self._waiting))
        coded: list[Any] = []
        for _ in range(count):
            pts, frame = self._waiting.popleft()
            coded += self._encode(frame, pts)
        if request.end and self._encoder is not None:
            coded += self._encoder.encode(None)
        rows = [
            (
                packet.pts,
                UNKNOWN,
                self._durations.get(packet.pts, 0),
                FLAG_KEY * packet.is_keyframe,
            )
            for packet in coded
        ]
        report: dict[str, Any] = {
            "pending": len(self._waiting) + (0 if self._flushed else len(self._decoding_times)),
            "output": self._output(),
            "frames_in": count,
            "frames_out": len(coded),
            "notes": [],
        }
        return [bytes(packet) for packet in coded], timing_rows(rows), json.dumps(report).encode(), {}

    def _take(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            earliest = self._decoding_times.popleft() if self._decoding_times else 0
            # A container without presentation times: pictures come out in their order, one for each decoding time.
            pts = frame.pts if frame.pts is not None else earliest
            emit = self._stream.emit
            if pts not in self._discarded and (emit is None or emit[0] <= pts < emit[1]):
                self._waiting.append((pts, frame))

    def _encode(self, frame: av.VideoFrame, pts: int) -> list[Any]:
        if self._encoder is None:
            self._encoder = self._open_encoder(frame)
        encoder = self._encoder
        if (frame.format.name, frame.width, frame.height) != (encoder.pix_fmt, encoder.width, encoder.height):
            frame = frame.reformat(width=encoder.width, height=encoder.height, format=encoder.pix_fmt)
        frame.pts, frame.time_base = pts, self._base
        frame.pict_type = PictureType.NONE  # The source's picture types are not the encoder's.
        coded: list[Any] = encoder.encode(frame)
        return coded

    def _open_encoder(self, frame: av.VideoFrame) -> Any:
        wanted = self._stream.encoder
        context: Any = av.CodecContext.create(_ENCODERS[wanted["codec"]], "w")
        context.width, context.height = frame.width - frame.width % 2, frame.height - frame.height % 2
        deep = any(component.bits > 8 for component in frame.format.components)
        context.pix_fmt = "yuv420p10le" if deep else "yuv420p"
        context.time_base = self._base
        context.thread_count = wanted["threads"]
        context.flags |= _GLOBAL_HEADER
        context.color_range, context.colorspace = int(frame.color_range), int(frame.colorspace)
        context.color_primaries, context.color_trc = int(frame.color_primaries), int(frame.color_trc)
        if self._stream.frame_rate is not None:
            context.framerate = Fraction(*self._stream.frame_rate)
        if wanted["codec"] in ("h264", "hevc"):
            crf = 20 if wanted["crf"] is None else wanted["crf"]
            context.options = {"preset": wanted["preset"] or "ultrafast", "crf": str(crf), "bf": "2"}
        if wanted["codec"] == "hevc":
            context.options |= {"x265-params": "log-level=none:pools=1"}
        context.open()
        return context

    def _output(self) -> dict[str, Any] | None:
        if self._encoder is None:
            return None
        stream = json.loads(self._stream.to_json())
        return {
            "codec": self._stream.encoder["codec"],
            "extradata": base64.b64encode(self._encoder.extradata or b"").decode(),
            "width": self._encoder.width,
            "height": self._encoder.height,
            "pixel_format": self._encoder.pix_fmt,
        } | {key: stream[key] for key in ("time_base", "sample_aspect_ratio", "rotation", "color", "hdr", "frame_rate")}
