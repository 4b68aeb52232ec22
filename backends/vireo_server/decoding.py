# SPDX-License-Identifier: MIT
"""The decode stage: packets to FRAMES, within limits, never an empty reply."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from vireo_kernels.layout import planes_to_frames, surface_to_frames
from vireo_media.description import StreamDescription
from vireo_media.sampling import Sampler, Sampling

from vireo_server import tags
from vireo_server.decoded_picture import Picture, write_row
from vireo_server.decoder import Decoder
from vireo_server.errors import BadInput, StageError
from vireo_server.formats import KIND, NO_PICTURE, REFERENCE, SOURCE, frame_shape, spare_rows
from vireo_server.nvdec import DevicePicture, Nvdec
from vireo_server.nvenc import driver_fault
from vireo_server.sequences import Stage, Streams
from vireo_server.settings import DecodeSettings
from vireo_server.side import HOST, Border, Side
from vireo_server.skipping import Skipper
from vireo_server.wire import Pixels, Request, Tensors, log_warning

_Times = npt.NDArray[np.int64]

#: The column of PACKET_TIMING that has libavcodec's flags.
_FLAGS = 3

#: Reasons for decoding in software that this process has told to the log.
_LOGGED: set[str] = set()


def warm_up(side: Side = HOST) -> None:
    """Compile what the first stream would otherwise wait for: the kernels that lay out 8 and 10 bit."""
    for samples, layout in ((np.uint8, "nv12"), (np.uint16, "p010")):
        row = np.zeros(frame_shape(width=16, height=16, pixel_format=layout), np.uint8)  # type: ignore[arg-type]
        chroma = np.zeros((8, 8), samples)
        planes_to_frames(np.zeros((16, 16), samples), chroma, chroma, out=row)
        if not side.is_host:
            surface, both = side.xp.zeros((16, 16), samples), side.xp.zeros((8, 16), samples)
            surface_to_frames(surface, both, out=side.xp.zeros(row.shape, np.uint8))


class DecodeStage(Stage):
    """The decode stage of one stream: bounds, spare rows, REPORT's `pending`.

    `quantizers`: whether a later stage asks how coarsely pictures were quantised.
    """

    def __init__(
        self, settings: DecodeSettings, streams: Streams, side: Side = HOST, *, quantizers: bool = True
    ) -> None:
        self._settings, self._streams, self._side, self._quantizers = settings, streams, side, quantizers
        self._border = Border(side, stage="decode")
        self._nvdec = None if side.is_host else Nvdec(self._border)
        self._decoder: Decoder | None = None
        self._sampler: Sampler | None = None
        self._skipper: Skipper | None = None
        self._last: Picture | None = None
        self._waiting: deque[Picture] = deque()
        self._rows = 1
        self.is_last = False
        self._format = tags.NOTHING
        self._notes: list[str] = []

    def open(self, request: Request) -> None:
        """Check what START says against the limits and open the decoder."""
        start = request.json("STREAM")
        if start.get("abort"):
            self._streams.abandon(request.stream)
            raise StageError.from_json(
                {"code": "CANCELLED", "stage": "decode", "time": None, "message": "aborted by the caller"}
            )
        self._streams.admit()
        try:
            description = StreamDescription.from_json(start)
            sampling = Sampling.parse(description.decoder.get("sample") or self._settings.sample)
            self._sampler, planner = (
                Sampler(sampling, time_base=Fraction(*description.time_base), frames_total=description.frames_total)
                for _ in range(2)
            )
        except ValueError as error:
            raise BadInput(str(error), stage="decode") from error
        self._check_limits(description)
        if description.encoder.get("nvenc") == "on" and (why := driver_fault()):
            raise BadInput(
                f"nvenc is 'on', and this server has no GPU that encodes ({why}); leave it out, or send the video to a "
                "server that has one",
                stage="decode",
            )
        self._format = replace(
            tags.NOTHING,
            width=description.width,
            height=description.height,
            time_base=description.time_base,
            color=tags.resolve(
                description.color, width=description.width, height=description.height, codec=description.codec
            ),
            rotation=description.rotation,
            frame_rate=description.frame_rate,
            origin=description.origin,
            codec=description.codec,
            options=dict(description.options),
            hdr=None if description.hdr is None else dict(description.hdr),
        )
        self._skipper = Skipper(description, planner if sampling.rule not in ("all", "key") else None)
        self._decoder = Decoder(
            description,
            threads=self._settings.threads,
            neighbours=not self._sampler.skips_neighbours,
            quantizers=self._quantizers,
            nvdec=self._nvdec,
        )

    def step(self, request: Request) -> Tensors:
        """Decode the request's packets and give what fits; END gives all that is left."""
        self.decode(self.read(request))
        if self.is_last:
            self.flush()
        return self.give(None if request.end else self._rows)

    def read(self, request: Request) -> list[tuple[bytes, _Times]]:
        """The packets of a request that must be decoded, each with its row of PACKET_TIMING."""
        assert self._sampler is not None
        assert self._skipper is not None
        packets = request.texts("PACKETS")
        timing = request.array("PACKET_TIMING").reshape(-1, 4)
        self._check_packets(packets, timing)
        self.is_last = not packets or request.end
        # As many rows as packets, so that in the long run nothing piles up here whatever size of chunk the caller
        # chose.
        self._rows = min(max(self._rows, len(packets)), self._settings.max_rows)
        needed = self._skipper.needed(packets, timing, end=self.is_last)
        together = zip(packets, timing, needed, strict=True)
        return [(data, row) for data, row, is_needed in together if is_needed]

    def decode(self, packets: Sequence[tuple[bytes, _Times]]) -> None:
        """Decode packets; what is wanted of their pictures waits to be given."""
        assert self._decoder is not None
        assert self._sampler is not None
        for data, row in packets:
            if self._sampler.wants_packet(int(row[_FLAGS])):
                self._take(self._decoder.decode(data, row))

    def flush(self) -> None:
        """No packet follows."""
        assert self._decoder is not None
        self._take(self._decoder.flush())
        self._take_the_rest()
        self._notes = list(dict.fromkeys([*self._notes, *self._decoder.notes]))

    def failure(self, error: StageError) -> Tensors:
        """One spare row that carries the error to the last stage."""
        return spare_rows(self._format.failed(error))

    def close(self) -> None:
        """Free the codec context and the pictures that wait."""
        self._decoder = self._last = None
        self._waiting.clear()

    def _take(self, pictures: list[Picture]) -> None:
        """Keep what is wanted; what is not is never converted."""
        assert self._sampler is not None
        assert self._skipper is not None
        for picture in pictures:
            for skipped in self._skipper.skipped_before(picture.pts):
                self._sampler.rows(skipped)
            self._waiting += [picture] * self._sampler.rows(picture.pts)
            self._last = picture

    def _take_the_rest(self) -> None:
        """The last picture for those that were named and do not exist, because fewer came than STREAM said."""
        assert self._sampler is not None
        if (missing := self._sampler.end()) and self._last is not None:
            self._notes = [*self._notes, f"fewer frames came than was said: the last one stands for {missing} samples"]
            self._waiting += [self._last] * missing

    def give(self, most: int | None = None) -> Tensors:
        """FRAMES, TIMING and FORMAT of the pictures that wait, at most so many of them."""
        assert self._decoder is not None
        count = len(self._waiting) if most is None else min(most, len(self._waiting))
        pictures = [self._waiting.popleft() for _ in range(count)]
        if pictures:
            self._settle(pictures[0])
        timing = np.empty((len(pictures), 4), np.int64)
        for index, picture in enumerate(pictures):
            kind = REFERENCE if self._decoder.is_reference(picture.pts) else SOURCE
            timing[index] = picture.pts, picture.duration, kind, NO_PICTURE
        report = {
            "pending": len(self._waiting) + self._decoder.held,
            "frames_in": int((timing[:, KIND] == SOURCE).sum()),
            "notes": self._notes,
            **self._who_decodes(bool(pictures)),
        }
        self._notes = []
        keys = tuple(index for index, picture in enumerate(pictures) if self._decoder.take_key(picture.pts))
        steps = tuple(picture.quantizer_step for picture in pictures)
        format = replace(self._format, keys=keys, quantizer_steps=steps, report=report)
        if not pictures:
            return spare_rows(replace(format, report=self._border.told(report)), self._side)
        shape = frame_shape(width=format.width, height=format.height, pixel_format=format.pixel_format)
        frames = self._rows_of([picture.frame for picture in pictures], shape)
        format = replace(format, report=self._border.told(report))
        return {"FRAMES": frames, "TIMING": timing, "FORMAT": format.to_json()}

    def _rows_of(self, pictures: Sequence[av.VideoFrame | DevicePicture], shape: tuple[int, ...]) -> Pixels:
        """FRAMES on this stage's side. What was decoded on the host goes up at once, in one copy."""
        decoded = [picture for picture in pictures if not isinstance(picture, DevicePicture)]
        rows = self._side.staging((len(decoded), *shape))
        for frame, row in zip(decoded, rows, strict=True):
            write_row(frame, row)
        if len(decoded) == len(pictures):
            return self._border.bring(rows)
        frames = self._side.xp.empty((len(pictures), *shape), np.uint8)
        brought = iter(self._border.bring(rows) if decoded else ())
        for index, picture in enumerate(pictures):
            frames[index] = picture.row if isinstance(picture, DevicePicture) else next(brought)
        return frames

    def _who_decodes(self, is_known: bool) -> dict[str, Any]:
        """For REPORT, on a GPU, once there are pictures; why it is not NVDEC goes to the log too, once a reason."""
        if self._nvdec is None or not is_known:
            return {}
        assert self._decoder is not None
        why = self._decoder.why_software
        if why and why not in _LOGGED:
            _LOGGED.add(why)
            log_warning(f"decode: in software instead of on the GPU: {why}")
        return {"decoder": {"name": "software", "why": why} if why else {"name": "nvdec"}}

    def _settle(self, picture: Picture) -> None:
        """The layout of FRAMES, known with the first picture."""
        note = picture.note
        if note is not None and not self._converted:
            self._notes = [*self._notes, note]
        self._converted = note is not None
        self._format = replace(self._format, pixel_format=picture.layout)

    _converted = False

    def _check_limits(self, description: StreamDescription) -> None:
        settings = self._settings
        if description.codec not in settings.codecs:
            raise BadInput(
                f"codec {description.codec!r} is not served here; allowed: {', '.join(settings.codecs)} (codecs "
                f"of model {self._streams.name!r}); re-encode the source",
                stage="decode",
            )
        if description.width * description.height > settings.max_pixels:
            raise BadInput(
                f"the picture is {description.width}x{description.height}, "
                f"{description.width * description.height} pixels; "
                f"allowed: {settings.max_pixels} (max_pixels of model {self._streams.name!r}); scale the source down "
                "or raise the limit",
                stage="decode",
            )

    def _check_packets(self, packets: list[bytes], timing: _Times) -> None:
        settings = self._settings
        if len(packets) != len(timing):
            raise BadInput(
                f"{len(packets)} PACKETS came with {len(timing)} rows of PACKET_TIMING; send one row a packet",
                stage="decode",
            )
        if len(packets) > settings.max_packets:
            raise BadInput(
                f"{len(packets)} packets in one request; allowed: {settings.max_packets} (max_packets of model "
                f"{self._streams.name!r}); send smaller chunks",
                stage="decode",
            )
        for data, row in zip(packets, timing, strict=True):
            if len(data) > settings.max_packet_bytes:
                assert self._decoder is not None
                raise BadInput(
                    f"a packet has {len(data)} bytes; allowed: {settings.max_packet_bytes} (max_packet_bytes of model "
                    f"{self._streams.name!r}); raise the limit if the source is right",
                    stage="decode",
                    seconds=self._decoder.seconds(int(row[0])),
                )
