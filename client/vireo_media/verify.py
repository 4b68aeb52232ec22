# SPDX-License-Identifier: MIT
"""Comparing a result with its source: frames, their times, and the sound, without decoding either."""

import itertools
import os
from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

from vireo_media.bitstream import is_shown
from vireo_media.container import MediaSource, find_video, media_errors, read_packets
from vireo_media.copying import heard_packets
from vireo_media.errors import FramesLostError
from vireo_media.interpolation import FrameRule
from vireo_media.probing import VideoInput, probe
from vireo_media.segments import decodable_packets
from vireo_media.times import FLAG_DISCARD, UNKNOWN, clock

__all__ = ["Comparison", "check_same", "verify"]

_MILLISECONDS = ("matroska,webm", "flv")
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two files have in common. `differences` are sentences for people; none: nothing was lost.

    `frames_in` and `frames_out` count pictures that are shown; `span_in` and `span_out` are the seconds from the first
    picture's time to the end of the last one.
    """

    frames_in: int
    frames_out: int
    span_in: float
    span_out: float
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Track:
    """Times of the pictures, in ticks and in order; `known` is False where the container has none."""

    times: "array[int]"
    base: Fraction
    end: int
    known: bool


@dataclass(kw_only=True)
class _Sound:
    """One sound: the time of its first packet and a tick in seconds."""

    tick: Fraction
    first: Fraction = Fraction(0)
    packets: int = 0
    bytes: int = 0


def verify(
    input: str | os.PathLike[str] | bytes | BinaryIO | MediaSource,  # noqa: A002 - the word every tool here uses
    output: str | os.PathLike[str] | bytes | BinaryIO | MediaSource,
    *,
    same_frames: bool = True,
    rule: FrameRule | None = None,
    with_sound: bool = True,
) -> Comparison:
    """Compare a result with its source, packet by packet.

    Every picture of `input` must be in `output` at its own time, to half a tick of the coarser time base, all of them
    moved by one amount at most, and the sound with them. With a `rule` (a service that makes pictures between the
    sources) the output must have a picture at each of its times instead; with `same_frames` False only the time span
    and the sound are compared. `with_sound` False leaves the sound out. Raises InputError where one of them cannot be
    read.
    """
    before, after = _video(input), _video(output)
    old, new = _track(before, sent=True), _track(after, sent=False)
    tolerance = max(_tick(before, old), _tick(after, new))
    differences: list[str] = []
    span_in, span_out = _span(old), _span(new)
    if rule is not None and old.times:
        differences += _ruled(old, new, rule, tolerance)
    elif same_frames:
        differences += _compared(old, new, tolerance)
    if abs(span_in - span_out) > max(tolerance, _longest(old)) + Fraction(1, 1000):
        differences.append(f"the output lasts {float(span_out):.3f} s, the source {float(span_in):.3f} s")
    if with_sound and old.known and new.known and old.times and new.times:
        differences += _sound(before, after, old.times[0] * old.base, new.times[0] * new.base, tolerance)
    return Comparison(
        frames_in=len(old.times),
        frames_out=len(new.times),
        span_in=float(span_in),
        span_out=float(span_out),
        differences=tuple(differences),
    )


def check_same(comparison: Comparison, *, name: str) -> None:
    """Raise FramesLostError where a comparison found a difference. `name` is what the message calls the output."""
    if comparison.differences:
        raise FramesLostError(
            f"output {name!r}: {'; '.join(comparison.differences)}; allowed is every frame at its own time; this is a "
            "fault of ours or of the service: keep both files and report it"
        )


def _compared(old: _Track, new: _Track, tolerance: Fraction) -> list[str]:
    if len(old.times) != len(new.times):
        return [f"{len(new.times)} frames are in the output, of {len(old.times)}"]
    return _moved(old, new, tolerance) if old.known and new.known else []


def _ruled(old: _Track, new: _Track, rule: FrameRule, tolerance: Fraction) -> list[str]:
    """How the pictures of `new` differ from those that a rule makes of `old`."""
    base = rule.time_base(old.base)
    times = list(rule.times(old.times, last_duration=old.end - old.times[-1], base=old.base))
    if rule.cuts == "empty" and old.known and new.known:
        times = _without_empty(times, base, new, tolerance)
    ticks = array("q", [tick for tick, _ in times])
    return _compared(_Track(times=ticks, base=base, end=0, known=old.known), new, tolerance)


def _without_empty(
    times: list[tuple[int, bool]], base: Fraction, new: _Track, tolerance: Fraction
) -> list[tuple[int, bool]]:
    """The times less those between sources at which `new` has no picture: a scene may end there."""
    found = [at * new.base - new.times[0] * new.base for at in new.times]
    kept, place = [], 0
    for tick, is_source in times:
        at = (tick - times[0][0]) * base
        while place < len(found) and found[place] < at - tolerance:
            place += 1
        if is_source or (place < len(found) and found[place] <= at + tolerance):
            kept.append((tick, is_source))
    return kept


def _video(file: Any) -> VideoInput:
    if not isinstance(file, MediaSource):
        is_playlist = isinstance(file, str | os.PathLike) and os.fspath(file).endswith(".m3u8")
        file = MediaSource(file, playlist=is_playlist)
    return probe(file)


def _track(video: VideoInput, *, sent: bool) -> _Track:
    stream = video.description
    packets = decodable_packets(video.source, stream) if sent else read_packets(video.source)
    times, end, known = array("q"), 0, True
    for packet in packets:
        if packet.flags & FLAG_DISCARD or not is_shown(stream.codec, packet.data):
            continue
        at = packet.pts if packet.pts != UNKNOWN else packet.dts
        known = known and at != UNKNOWN
        times.append(at if at != UNKNOWN else end)  # A bare stream has no times: one picture after the other.
        end = max(end, times[-1] + packet.duration) if len(times) > 1 else times[-1] + packet.duration
    return _Track(times=array("q", sorted(times)), base=Fraction(*stream.time_base), end=end, known=known)


def _span(track: _Track) -> Fraction:
    return (track.end - track.times[0]) * track.base if track.times else Fraction(0)


def _longest(track: _Track) -> Fraction:
    """The longest pause between two pictures: what a container without durations cannot say of the last one."""
    pairs = itertools.pairwise(track.times)
    only = track.end - track.times[0] if track.times else 0
    return max((later - earlier for earlier, later in pairs), default=only) * track.base


def _tick(video: VideoInput, track: _Track) -> Fraction:
    return max(track.base, Fraction(1, 1000)) if video.container in _MILLISECONDS else track.base


def _moved(old: _Track, new: _Track, tolerance: Fraction) -> list[str]:
    shift = new.times[0] * new.base - old.times[0] * old.base
    moved = [
        (was * old.base, now * new.base - was * old.base - shift)
        for was, now in zip(old.times, new.times, strict=True)
        if abs(now * new.base - was * old.base - shift) > tolerance
    ]
    if not moved:
        return []
    named = ", ".join(f"{clock(at)} by {float(by):+.4f} s" for at, by in moved[:_MOST_NAMED])
    more = f" and {len(moved) - _MOST_NAMED} more" if len(moved) > _MOST_NAMED else ""
    return [f"{len(moved)} frames are at another time: {named}{more}"]


def _sound(before: VideoInput, after: VideoInput, began: Fraction, begins: Fraction, tolerance: Fraction) -> list[str]:
    """Sounds that are in both files, track by track: packets in number, and their distance from the picture."""
    differences = []
    old, new = _sounds(before), _sounds(after)
    if any(was.packets != now.packets for was, now in zip(old, new, strict=False)):
        # What an edit list hides is left out.
        old = _sounds(before, heard=True)
    if len(new) < len(old):
        differences.append(f"{len(new)} sounds are in the output, of {len(old)}")
    for place, (was, now) in enumerate(zip(old, new, strict=False)):
        # PCM has no packets of its own: each container cuts it where it likes.
        if was.packets != now.packets and was.bytes != now.bytes:
            differences.append(f"sound {place} has {now.packets} packets, of {was.packets}")
        drift = (now.first - begins) - (was.first - began)
        if abs(drift) > tolerance + max(was.tick, now.tick):
            differences.append(f"sound {place} is {float(drift):+.4f} s off the picture")
    return differences


def _sounds(video: VideoInput, *, heard: bool = False) -> list[_Sound]:
    """Every sound, in the file's order; `heard`: less what an edit list hides."""
    with video.source.open() as container, media_errors(video.source.name, "reading"):
        find_video(container, video.source.name)
        sounds = {stream.index: _Sound(tick=stream.time_base or Fraction(1)) for stream in container.streams.audio}
        packets = container.demux(*container.streams.audio) if sounds else iter(())
        for packet in heard_packets(packets) if heard else packets:
            if packet.size:
                sound = sounds[packet.stream_index]
                if not sound.packets and packet.pts is not None:
                    sound.first = packet.pts * sound.tick
                sound.packets += 1
                sound.bytes += packet.size
    return list(sounds.values())
