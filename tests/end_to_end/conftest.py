# SPDX-License-Identifier: MIT
"""One real server for all tests here, and a caller that speaks the contract tensor by tensor, right or wrong."""

import json
import queue
import shutil
import signal
import subprocess
import sys
import textwrap
import uuid
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from vireo_client import Client
from vireo_media.container import MediaSource
from vireo_media.probing import probe
from vireo_media.segments import whole_video
from vireo_media.testing import numbered_clip
from vireo_server.launching import running_server
from vireo_server.locations import find_locations

# A caller on a busy machine may be silent for some seconds.
IDLE_SECONDS = 8.0


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The shipped repository, but for one thing: abandoned streams are closed soon, so that a test can see it."""
    folder = tmp_path_factory.mktemp("repository") / "model_repository"
    shutil.copytree(find_locations().model_repository, folder)
    for config in folder.glob("*/config.pbtxt"):
        text = config.read_text()
        stages = ("decode", "decode_preprocess", "preprocess", "tone_mapping", "encode", "collect")
        if any(f'backend: "{stage}"' in text for stage in stages):
            idle = f'parameters {{ key: "idle_seconds" value {{ string_value: "{IDLE_SECONDS}" }} }}\n'
            config.write_text(text + idle)
    return folder


@pytest.fixture(scope="session")
def server(repository):
    """All services on a real Triton."""
    with running_server(repository=repository) as running:
        yield running


class Caller:
    """One sequence, request by request; nothing is checked or repaired."""

    def __init__(self, url, service, *, stream=None):
        self.service, self.id = service, stream or str(uuid.uuid4())
        self._client = grpcclient.InferenceServerClient(url)
        self._replies = queue.Queue()
        self._client.start_stream(lambda result, error: self._replies.put((result, error)))

    def send(self, chunk, packets=(), timing=None, *, stream="", start=False, end=False):
        """One request; `timing` defaults to unknown times."""
        timing = np.full((len(packets), 4), -(2**63)) if timing is None else timing
        arrays = {
            "STREAM": np.array([stream.encode()], np.object_),
            "PACKETS": np.array([*packets, None], np.object_)[:-1],
            "PACKET_TIMING": np.asarray(timing, np.int64).reshape(-1, 4),
            "CHUNK": np.array([chunk], np.int64),
        }
        inputs = []
        for name, array in arrays.items():
            kind = "BYTES" if array.dtype == np.object_ else "INT64"
            tensor = grpcclient.InferInput(name, list(array.shape), kind)
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        self._client.async_stream_infer(
            self.service, inputs, sequence_id=self.id, sequence_start=start, sequence_end=end
        )

    def receive(self, seconds=30):
        """(report, packets, timing) of the next reply, or its error."""
        result, error = self._replies.get(timeout=seconds)
        if error is not None:
            return error
        report = json.loads(result.as_numpy("REPORT")[0])
        return report, list(result.as_numpy("OUTPUT_PACKETS")), result.as_numpy("OUTPUT_TIMING")

    def ask(self, *arguments, **flags):
        """One request and its reply."""
        self.send(*arguments, **flags)
        return self.receive()

    def hang_up(self):
        """Close the connection, whatever is under way."""
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


@pytest.fixture
def call(server):
    """`call("passthrough")` opens a sequence; all are hung up after the test."""
    callers = []

    def make(service="passthrough", **settings):
        caller = Caller(server.grpc_url, service, **settings)
        callers.append(caller)
        return caller

    yield make
    for caller in callers:
        caller.hang_up()


@pytest.fixture(scope="session")
def client(server):
    """Our own client, for all tests that need no other."""
    with Client(server.grpc_url) as open_client:
        yield open_client


@pytest.fixture
def ask(server):
    """`ask(service, media, **options)` -> (media, report), by the model `file`."""

    def make(service, data, **options):
        with httpclient.InferenceServerClient(server.http_url, network_timeout=60) as client:
            inputs = []
            for name, value in (("SERVICE", service), ("MEDIA", data), ("OPTIONS", json.dumps(options))):
                tensor = httpclient.InferInput(name, [1], "BYTES")
                tensor.set_data_from_numpy(np.array([value], np.object_))
                inputs.append(tensor)
            result = client.infer("file", inputs)
        return result.as_numpy("MEDIA")[0], json.loads(result.as_numpy("REPORT")[0])

    return make


@pytest.fixture
def at_once(server, tmp_path):
    """`at_once("restoration", video, ".mp4", options=...)`: the bytes of four runs at the same time, each in chunks of
    another size and with another number of segments under way."""

    def run_all(service, source, suffix, **keywords):
        def run(way):
            chunk, in_flight = way
            path = tmp_path / f"{chunk}{suffix}"
            with Client(server.grpc_url) as own:
                own.run(service, source, path, chunk_packets=chunk, segments_in_flight=in_flight, **keywords)
            return path.read_bytes()

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(run, ((1, 2), (3, 1), (8, 4), (17, 2))))

    return run_all


_KILLED = textwrap.dedent("""
    import json, os, signal, sys
    from vireo_client import Client
    url, service, source, output, frames, options = sys.argv[1:]
    def kill(progress):
        if progress.frames > int(frames):
            os.kill(os.getpid(), signal.SIGKILL)
    with Client(url) as client:
        client.run(service, source, output, options=json.loads(options), segments_in_flight=1, progress=kill)
