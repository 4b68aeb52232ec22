# SPDX-License-Identifier: MIT
"""Memory at 1080p `passthrough`: one stream, each further one, and ten times the length; of the client, too.

    python -m perf.memory --streams 1 2 4

PSS of tritonserver and all its stages, at its peak. What a stream's decoder and encoder hold by themselves is measured
beside it: pictures that a codec keeps are the codec's business, whoever runs it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vireo_server.launching import RunningServer, running_server

from perf.clips import Clip, full_hd_clip, tiny_clip
from perf.load import run_streams
from perf.machine import ROOT
from perf.measure import Measurement, Measurements, say
from perf.processes import Usage, pss_bytes, watched

_SERVICE = "passthrough"
_VIREO = Path(sys.executable).with_name("vireo")
_LOOK_SECONDS = 0.02


def measure(server: RunningServer, clip: Clip, *, streams: Sequence[int], times_longer: int = 10) -> Measurements:
    """Load a fresh server, which shared memory has not grown in yet, and look at its peaks.

    Args:
        server: serves passthrough and nothing else.
        clip: what each stream sends.
        streams: how many at once, in ascending order, from 1.
        times_longer: how much longer the long stream is.
    """
    first = _peak(server, clip, streams=streams[0])
    peaks = {streams[0]: first.peak_bytes}
    say(f"  {streams[0]} streams: {first.peak_bytes / 1e6:.0f} MB")
    # Before more streams come: what they leave behind would hide that a long one takes more.
    long = _peak(server, clip.repeated(times_longer), streams=streams[0]).peak_bytes
    say(f"  {times_longer} times the length: {long / 1e6:.0f} MB")
    for count in streams[1:]:
        peaks[count] = _peak(server, clip, streams=count).peak_bytes
        say(f"  {count} streams: {peaks[count] / 1e6:.0f} MB")
    codecs = codec_bytes(clip)
    found = {
        "memory.one_stream": Measurement(values=(first.peak_bytes / 1e6,), unit="MB", better="lower"),
        "memory.codecs_of_a_stream": Measurement(values=(codecs / 1e6,), unit="MB", better="lower"),
        f"memory.{times_longer}_times_longer": Measurement(
            values=(long / first.peak_bytes,), unit="ratio", better="lower"
        ),
    }
    for name, size in {**first.peak_by_stage, "shared": first.peak_shared_bytes}.items():
        found[f"memory.one_stream.{name}"] = Measurement(values=(size / 1e6,), unit="MB", better="lower")
    if len(streams) > 1:
        further = (peaks[streams[-1]] - peaks[streams[0]]) / (streams[-1] - streams[0])
        found["memory.further_stream"] = Measurement(values=(further / 1e6,), unit="MB", better="lower")
        found["memory.further_stream_beyond_codecs"] = Measurement(
            values=((further - codecs) / 1e6,), unit="MB", better="lower"
        )
    return found


def _peak(server: RunningServer, clip: Clip, *, streams: int) -> Usage:
    with watched(server, memory=True) as usage:
        run_streams(server.grpc_url, _SERVICE, clip, streams=streams)
    return usage


def measure_client(server: RunningServer, *, frames: int, times_longer: int = 10) -> Measurements:
    """`vireo run` on a small video and one ten times as long: the peaks of the client and of the server.

    Args:
        server: serves passthrough.
        frames: of the short video.
        times_longer: how much longer the long one is.
    """
    clients, servers = [], []
    for clip in (tiny_clip(frames), tiny_clip(times_longer * frames)):
        with watched(server, memory=True) as usage:
            clients.append(_client_peak(server.grpc_url, clip))
        servers.append(usage.peak_bytes)
        say(f"  {clip.frames} frames: client {clients[-1] / 1e6:.1f} MB, server {servers[-1] / 1e6:.1f} MB")
    found = {"memory.client": Measurement(values=(clients[0] / 1e6,), unit="MB", better="lower")}
    for name, (short, long) in (("client", clients), ("server", servers)):
        found[f"memory.{name}_{times_longer}_times_longer"] = Measurement(
            values=(long / short,), unit="ratio", better="lower"
        )
    return found


def _client_peak(url: str, clip: Clip) -> int:
    """The most that `vireo run` held."""
    peak = 0
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "output.mp4")
        command = [str(_VIREO), "run", _SERVICE, str(clip.path), output, "--url", url, "--quiet"]
        with subprocess.Popen(command) as client:
            while client.poll() is None:
                # The process may end while it is looked at.
                with suppress(OSError, ValueError):
                    peak = max(peak, pss_bytes(client.pid))
                time.sleep(_LOOK_SECONDS)
    if client.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {client.returncode}")
    return peak


def codec_bytes(clip: Clip) -> float:
    """What a decoder and an encoder that have worked on `clip` hold, in a process of their own."""
    command = [sys.executable, "-m", "perf.memory", "--codecs-of", str(clip.path), str(clip.frames)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _hold_codecs(clip: Clip) -> float:
    """Bytes that each further pair of codecs adds to this process."""
    from vireo_server.decoder import Decoder

    from perf.ladder.codecs import frames_of, numbers, open_encoder

    held = []

    def hold() -> int:
        decoder, encoder = Decoder(clip.stream, threads=1), open_encoder(clip, scale=1)
        for packet in clip.packets:
            for picture in decoder.decode(packet.data, numbers(packet)):
                encoder.encode(frames_of([picture])[0], pts=picture.pts, duration=picture.duration)
        held.append((decoder, encoder))
        return pss_bytes(os.getpid())

    # The first pair brings libraries and tables that all share.
    sizes = [hold() for _ in range(3)]
    return (sizes[-1] - sizes[0]) / (len(sizes) - 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Memory of passthrough at 1080p.")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--client-frames", type=int, default=1500, help="of the short video for the client")
    parser.add_argument("--codecs-of", nargs=2, metavar=("FILE", "FRAMES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.codecs_of:
        from perf.clips import load_clip

        path, frames = options.codecs_of
        print(_hold_codecs(load_clip(Path(path)).first(int(frames))))
        return
    with running_server(services=[_SERVICE]) as server:
        found = measure(server, full_hd_clip().first(options.frames), streams=options.streams)
        found |= measure_client(server, frames=options.client_frames)
    for name, measurement in found.items():
        print(f"{name:40} {measurement}")


if __name__ == "__main__":
    main()
