# SPDX-License-Identifier: MIT
"""What this project wants to reach, and what of it a run reached.

# Note [What was tried for speed]
Medians of alternating runs on two cores, 4 streams of super_resolution at 360p against rung (d) unless said.
Kept: freed memory stays in the process (Note [Why freed memory is kept] in launching/environment.py), 1.14 times, for
passthrough at 1080p 1.3 times; no copy of the picture where the network changes nothing, 1.07 to 1.11 times at 1080p.
Chunks of 8 and 4 pictures are equally fast (1.06, 1.05 of (d) on a short clip), 2 and 1 lose (0.97, 0.93): so 360p has
4, while 1080p has 1, because three requests of a stream are under way in five processes and memory counts there.
Looking after the stages from the process of `vireo serve` took 1 ms of processor time a frame, most of it the kernel's
list of Triton's children, one file a thread: it is read only where somebody is missing (launching/watchdog.py).
decode and preprocess of super_resolution in one process, and no frames to encode, which does not look at them: 0.8 ms a
frame less. Triton copies a tensor twice for each stage that takes it, into shared memory and in the stage's process
again (before a stage can say that it does not want it), so what a stage does not need must not be its input: decoded
frames that encode got for nothing cost passthrough at 1080p 2 ms of 57, and 30 MB a stream. Its network, which computes
nothing, had whole batches of several streams in its process, twice: 50 MB a stream; one heap a process: 10 MB. Together
a further 1080p stream went from 190 to 107 MB beyond its codecs, and one from 770 to 680 MB.
What is left beyond (d), 5 to 6 of 63 ms a frame: tritonserver 1.7, much of it copying; the client 0.7; encode 1.5 for
its new streams' memory, which the kernel clears; the rest in decode, which is 2.0 in all, and the network's copies.
How far passthrough is from plain PyAV depends on the machine of the day: three runs within two days, on what calls
itself the same processor, gave at medium 20.4, 18.4 and 22.4 frames/s for plain PyAV and 16.9, 17.9 and 18.8 for ours
(0.81, 0.97, 0.85); with one heap or two the ratio is the same (0.84 and 0.85 against 0.85 and 0.88, in turn).
Without gain: huge pages, more heaps (MALLOC_ARENA_MAX 1, 2, 4, 16), batches of 4, 8 or 16 pictures for the network of
super_resolution, reading quantisers only where they are wanted (0.07 ms at 360p, 0.2 of 4.7 at 1080p, and then (d) does
not read them either). Left alone: encode could keep its memory for the next streams instead of giving it back when the
last one ends. In clips of 100 that took 1.5 ms a frame less, but a 1080p stream after another 6 to 8 % more memory
instead of 2 to 4 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from perf.measure import Measurements


@dataclass(frozen=True, kw_only=True)
class Target:
    """One number that is wanted.

    Attributes:
        number: of the list in the project's issue on speed.
        what: in words.
        measurement: the name of what is measured.
        bound: "at least" or "at most" the `value`.
    """

    number: int
    what: str
    measurement: str
    bound: Literal["at least", "at most"]
    value: float

    def is_met(self, measured: float) -> bool:
        """Whether a median reaches it."""
        return measured >= self.value if self.bound == "at least" else measured <= self.value


def _at_least(number: int, what: str, measurement: str, value: float) -> Target:
    return Target(number=number, what=what, measurement=measurement, bound="at least", value=value)


def _at_most(number: int, what: str, measurement: str, value: float) -> Target:
    return Target(number=number, what=what, measurement=measurement, bound="at most", value=value)


_BEYOND = "extraction.rate=8.beyond_network"

TARGETS = (
    _at_least(1, "4 streams, of the in-process limit (d)", "ladder.served_4/pipelined", 0.90),
    _at_least(1, "one file, of the in-process limit (d)", "ladder.one_file/pipelined", 0.90),
    _at_least(2, "4 streams, times the picture service (a)", "ladder.served_4/picture_service", 1.5),
    _at_most(2, "time beyond the network's, of (a)'s", "ladder.beyond_network.served_4/picture_service", 1 / 3),
    _at_least(3, "passthrough 1080p ultrafast, of plain PyAV", "passthrough.ultrafast.stream/plain", 0.60),
    _at_least(3, "passthrough 1080p veryfast, of plain PyAV", "passthrough.veryfast.stream/plain", 0.72),
    _at_least(3, "passthrough 1080p medium, of plain PyAV", "passthrough.medium.stream/plain", 0.87),
    _at_least(4, "8 streams, of the best total of fewer", "ladder.served_8/best_of_fewer", 0.95),
    _at_least(4, "slowest of 8 streams, of their mean", "ladder.served_8.fairness", 0.8),
    _at_most(5, "memory of one 1080p passthrough stream, MB", "memory.one_stream", 900),
    _at_most(5, "each further stream beyond its codecs, MB", "memory.further_stream_beyond_codecs", 150),
    _at_most(5, "memory at 10 times the length", "memory.10_times_longer", 1.05),
    _at_most(5, "the client's at 10 minutes, of 1 minute", "memory.client_10_times_longer", 1.05),
    _at_most(6, "ready after, s", "start.ready", 4),
    _at_most(6, "each further service, s", "start.further_service", 1),
    _at_most(6, "first packet, in chunks' work", "latency.first_packet/chunk", 3),
    _at_most(6, "a frame alone, beyond the network's time, ms", "latency.frame_beyond_network", 100),
    _at_least(8, "short clips, of one process", "extraction.served/in_process", 0.9),
    _at_least(
        8, "beyond the network's: pictures at 8 a second by gRPC, of ours", f"{_BEYOND}.picture_service_grpc/served", 3
    ),
    _at_least(8, "the same by HTTP, the fastest we can write", f"{_BEYOND}.picture_service/served", 3),
    _at_most(7, "borders' share of a super_resolution frame", "profile.super_resolution.border_share", 0.15),
)


def checked(measurements: Measurements) -> Iterator[tuple[Target, float, bool]]:
    """(target, median, whether it is met) for each target that was measured."""
    for target in TARGETS:
        if target.measurement in measurements:
            median = measurements[target.measurement].median
            yield target, median, target.is_met(median)
