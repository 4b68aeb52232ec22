# SPDX-License-Identifier: MIT
"""Short videos: `shot_classification` and `features` on 100 clips, against one process and against a picture service.

    python -m perf.extraction --clips 100 --rounds 5

- *in process*: what is left without any serving. One thread a core takes clip after clip: PyAV decodes, the service's
  own code samples, converts and makes windows, OpenVINO computes. The answers are compared: they are the same bits.
- *picture service*: the client decodes and sends each sampled picture by itself, RGB, UINT8, over HTTP on a connection
  that stays open; the server makes it small with our kernel and runs the network, in one process. Exactly the pictures
  that the service samples, and the same bits for an answer.
- *picture service over gRPC*: the same by tritonclient's other client, which is what most write.
- *small pictures*: over HTTP, but the client knows the network so well that it makes its 96x96 pictures itself.
- *decoding*: what such a client decodes, and nothing else.
- *stage alone*: what the service decodes and makes small of the same packets, and nothing else; it bounds the ratio.

For the picture services the time of the network itself is taken off both sides: what it takes by itself for the same
pictures in the same batches, which are single pictures there and a whole clip here. All clients open a file alike.

# Note [What a picture service is here]
What a competitor would write and get the same numbers from. Over gRPC, as in the ladder (perf/ladder), the same client
needs 450 to 490 ms of processor time a clip at rate=8 instead of 300: tritonclient copies a picture of 2.8 MB more
often, and the kernel is asked for memory each time. Both are measured: a ratio to gRPC alone would be one to what a
competitor can mend in a line. A resize of four neighbours inside the network's graph saves 25 ms of 100 in the server,
but its embeddings are others (cosine 0.995 at worst): that is not what is compared with.

# Note [What bounds the ratio to a picture service]
Both sides decode, and of what the service does beyond its network half is decoding, most of the rest making pictures
small with every pixel counted. So the fewer frames are sampled, the more of both is decoding, and of key frames alone
there is little that need not be sent. `rate=8` is what shot_classification and video_tags look at, and has the
project's goal; `rate=2` and `key` are measured beside it. That `rate=2` gains at all beyond what is not sent comes from
packets that are left undecoded (Note [What sampling need not decode] in vireo_server/skipping.py).

On two cores at 720p a clip takes, beyond the network (16 clips, 3 rounds, ms: picture service, served, stage alone):
rate=8 250, 111, 106; rate=2 130, 68, 58; key 21, 21, 12. So were all serving free (client, Triton, what goes between
processes), the ratios were 2.3, 2.3 and 1.8 instead of 2.3, 1.9 and 1.0. At rate=8 the stage takes 178 ms of processor
time a clip, 89 on two cores where nothing else runs, and that alone is a ratio of 2.8: 94 decode 67 frames of 100, 57
make 32 pictures small, 10 lay them out as NV12 before, some 10 are Python. Three times would be 83 for everything.
`make perf` of the same day, another machine, rate=8: 2.0 over HTTP, 2.1 over gRPC, 2.3 were serving free.

# Note [What was tried for short clips]
Kept, in processor time a clip of 100 frames at 720p on two cores: decoding only what a sampled frame needs (of 105 ms
31 less at rate=8, 51 at rate=2); no export of quantisers, which nobody asked for (8); decode and preprocess in one
process, with one request for up to 128 packets instead of four (226 ms became 179 at rate=8: a frame is 1.4 MB); a
client that decodes no picture to learn what the headers say, and opens MP4 without libavformat's own look (28 became
11).
Since then: pictures are made small with a faster transposition (a frame to 96x96 in 1.78 ms instead of 1.96), and
the client asks one question less (0.5). The three colours of a pixel come from one loop that multiplies its luma once:
in three loops that gained nothing, in one RGB of 720p takes 0.61 ms instead of 0.73, and 16 bit of P010 1.4 instead of
1.9.
Without gain: 512-bit vectors, sums along rows without a transposition, more than four weights at a time, pictures made
small one by one while the cache still has them.
Without gain worth its code: sums of two samples at a time by vpdpwssd (0.25 ms of 1.7 a picture; LLVM finds it by its
x86 name alone), pictures made small from the decoder's planes without NV12 between (at most 15 ms of 178 a clip, and
every kernel and stage would have two kinds of frames).
Without gain worth its risk: configurations kept in the client (0.5 a question, and a revision could be missed).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from av.video.frame import PictureType
from vireo_client import Client
from vireo_media.container import MediaSource, read_packets
from vireo_media.probing import probe
from vireo_media.sampling import Sampler, Sampling
from vireo_server import tags
from vireo_server.decode_preprocess import DecodePreprocessStage
from vireo_server.decoded_picture import layout_of, write_row
from vireo_server.formats import Format, frame_shape
from vireo_server.launching import RunningServer, running_server
from vireo_server.pictures import make_pictures
from vireo_server.runtimes import Runtime, load_runtime
from vireo_server.sequences import Streams
from vireo_server.settings import DecodePreprocessSettings, PreprocessSettings
from vireo_server.windows import Windows
from vireo_server.wire import LocalRequest, Tensors
from vireo_training.camera_motion import MOTIONS, draw_camera, film
from vireo_training.photographs import load, photographs_for

from perf.clips import ROOT
from perf.ladder.network import CORES
from perf.measure import Measurement, Measurements, in_turn, ratios, say
from perf.targets import checked

SHOTS = PreprocessSettings(size="64x64", channels="luma", rotation="upright", window=8, stride=4)
PICTURES = PreprocessSettings(size="96x96", rotation="upright")
"""As in the configurations of shot_classification_decode and features_decode."""

PICTURE_SERVICE = "picture_service"

_MADE = ROOT / ".cache" / "perf" / "shots"
SAMPLES = ("rate=8", "rate=2", "key")
_AT_ONCE = 2 * CORES
"""Clips under way at once, of the served ones and of the picture service's."""
_MOST_PACKETS = 1000
"""Of a clip."""