""")


@pytest.fixture
def kill_a_run(server):
    """`kill_a_run("restoration", video, output, frames=7)`: a client in a process of its own that is killed as soon as
    more than so many frames came back; what is left is the journal beside the output."""

    def run(service, source, output, *, frames, options=None):
        arguments = [server.grpc_url, service, str(source), str(output), str(frames), json.dumps(options or {})]
        done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not output.exists()

    return run


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """48 numbered frames with B-frames, 320x180, in 4 GOPs: (STREAM's text, packets, timing)."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=48, gop=12, bframes=2)
    source = MediaSource(str(path))
    video = probe(source)
    packets, rows = zip(*whole_video(source, video.description).chunks(1), strict=True)
    return video.description.to_json(), [data for (data,) in packets], np.concatenate(rows)


@pytest.fixture(scope="session")
def sound_only(tmp_path_factory):
    """A file with a second of silence and no video, sound.mp4."""
    path = tmp_path_factory.mktemp("sound") / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 48000), np.float32), format="fltp", layout="stereo")
        frame.rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def statistics(server):
    """Triton's own counts of a model."""

    def read(model):
        with grpcclient.InferenceServerClient(server.grpc_url) as client:
            (entry,) = client.get_inference_statistics(model, as_json=True)["model_stats"]
        return entry

    return read


@pytest.fixture(scope="session")
def open_streams(server):
    """How many streams each stage of the running server holds, by its own account."""
    from vireo_server.heartbeat import read_beats

    return lambda: {beat.model: beat.open_streams for beat in read_beats(server.runtime)}


@pytest.fixture
def all_freed(server, open_streams, wait_for):
    """`all_freed()`: waits until no stage holds a stream, none of them closed only since its caller had been silent."""

    def wait():
        wait_for(lambda: not any(open_streams().values()), told=open_streams)

    def silent():
        return {line for line in server.log.splitlines() if "had no request for" in line}

    def wait_and_look():
        wait()
        assert silent() <= before

    # Of earlier tests, whose callers were killed.
    wait()
    before = silent()
    return wait_and_look


@pytest.fixture(autouse=True)
def tell_the_servers_end(request):
    """When a test fails, show what the server said last."""
    yield
    if "server" in request.fixturenames or "call" in request.fixturenames:
        server = request.getfixturevalue("server")
        print("the server's log ends with:\n" + "\n".join(server.log.splitlines()[-15:]))
