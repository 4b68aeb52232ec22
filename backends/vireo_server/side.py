# SPDX-License-Identifier: MIT
"""The side a stage works on, the host or one GPU, and the border between the two: what crosses it is counted.

# Note [One GPU a server]
A process works on the GPU of its model's instance, which Triton names in `initialize`. With several GPUs visible
Triton would make an instance of every stage on each and hand the chunks of one stream from one to the other. So a
server is given one GPU (`vireo serve --gpu 1`, or CUDA_VISIBLE_DEVICES), and callers the servers' list: `--url a,b,c`.
All stages of a stream are then on one GPU, a GPU that fails takes only its own server along, and the client already
gives its segments to whichever server is free.

# Note [One CUDA stream a process]
All work goes to CUDA's legacy default stream, on which NVDEC and NVENC do theirs too: what is begun later sees what was
begun before, without events between them. Kernels on frames are bound by memory, so side by side they would gain
nothing; what shall overlap (copies, decoding, networks, encoding of other chunks) is in other processes, or is no
kernel. It is waited for where something else than that stream reads: Triton, a copy to the host, libav.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from vireo_kernels.devices import Device, device_of

from vireo_server.heartbeat import count_start
from vireo_server.wire import CrossingCounter, Gauge, Pixels, log_warning

OPEN_STREAMS, STARTS = "vireo_open_streams", "vireo_stage_starts"

Direction = Literal["to_device", "to_host"]


_CPU = Device(None)


def _nowhere(direction: str, size: int) -> None:
    """Counts for nobody."""


def _to_nobody(count: int) -> None:
    """Tells nobody."""


def _nothing() -> None:
    """Has nothing to close."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Where a stage keeps its pixels; `count` is told every crossing of the process, `streams` how many streams it
    holds, `close` called when it ends."""

    device: Device = _CPU
    count: Callable[[str, int], None] = _nowhere
    streams: Callable[[int], None] = _to_nobody
    close: Callable[[], None] = _nothing

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """For what is loaded inside: where it fails, metrics are taken back first.

        A stub that ends with metrics dies of them (signal 11), and where it holds a lock of its memory, Triton too.
        """
        try:
            yield
        except BaseException:
            self.close()
            raise

    @property
    def is_host(self) -> bool:
        """Whether it is the host."""
        return self.device.cuda is None

    @property
    def xp(self) -> Any:
        """numpy or CuPy."""
        return self.device.xp

    def enter(self) -> None:
        """To be called once by each thread that works here: CUDA has a current device a thread."""
        if self.device.cuda is not None:
            self.xp.cuda.Device(self.device.cuda).use()

    def staging(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
        """Memory of the host, not initialised, from and to which this side copies fast: pinned for a GPU."""
        if self.is_host:
            return np.empty(shape, dtype)
        kind, count = np.dtype(dtype), math.prod(shape)
        memory = self.xp.cuda.alloc_pinned_memory(max(count * kind.itemsize, 1))
        return np.frombuffer(memory, kind, count).reshape(shape)


HOST = Side()


def side_of(args: Mapping[str, str], *, stage: str, share: float = 1.0) -> Side:
    """The side that Triton gave to a model's instance. Crossings, open streams and starts go to the server's metrics.

    A model that Triton placed on a GPU works on the host all the same where CuPy is missing; the log says so.

    Args:
        args: what Triton gives to `initialize`.
        stage: in the metric.
        share: of the GPU's memory, the most that this process keeps for pixels, 0..1.
    """
    model = args["model_name"]
    count = CrossingCounter(model, stage)
    streams = Gauge(OPEN_STREAMS, "Streams that a stage holds", model=model, value=0)
    starts = Gauge(
        STARTS,
        "How often a stage was started: 1, and once more whenever it was replaced or loaded again",
        model=model,
        value=count_start(model),
    )

    def close() -> None:
        for metric in (count, streams, starts):
            metric.close()

    host = Side(count=count, streams=streams, close=close)
    if args.get("model_instance_kind") != "GPU":
        return host
    number = int(args["model_instance_device_id"])
    try:
        cupy = Device(number).xp
        with cupy.cuda.Device(number):
            cupy.get_default_memory_pool().set_limit(fraction=share)
            cupy.empty(1, np.uint8).fill(0)  # compiles a kernel, which CuPy by itself cannot
    except (ImportError, RuntimeError) as error:
        log_warning(f"{model}: Triton placed it on GPU {number}, but it works on the host: {error}")
        return host
    side = replace(host, device=Device(number))
    side.enter()
    return side


class Border:
    """The border between host and device for one stream in one stage: brings pixels over, and counts the bytes.

    Only pixels and results are counted; the few numbers that say which rows are meant are not.
    """

    def __init__(self, side: Side, *, stage: str) -> None:
        self.side, self._stage = side, stage
        self._bytes: dict[Direction, int] = dict.fromkeys(get_args(Direction), 0)

    def bring(self, array: Pixels) -> Pixels:
        """The array on the stage's side; itself where it lies there."""
        device = device_of(self._stage, "array", array)
        if device == self.side.device:
            return array
        array = self.to_host(array)
        if self.side.is_host:
            return array
        self.count("to_device", array.nbytes)
        with self.side.xp.cuda.Device(self.side.device.cuda):
            # From memory that is not pinned CUDA has copied before it returns; from pinned memory it may not have.
            placed = self.side.xp.empty(array.shape, array.dtype)
            placed.set(np.ascontiguousarray(array))
        self.side.device.synchronize()
        return placed

    def to_host(self, array: Pixels) -> npt.NDArray[Any]:
        """The array on the host: itself, or a copy in pinned memory."""
        if isinstance(array, np.ndarray):
            return array
        device = device_of(self._stage, "array", array)
        place = Side(device=device).staging(tuple(array.shape), array.dtype)
        self.count("to_host", place.nbytes)
        with device.xp.cuda.Device(device.cuda):
            device.xp.ascontiguousarray(array).get(out=place)
        device.synchronize()
        return place

    def told(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """REPORT or FORMAT's report with what crossed in this stage since it was last told.

        On a GPU it is always there, so that 0 is said; on a host, where nothing can cross, only if something did.
        """
        if self.side.is_host and not any(self._bytes.values()):
            return dict(report)
        crossed = {**report.get("crossed", {}), self._stage: dict(self._bytes)}
        self._bytes = dict.fromkeys(self._bytes, 0)
        return {**report, "crossed": crossed}

    def count(self, direction: Direction, size: int) -> None:
        """Note that `size` bytes crossed; for what others bring over."""
        self._bytes[direction] += size
        self.side.count(direction, size)