_WITHOUT = {
    "served": "network",
    "small_pictures": "network_on_single_pictures",
    "picture_service": "network_on_single_pictures",
    "picture_service_grpc": "network_on_single_pictures",
}
"""Each way that the network is part of, and what the network takes by itself for the same batches."""

Pictures = npt.NDArray[np.uint8]
Answers = npt.NDArray[np.float32]


def make_shots(count: int, *, size: tuple[int, int] = (1280, 720), frames: int = 100) -> list[Path]:
    """Clips of 4 s at 25 frames a second, H.264 as phones write it: a virtual camera over photographs."""
    _MADE.mkdir(parents=True, exist_ok=True)
    photographs, random, paths = [load(each) for each in photographs_for("held_out")], np.random.default_rng(5), []
    for number in range(min(count, len(MOTIONS))):
        path = _MADE / f"{size[0]}x{size[1]}-{frames}-{number}.mp4"
        camera, photograph = draw_camera(MOTIONS[number], random), photographs[number % len(photographs)]
        if not path.exists():
            half = (size[0] // 2, size[1] // 2)  # drawn at half its size: drawing is what takes long here
            _write(path, film(photograph, camera, np.arange(frames) / 25, size=half), size)
        paths.append(path)
    return [paths[number % len(paths)] for number in range(count)]


def _write(path: Path, frames: Pictures, size: tuple[int, int]) -> None:
    unfinished = path.with_suffix(".unfinished")
    with av.open(str(unfinished), "w", format="mp4") as container:
        options = {"preset": "veryfast", "crf": "22", "x264-params": "keyint=50:min-keyint=50:scenecut=0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(*size, format="yuv420p")
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    unfinished.rename(path)


def sampled(path: Path, sample: str, settings: PreprocessSettings) -> Iterator[tuple[Pictures, npt.NDArray[np.int64]]]:
    """The pictures of one clip that a service would make, (1, C, H, W), each with its row of TIMING."""
    source = MediaSource(path)
    stream = probe(source, for_numbers=True).description
    sampler = Sampler(Sampling.parse(sample), time_base=Fraction(*stream.time_base))
    color = tags.resolve(stream.color, width=stream.width, height=stream.height, codec=stream.codec)
    format: Format = replace(tags.NOTHING, width=stream.width, height=stream.height, color=color)
    row = np.empty((1, *frame_shape(width=stream.width, height=stream.height, pixel_format="nv12")), np.uint8)
    with source.open(quick=True) as container:
        video = container.streams.video[0]
        video.thread_count = 1
        for packet in container.demux(video):
            if not sampler.wants_packet(int(packet.is_keyframe)) and packet.size:
                continue
            for frame in packet.decode():
                if sampler.rows(frame.pts):
                    assert layout_of(frame.format.name)[0] == "nv12"
                    write_row(frame, row[0])
                    times = np.array([frame.pts, frame.duration, 0, 0], np.int64)
                    yield make_pictures(row, format, settings), times


def in_process(paths: Sequence[Path], network: Runtime) -> list[Answers]:
    """Camera motion of each clip, one thread a core."""

    def classify(path: Path) -> Answers:
        windows, rows = Windows(SHOTS), []
        for picture, times in sampled(path, "rate=8", SHOTS):
            rows += windows.push(picture, times[None], end=False)[0]
        rows += windows.push(np.empty((0, 1, 64, 64), np.uint8), np.empty((0, 4), np.int64), end=True)[0]
        return np.asarray(next(iter(network.run([np.stack(rows)]))))

    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(classify, paths))


def served(client: Client, paths: Sequence[Path], service: str, result: str, **options: str) -> list[Answers]:
    """The same by a service, some clips at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda path: client.extract(service, path, options=options), paths)
        return [np.asarray(extraction.results[result]) for extraction in found]


def picture_service(
    url: str, paths: Sequence[Path], sample: str, *, whole: bool, api: Any = httpclient
) -> list[Answers]:
    """Embeddings of each clip's sampled pictures, each sent by itself: as it is decoded, or as the network takes it.

    `api` is one of tritonclient's two, whose names are the same.
    """
    settings = PreprocessSettings() if whole else PICTURES
    model = PICTURE_SERVICE if whole else "features_network"

    def embed(path: Path) -> Answers:
        answers = []
        with api.InferenceServerClient(url) as connection:
            for picture, _ in sampled(path, sample, settings):
                tensor = api.InferInput("INPUT", list(picture.shape), "UINT8")
                tensor.set_data_from_numpy(picture)
                answers.append(connection.infer(model, [tensor]).as_numpy("OUTPUT"))
        return np.concatenate(answers)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(embed, paths))


def repository_with_picture_service(folder: Path) -> Path:
    """A copy of the shipped repository with one more model: the network of `features` for pictures of any size, which
    are made small in the same process, as many processes as there are cores.
    """
    repository = folder / "model_repository"
    shutil.copytree(ROOT / "model_repository", repository)
    target, network = repository / PICTURE_SERVICE, repository / "features_network" / "1" / "model.onnx"
    (target / "1").mkdir(parents=True)
    shutil.copy(network, target / "1")
    shutil.copy(Path(__file__).with_name("picture_model.py"), target / "1" / "model.py")
    (target / "config.pbtxt").write_text(
        f'name: "{PICTURE_SERVICE}"\nbackend: "python"\nmax_batch_size: 1\n'
        'input [ { name: "INPUT" data_type: TYPE_UINT8 dims: [ 3, -1, -1 ] } ]\n'
        'output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 64 ] } ]\n'
        f"instance_group [ {{ count: {CORES} kind: KIND_CPU }} ]\n",
        encoding="utf-8",
    )
    return repository


def decoding(paths: Sequence[Path], sample: str) -> None:
    """What a client of a picture service decodes, one thread a core."""

    def decode(path: Path) -> None:
        with MediaSource(path).open(quick=True) as container:
            video = container.streams.video[0]
            video.thread_count = 1
            for packet in container.demux(video):
                if sample != "key" or packet.is_keyframe or not packet.size:
                    packet.decode()

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(decode, paths))


def stage_alone(paths: Sequence[Path], sample: str) -> None:
    """The decode stage of `features` by itself, packets to small pictures in this process, one thread a core."""
    settings = DecodePreprocessSettings(size=PICTURES.size, rotation=PICTURES.rotation, max_packets=_MOST_PACKETS)

    def make_small(path: Path) -> None:
        source = MediaSource(path)
        stream = replace(probe(source, for_numbers=True).description, decoder={"sample": sample})
        sampler = Sampler(Sampling.parse(sample), time_base=Fraction(*stream.time_base))
        packets = [packet for packet in read_packets(source) if sampler.wants_packet(packet.flags)]
        tensors: Tensors = {
            "STREAM": stream.to_json(),
            "PACKETS": [packet.data for packet in packets],
            "PACKET_TIMING": np.array([packet[1:] for packet in packets], np.int64),
        }
        stage = DecodePreprocessStage(settings, streams)
        request = LocalRequest(tensors, start=True, end=True, stage="decode")
        stage.open(request)
        stage.step(request)
        stage.close()

    streams = Streams(lambda: DecodePreprocessStage(settings, streams), name="stage_alone", idle_seconds=60)
    with closing(streams), ThreadPoolExecutor(CORES) as pool:
        list(pool.map(make_small, paths))


def network_alone(network: Runtime, batches: Iterable[int]) -> None:
    """The network by itself, all cores at it, on batches of so many pictures each."""

    def compute(count: int) -> None:
        next(iter(network.run([np.zeros((count, 3, 96, 96), np.uint8)])))

    with ThreadPoolExecutor(CORES) as pool:  # a single picture keeps only one core busy
        list(pool.map(compute, batches))


def measure(
    *,
    clips: int,
    rounds: int,
    frames: int = 100,
    size: tuple[int, int] = (1280, 720),
    samples: Sequence[str] = SAMPLES,
    one_process: bool = True,
) -> Measurements:
    """Clips a second of the three ways, and the time a clip beyond the network's own, in turn, on a server of its own.

    Args:
        clips: how many; the same ones come again after the first few.
        rounds: of each comparison.
        frames: of each clip.
        size: width and height.
        samples: which frames the picture services and `features` look at.
        one_process: whether `shot_classification` is compared with one process too.
    """
    paths = make_shots(clips, size=size, frames=frames)
    say(f"{clips} clips of {frames} frames, {size[0]}x{size[1]}")
    found: Measurements = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            repository=repository_with_picture_service(Path(folder)),
            services=["shot_classification", "features", PICTURE_SERVICE],
        ) as server,
        Client(server.grpc_url) as client,
    ):
        if one_process:
            found |= _beside_one_process(client, paths, rounds=rounds)
        for sample in samples:
            found |= _beside_pictures(client, server, paths, sample, rounds=rounds)
    return found


def _beside_one_process(client: Client, paths: Sequence[Path], *, rounds: int) -> Measurements:
    network = _network("shot_classification_network")

    def shot(paths: Sequence[Path]) -> list[Answers]:
        return served(client, paths, "shot_classification", "CAMERA_MOTION")

    # Once, so that everything is compiled; and the answers are the same.
    different = list(dict.fromkeys(paths))
    for ours, theirs in zip(shot(different), in_process(different, network), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ways = {"served": _clips(paths, shot), "in_process": _clips(paths, lambda paths: in_process(paths, network))}
    speeds = in_turn(ways, rounds=rounds)
    found = {
        f"extraction.{name}": Measurement(values=tuple(values), unit="clips/s", better="higher")
        for name, values in speeds.items()
    }
    share = ratios(speeds["served"], speeds["in_process"])
    found["extraction.served/in_process"] = Measurement(values=share, unit="ratio", better="higher")
    return found


def _beside_pictures(
    client: Client, server: RunningServer, paths: Sequence[Path], sample: str, *, rounds: int
) -> Measurements:
    network, different = _network("features_network"), list(dict.fromkeys(paths))
    ways: dict[str, Callable[[Sequence[Path]], Any]] = {
        "served": lambda paths: served(client, paths, "features", "EMBEDDING", sample=sample),
        "picture_service": lambda paths: picture_service(server.http_url, paths, sample, whole=True),
        "picture_service_grpc": lambda paths: picture_service(
            server.grpc_url, paths, sample, whole=True, api=grpcclient
        ),
        "small_pictures": lambda paths: picture_service(server.http_url, paths, sample, whole=False),
        "decoding": lambda paths: decoding(paths, sample),
        "stage_alone": lambda paths: stage_alone(paths, sample),
    }
    answers = {name: ways[name](different) for name in _WITHOUT}
    for ours, *theirs in zip(*answers.values(), strict=True):
        for same in theirs:
            np.testing.assert_array_equal(ours, same)
    counts = {path: len(rows) for path, rows in zip(different, answers["served"], strict=True)}
    ways["network"] = lambda paths: network_alone(network, (counts[path] for path in paths))
    ways["network_on_single_pictures"] = lambda paths: network_alone(network, [1] * sum(counts[path] for path in paths))
    for name in set(_WITHOUT.values()):
        ways[name](different)
    times = in_turn({name: _milliseconds(paths, work) for name, work in ways.items()}, rounds=rounds)
    found = {
        f"extraction.{sample}.{name}": Measurement(values=tuple(values), unit="ms a clip", better="lower")
        for name, values in times.items()
    }
    beyond = {
        name: [max(value - network, 1e-3) for value, network in zip(times[name], times[without], strict=True)]
        for name, without in _WITHOUT.items()
    }
    beyond["stage_alone"] = times["stage_alone"]
    pairs = [(name, "served") for name in _WITHOUT if name != "served"]
    for name, of in (*pairs, ("picture_service", "stage_alone")):
        found[f"extraction.{sample}.beyond_network.{name}/{of}"] = Measurement(
            values=ratios(beyond[name], beyond[of]), unit="ratio", better="higher"
        )
    return found


def _network(name: str) -> Runtime:
    return load_runtime("openvino", ROOT / "model_repository" / name / "1" / "model.onnx", threads=CORES)


def _clips(paths: Sequence[Path], work: Callable[[Sequence[Path]], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        work(paths)
        return len(paths) / (time.perf_counter() - began)

    return run


def _milliseconds(paths: Sequence[Path], work: Callable[[Sequence[Path]], object]) -> Callable[[], float]:
    return lambda: 1000 / _clips(paths, work)()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Extraction of short clips, against one process and pictures.")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--samples", nargs="*", default=SAMPLES)
    parser.add_argument("--pictures-only", action="store_true", help="no comparison with one process")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    found = measure(
        clips=options.clips,
        rounds=options.rounds,
        frames=options.frames,
        size=(width, height),
        samples=options.samples,
        one_process=not options.pictures_only,
    )
    for name, measurement in found.items():
        print(f"{name:58} {measurement}")
    for target, median, is_met in checked(found):
        print(f"{target.what}: {median:.3g}; wanted {target.bound} {target.value:g}: {'yes' if is_met else 'no'}")


if __name__ == "__main__":
    main()
