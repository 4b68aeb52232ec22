# SPDX-License-Identifier: MIT
"""All rungs of the ladder in turn, and whether they did the same work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Protocol

from vireo_server.launching import RunningServer

from perf.clips import NETWORK, Clip
from perf.ladder.codecs import Coded
from perf.ladder.network_alone import NetworkAlone
from perf.ladder.picture_service import PictureService
from perf.ladder.pipelined import Pipelined
from perf.ladder.sequential import Sequential
from perf.ladder.served import OneFile, Streams
from perf.load import Load
from perf.measure import Measurement, Measurements, in_turn, ratios, say
from perf.processes import watched

RUNGS = {
    "picture_service": "(a) picture service: RGB over gRPC, one by one",
    "picture_service_4": "(a) with 4 requests in flight",
    "sequential": "(b) one process, one thread",
    "sequential_8": "(c) the same, batches of 8",
    "pipelined": "(d) one process, pipelined threads: the in-process limit",
    "served_1": "(e) our ensemble, 1 stream",
    "served_2": "(e) our ensemble, 2 streams",
    "served_4": "(e) our ensemble, 4 streams",
    "served_8": "(e) our ensemble, 8 streams",
    "one_file": "(f) our ensemble, one file, segments in parallel",
    "pipelined_file": "(d) on that whole file",
    "network_alone": "floor: the network alone",
}
"""What each rung is, in the words of the README's table."""

_WHOLE = ("one_file", "pipelined_file")
"""These take the clip's whole file, whose other pictures cost another time: they are compared with each other."""


def limit_of(rung: str) -> str:
    """The rung (d) that has the same work to do."""
    return "pipelined_file" if rung in _WHOLE else "pipelined"


class Rung(Protocol):
    """A program that enlarges a clip."""

    def run(self, clip: Clip) -> Coded:
        """Work through the clip."""


def measure(server: RunningServer, clip: Clip, *, frames: int, rounds: int, streams: Sequence[int]) -> Measurements:
    """Run all rungs in turn: frames/s, and the processor time that a frame costs, client and server together.

    Args:
        server: serves super_resolution.
        clip: what is enlarged.
        frames: how many of its frames a stream is; (f) takes the whole file.
        rounds: how often.
        streams: how many streams at once, for (e).
    """
    part, url = clip.first(frames), server.grpc_url
    cpu: dict[str, list[float]] = {}
    with ExitStack() as stack:
        served = {count: Streams(url, streams=count) for count in streams}
        pipelined = Pipelined(clip, network=NETWORK)
        rungs: dict[str, Rung] = {
            "picture_service": stack.enter_context(closing(PictureService(url, in_flight=1))),
            "picture_service_4": stack.enter_context(closing(PictureService(url, in_flight=4))),
            "sequential": Sequential(clip, network=NETWORK, batch=1),
            "sequential_8": Sequential(clip, network=NETWORK, batch=8),
            "pipelined": pipelined,
            **{f"served_{count}": rung for count, rung in served.items()},
            "one_file": stack.enter_context(closing(OneFile(url))),
            "pipelined_file": pipelined,
            "network_alone": NetworkAlone(clip, network=NETWORK),
        }
        _warm_up(rungs, clip)
        programs = {
            name: partial(_speed, rung, clip if name in _WHOLE else part, server, cpu.setdefault(name, []))
            for name, rung in rungs.items()
        }
        speeds = in_turn(programs, rounds=rounds)
    found = _measurements(speeds, streams)
    for count, rung in served.items():
        # The warm-up's, a few frames long, comes first.
        found |= _seen_by_streams(f"ladder.served_{count}", rung.loads[-rounds:])
    for name, values in cpu.items():
        found[f"ladder.{name}.cpu"] = Measurement(values=tuple(values), unit="ms", better="lower")
    return found


def _speed(rung: Rung, clip: Clip, server: RunningServer, cpu: list[float]) -> float:
    """Frames/s; what a frame cost, in ms, goes into `cpu`."""
    with watched(server) as usage:
        started = time.perf_counter()
        frames = rung.run(clip).frames
        seconds = time.perf_counter() - started
    cpu.append(1000 * usage.cpu_total / frames)
    return frames / seconds


def _seen_by_streams(rung: str, loads: Sequence[Load]) -> Measurements:
    """What a caller with one of the streams sees: fairness, its first packet, and how evenly packets come."""

    def milliseconds(seconds: Iterable[float]) -> Measurement:
        return Measurement(values=tuple(1000 * value for value in seconds), unit="ms", better="lower")

    fairness = tuple(load.fairness for load in loads)
    return {
        f"{rung}.fairness": Measurement(values=fairness, unit="ratio", better="higher"),
        f"{rung}.first_packet": milliseconds(load.first_packet_seconds for load in loads),
        f"{rung}.gap_median": milliseconds(load.gap_seconds(50) for load in loads),
        f"{rung}.gap_95_percent": milliseconds(load.gap_seconds(95) for load in loads),
    }


def _warm_up(rungs: dict[str, Rung], clip: Clip) -> None:
    """Compile what is compiled at first use, and see that every rung's pictures are the same to the bit."""
    few = clip.first(16)
    coded = {name: rung.run(few) for name, rung in rungs.items() if name not in _WHOLE}
    wrong = {name: one.digests for name, one in coded.items() if one.digests - coded["sequential"].digests}
    # A batch in one call may be summed in another order, which moves a sample in a million by one.
    wrong.pop("sequential_8", None)
    if wrong:
        raise AssertionError(f"these rungs gave other bytes than 'sequential': {', '.join(wrong)}")
    say("  all rungs give the same bytes")


def _measurements(speeds: dict[str, list[float]], streams: Sequence[int]) -> Measurements:
    found = {
        f"ladder.{name}": Measurement(values=tuple(values), unit="frames/s", better="higher")
        for name, values in speeds.items()
    }

    def ratio(name: str, values: Sequence[float]) -> None:
        found[f"ladder.{name}"] = Measurement(values=tuple(values), unit="ratio", better="higher")

    most = f"served_{max(streams)}"
    target = "served_4" if "served_4" in speeds else most
    for name in (target, "one_file"):
        ratio(f"{name}/pipelined", ratios(speeds[name], speeds[limit_of(name)]))
        for other in ("picture_service", "picture_service_4"):
            ratio(f"{name}/{other}", ratios(speeds[name], speeds[other]))
            found[f"ladder.beyond_network.{name}/{other}"] = Measurement(
                values=tuple(
                    (1 / own - 1 / floor) / (1 / service - 1 / floor)
                    for own, service, floor in zip(speeds[name], speeds[other], speeds["network_alone"], strict=True)
                ),
                unit="ratio",
                better="lower",
            )
    fewer = [max(values) for values in zip(*(speeds[f"served_{n}"] for n in streams if n < max(streams)), strict=True)]
    if fewer:
        ratio(f"{most}/best_of_fewer", ratios(speeds[most], fewer))
    return found
