# SPDX-License-Identifier: MIT
"""A file through a script in this process, without a server: the stages are the service's own, and so are the bytes.

from vireo_server.scripting import run_file

result = run_file("script.py", "in.mp4", "out.mp4", stream={"strength": 2}, profile=True)
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from vireo_media import interpolation
from vireo_media.coded import CodedSegment
from vireo_media.container import MediaSource
from vireo_media.errors import OutputError
from vireo_media.exchange import Exchange
from vireo_media.exchange import Request as Chunk
from vireo_media.mux import check_output, encoder_defaults, mux
from vireo_media.probing import VideoInput, probe
from vireo_media.segments import whole_video
from vireo_media.services import ServiceDescription
from vireo_media.times import timing_rows

from vireo_server import decoding, encoding, preprocessing
from vireo_server.decoding import DecodeStage
from vireo_server.encoding import EncodeStage
from vireo_server.interpolating import InterpolationStage
from vireo_server.preprocessing import PreprocessStage
from vireo_server.scripting.batch import Results
from vireo_server.scripting.host import ScriptHost
from vireo_server.scripting.profile import Profile
from vireo_server.scripting.stage import PROFILING, ScriptStage
from vireo_server.sequences import Stage, Streams
from vireo_server.settings import DecodeSettings, EncodeSettings, PreprocessSettings, ScriptSettings
from vireo_server.side import HOST, Side
from vireo_server.wire import LocalRequest

#: Suffix of an output that takes numbers instead of a video.
RESULTS = ".npz"
#: As in the configurations that `vireo new` writes.
CHUNK_PIXELS = 1 << 23


@dataclass(frozen=True, kw_only=True)
class FileRun:
    """What a run did: frames in and out, where the time went, what `process` returned if that was numbers.

    `results` are arrays of a row a frame (`pts` with them, int64 in units of `time_base` seconds), None for a video;
    `warnings` are for people.
    """

    frames_in: int
    frames_out: int
    profile: Profile
    results: Mapping[str, npt.NDArray[Any]] | None = None
    time_base: tuple[int, int] = (1, 1)
    warnings: tuple[str, ...] = ()


def run_file(
    script: str | os.PathLike[str],
    input: str | os.PathLike[str] | bytes,  # noqa: A002 - the word every tool of this field uses
    output: str | os.PathLike[str] | None = None,
    *,
    config: str | Mapping[str, Any] = "{}",
    stream: str | Mapping[str, Any] = "{}",
    encoder: Mapping[str, Any] | None = None,
    profile: bool = False,
    overwrite: bool = False,
    settings: ScriptSettings | None = None,
    side: Side = HOST,
) -> FileRun:
    """Run a file through a script as a service would, bit for bit.

    Args:
        script: the Python file.
        input: a video file, or its bytes.
        output: a video to write, or a `.npz` for a script that returns numbers; None: only run the script.
        config: what `setup` is given, JSON text or what becomes it.
        stream: the stream's options, what `configure` is given; likewise.
        encoder: the encoder's options (codec, preset, crf, ...).
        profile: call `process` with profiling=True.
        overwrite: replace the output if it is there.
        settings: batch sizes and the like, as in the model's configuration; `config` goes before theirs.
        side: where the stages keep their pixels, the host or a GPU; see `Side.enter`.

    Raises:
        VireoError: the input cannot be read or the output not be written.
        SettingError: the script does not load.
        StageError: a stage failed, most likely the script: the message has its traceback lines.
    """
    target = None if output is None else Path(output)
    format = None
    if target is not None and target.suffix.lower() != RESULTS:
        format = check_output(target, overwrite=overwrite)
    elif target is not None and target.exists() and not overwrite:
        raise OutputError(f"output {str(target)!r} is there already; choose another name or allow overwriting it")
    video = probe(MediaSource(input))
    options = json.loads(stream) if isinstance(stream, str) else dict(stream)
    if not isinstance(options, dict):
        raise OutputError(f"the options of the stream are {stream!r}; allowed: a JSON object")
    chosen = dict(encoder_defaults(format)) if format else {}
    description = replace(
        video.description,
        options={**options, PROFILING: True} if profile else options,
        encoder={**video.description.encoder, **chosen, **(encoder or {})},
    )
    video = replace(video, description=description)
    text = config if isinstance(config, str) else json.dumps(config)
    settings = replace(settings or ScriptSettings(), config=text)
    if side.is_host:
        decoding.warm_up()
    preprocessing.warm_up(PreprocessSettings(layout="interleaved"), side)
    encoding.warm_up(side)
    began = time.perf_counter()
    host = ScriptHost(Path(script), settings, side=side)
    try:
        chain = _Chain(host, side, encodes=format is not None)
        with tempfile.TemporaryFile() as spool:
            exchange, coded = _exchange(video, chain, spool)
            warnings = list(exchange.notes)
            if format is not None:
                assert target is not None
                if coded.output is None:
                    raise OutputError(f"{Path(script).name} gave numbers, no pictures; name an output ending {RESULTS}")
                exchange.check_frames()
                with chain.timed("mux"):
                    written = mux(target, segments=[coded], source=video, format=format)
                warnings += written.warnings
    finally:
        host.close()
    results = chain.results()
    if target is not None and format is None:
        if results is None:
            raise OutputError(
                f"{Path(script).name} gave pictures, no numbers: nothing for {str(target)!r}; name a video"
            )
        with target.open("wb") as file:
            np.savez(file, **results)
    return FileRun(
        frames_in=exchange.frames_in,
        frames_out=exchange.frames_out,
        profile=chain.profile(total=time.perf_counter() - began),
        results=results,
        time_base=description.time_base,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _exchange(video: VideoInput, chain: _Chain, spool: IO[bytes]) -> tuple[Exchange, CodedSegment]:
    """One sequence through all stages; packets go to `spool`."""
    service = ServiceDescription(
        name="script",
        kind="transformation",
        segments=False,
        max_packets=32,
        max_rows=32,
        chunk_pixels=CHUNK_PIXELS,
        options={"properties": interpolation.OPTIONS if chain.fills_slots else {}},
    )
    service.check_stream(video.description)
    exchange = Exchange(segment=whole_video(video.source, video.description), stream=video.description, service=service)
    lengths: list[int] = []
    rows: list[list[int]] = []
    try:
        while not exchange.is_done:
            chunk = exchange.next_request()
            assert chunk is not None, "with one request under way there is always a next one"
            reply = exchange.receive(*chain.answer(chunk))
            for packet in reply.packets:
                spool.write(packet)
                lengths.append(len(packet))
            rows += reply.timing.tolist()
    finally:
        chain.close()

    def packets() -> Iterator[bytes]:
        spool.seek(0)
        for length in lengths:
            yield spool.read(length)

    timing = timing_rows([tuple(row) for row in rows])  # type: ignore[misc]
    return exchange, CodedSegment(index=0, output=exchange.output, timing=lambda: timing, packets=packets)  # type: ignore[arg-type]


class _Chain:
    """The stages of one stream, one after the other, on the caller's thread."""

    def __init__(self, host: ScriptHost, side: Side, *, encodes: bool) -> None:
        self._host = host
        self._seconds: dict[str, float] = {}
        self._results: list[tuple[tuple[int, ...], Results]] = []
        self._batches: list[dict[str, Any]] = []
        self._configure = 0.0
        admits = Streams(lambda: self._stages["decode"], name="decode", idle_seconds=1.0)
        preprocess = (
            InterpolationStage(PreprocessSettings(layout="interleaved", slots="rows"), side)
            if host.fills_slots
            else PreprocessStage(PreprocessSettings(layout="interleaved"), side)
        )
        self._stages: dict[str, Stage] = {
            "decode": DecodeStage(DecodeSettings(), admits, side),
            "preprocess": preprocess,
            "script": ScriptStage(host, collect=lambda pts, results: self._results.append((pts, results)), side=side),
        }
        if encodes:
            self._stages["encode"] = EncodeStage(EncodeSettings(), side)

    @property
    def fills_slots(self) -> bool:
        """Whether pictures come out between the sources."""
        return self._host.fills_slots

    def answer(self, chunk: Chunk) -> tuple[list[bytes], npt.NDArray[np.int64], str]:
        """What the last stage replies to one request: packets, times, REPORT."""
        tensors: dict[str, Any] = {
            "STREAM": chunk.stream,
            "PACKETS": list(chunk.packets),
            "PACKET_TIMING": chunk.timing,
        }
        for name, stage in self._stages.items():
            request = LocalRequest(tensors, start=chunk.start, end=chunk.end, stage=name)
            with self.timed(name):
                stage.listen(request)
                if chunk.start:
                    stage.open(request)
                tensors |= stage.step(request)
        report = json.loads(tensors["FORMAT"])["report"]
        self._note(report.get("profile", {}))
        if "encode" in self._stages:
            return tensors["OUTPUT_PACKETS"], tensors["OUTPUT_TIMING"], tensors["REPORT"]
        return [], timing_rows([]), json.dumps(report)

    def close(self) -> None:
        """Free what the stages hold."""
        for stage in self._stages.values():
            stage.close()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time inside to what a stage took."""
        began = time.perf_counter()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def results(self) -> dict[str, npt.NDArray[Any]] | None:
        """The numbers of all batches, a row a frame, and their pts; None where the script gave none."""
        if not self._results:
            return None
        joined = {"pts": np.array([value for pts, _ in self._results for value in pts], np.int64)}
        for name in self._results[0][1]:
            joined[name] = np.concatenate([results[name] for _, results in self._results])
        return joined

    def profile(self, *, total: float) -> Profile:
        """Where the time went."""
        return Profile(
            preparation=self._host.preparation,
            configure=self._configure,
            batches=tuple(self._batches),
            stages=dict(self._seconds),
            total=total,
        )

    def _note(self, profile: Mapping[str, Any]) -> None:
        self._configure = profile.get("configure", self._configure)
        self._batches += profile.get("batches", [])
