# SPDX-License-Identifier: MIT
"""`passthrough` at 1080p against a plain decode-and-encode: what serving costs where no network hides it.

    python -m perf.passthrough --presets ultrafast veryfast medium --rounds 7

The plain program is the shortest there is: PyAV in one process, decoded pictures go straight into the encoder, no RGB
in between. Decoder, encoder, their settings and threads are the same.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import av
from av.video.frame import PictureType
from vireo_client import Client
from vireo_media.encoder_options import EncoderOptions
from vireo_server.encoders import ENCODERS
from vireo_server.launching import running_server

from perf.clips import Clip, full_hd_clip
from perf.ladder.codecs import color_tags, pictures
from perf.load import run_streams
from perf.measure import Measurement, Measurements, frames_a_second, in_turn, ratios

PRESETS = ("ultrafast", "veryfast", "medium")


def plain(clip: Clip) -> int:
    """Decode and encode in one process, and how many packets came."""
    encoder = _open(clip)
    count = 0
    for picture in pictures(clip):
        frame = picture.frame
        frame.pts, frame.time_base = picture.pts, encoder.time_base
        # The source's picture types would be taken as orders.
        frame.pict_type = PictureType.NONE
        count += len(encoder.encode(frame))
    return count + len(encoder.encode(None))


def _open(clip: Clip) -> av.VideoCodecContext:
    options = EncoderOptions.from_json(clip.stream.encoder)
    kind = ENCODERS[options.codec]
    context = av.CodecContext.create(kind.name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = clip.stream.width, clip.stream.height, "yuv420p"
    context.time_base, context.framerate = clip.time_base, clip.frame_rate
    context.thread_count = options.threads
    context.options = kind.options(options, color=color_tags(clip), size=(context.width, context.height))
    context.open()
    return context


def measure(url: str, clip: Clip, *, presets: Sequence[str], rounds: int) -> Measurements:
    """Plain, one stream through the service, and one file through the client, in turn, for each preset.

    Args:
        url: gRPC address of a server that serves passthrough.
        clip: what is sent.
        presets: of x264.
        rounds: how often.
    """
    found: Measurements = {}
    with Client(url) as client, tempfile.TemporaryDirectory() as folder:
        run_streams(url, "passthrough", clip.first(8))
        for preset in presets:
            coded = clip.encoded_with({"preset": preset})
            programs = {
                "plain": partial(_speed_plain, coded),
                "stream": partial(_speed_stream, url, coded),
                "file": partial(_speed_file, client, coded, Path(folder) / "result.mp4"),
            }
            speeds = in_turn(programs, rounds=rounds)
            for name, values in speeds.items():
                found[f"passthrough.{preset}.{name}"] = Measurement(
                    values=tuple(values), unit="frames/s", better="higher"
                )
            for name in ("stream", "file"):
                found[f"passthrough.{preset}.{name}/plain"] = Measurement(
                    values=ratios(speeds[name], speeds["plain"]), unit="ratio", better="higher"
                )
    return found


def _speed_plain(clip: Clip) -> float:
    return frames_a_second(clip.frames, lambda: plain(clip))


def _speed_stream(url: str, clip: Clip) -> float:
    return run_streams(url, "passthrough", clip).frames_a_second


def _speed_file(client: Client, clip: Clip, output: Path) -> float:
    run = partial(client.run, "passthrough", clip.path, output, options=clip.chosen_encoder, overwrite=True)
    return frames_a_second(clip.frames, run)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="passthrough against a plain decode-and-encode, at 1080p.")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with running_server(services=["passthrough"]) as server:
        found = measure(server.grpc_url, full_hd_clip(options.frames), presets=options.presets, rounds=options.rounds)
    for name, measurement in found.items():
        print(f"{name:40} {measurement}")


if __name__ == "__main__":
    main()
