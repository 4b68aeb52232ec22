# SPDX-License-Identifier: MIT
"""Files through scripts in this process: `run_file`, and the talk's sample as a program of its own."""

import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image
from vireo_media.errors import OutputError
from vireo_media.testing import numbered_clip, read_numbers
from vireo_server.errors import ScriptFailed
from vireo_server.locations import find_locations
from vireo_server.scripting import run_file
from vireo_server.settings import ScriptSettings
from vireo_server.testing import ContractError, sample_frames

MARK = """
    def process(data):
        for frame in data["frames"]:
            frame[:, :8] = (255, 0, 0)
"""
BATCHES = """
    import numpy as np

    def process(data):
        n = len(data["data"])
        return {"batch": [n] * n, "last": [data["last"]] * n, "pts_seen": data["pts"]}
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    numbered_clip(str(path), frames=40, gop=12, bframes=2)
    return path


def test_every_frame_is_marked_and_none_is_lost(script, clip, tmp_path):
    run = run_file(script(MARK), clip, tmp_path / "out.mp4", profile=True)
    assert (run.frames_in, run.frames_out) == (40, 40)
    assert read_numbers(tmp_path / "out.mp4") == list(range(40))
    with av.open(str(tmp_path / "out.mp4")) as container:
        for frame in container.decode(video=0):
            red, green, blue = frame.to_ndarray(format="rgb24")[10:-10, 1:6].mean((0, 1))
            assert red > 230
            assert max(green, blue) < 30


def test_batches_are_full_but_for_the_last_which_knows_it(script, clip, tmp_path):
    run = run_file(script(BATCHES), clip, tmp_path / "out.npz")
    assert list(run.results["batch"]) == [16] * 32 + [8] * 8
    assert list(run.results["last"]) == [False] * 32 + [True] * 8
    assert (run.results["pts"] == run.results["pts_seen"]).all()
    assert (np.diff(run.results["pts"]) > 0).all()
    with np.load(tmp_path / "out.npz") as written:
        assert (written["batch"] == run.results["batch"]).all()


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_the_size_of_a_batch_changes_nothing_that_it_should_not(script, clip, tmp_path, batch):
    path = script(MARK)
    run_file(path, clip, tmp_path / "a.mp4")
    run_file(path, clip, tmp_path / "b.mp4", settings=ScriptSettings(batch=batch))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_larger_picture(script, clip, tmp_path):
    path = script("def process(data):\n    return [f.repeat(2, 0).repeat(2, 1) for f in data['frames']]\n")
    run_file(path, clip, tmp_path / "out.mkv", encoder={"codec": "ffv1"})
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].codec_context.width == 640
    assert read_numbers(tmp_path / "out.mkv") == list(range(40))


def test_a_size_that_changes_between_batches_is_refused(script, clip, tmp_path):
    source = """
        calls = []
        def process(data):
            calls.append(1)
            return [f[:90] if len(calls) > 1 else f for f in data["frames"]]
    """
    with pytest.raises(
        ScriptFailed, match="process returned frames of 320x90, earlier batches of this stream had 320x180"
    ):
        run_file(script(source), clip, tmp_path / "out.mp4")


def test_the_table_says_where_time_goes(script, clip):
    source = """
        import time

        def process(data, profiling=False):
            assert profiling
            began = time.perf_counter()
            for frame in data["frames"]:
                frame += 1
            data["profile"]["adding"] = time.perf_counter() - began
    """
    run = run_file(script(source), clip, profile=True)
    assert [batch["frames"] for batch in run.profile.batches] == [16, 16, 8]
    table = run.profile.table(frames=run.frames_in)
    for row in ("script: setup", "decode", "preprocess", "script", "process (3 calls)", "adding", "total"):
        assert row in table
    assert "encode" not in table


def test_numbers_are_no_video_and_pictures_are_no_numbers(script, clip, tmp_path):
    with pytest.raises(OutputError, match=r"gave numbers, no pictures; name an output ending .npz"):
        run_file(script(BATCHES), clip, tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="gave pictures, no numbers"):
        run_file(script(MARK), clip, tmp_path / "out.npz")


def test_the_shipped_script_holds_the_contract(script_bench):
    path = find_locations().model_repository / "grade_script" / "1" / "script.py"
    bench = script_bench(path)
    bench.check_contract(options={"gain": 1.5, "gamma": 0.8, "saturation": 1.4})
    frames = sample_frames(4)
    assert (bench.process(frames).frames == frames).all(), "without options it changes nothing"
    grey = bench.process(frames, options={"saturation": 0}).frames
    assert (grey == grey[..., :1]).all()
    assert bench.process(frames, options={"gain": 2}).frames.mean() > frames.mean()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import ctypes\ndef process(data):\n    for p in data['data']: ctypes.memset(p, 0, data['height'] * "
            "data['width'] * 3 + 64)\n",
            "wrote behind the last frame of 16 of 320x180",
        ),
        ("import random\ndef process(data):\n    data['frames'][0][...] = random.randrange(99)\n", "gave different"),
        (
            "def configure(o):\n    global n\n    n = 0\n    return 1\ndef process(data):\n    global n\n    n += 1\n"
            "    data['frames'][0][...] = n\n",
            "because another ran beside it, though configure returns an object",
        ),
        ("def process(data):\n    assert data['width'] % 2 == 0\n", "a batch of 3 frames of 161x91: .*AssertionError"),
    ],
)
def test_the_bench_finds_what_breaks_the_contract(bench, source, said):
    with pytest.raises(ContractError, match=f"(?s){said}"):
        bench(source).check_contract()


SAMPLE = """
def setup(config):
    # setup model here
    global level
    level = json.loads(config)["level"]

def warmup():
    # warmup model
    pass

def configure(stream_config):
    # configure per stream
    assert json.loads(stream_config) == {"user-param": "test"}

def process(data, profiling=False):
    # batching process frames
    for pointer in data["data"]:
        size = data["height"] * data["width"] * 3
        if cp is np:
            frame = np.frombuffer((ctypes.c_uint8 * size).from_address(pointer), np.uint8)
        else:
            memory = cp.cuda.UnownedMemory(pointer, size, None)
            frame = cp.ndarray(size, cp.uint8, cp.cuda.MemoryPointer(memory, 0))
        frame[:] = level

import ctypes, json, sys
import numpy as np
try:
    import cupy as cp
    cp.cuda.runtime.getDeviceCount()
except Exception:
    cp = np

if __name__ == "__main__":
    from PIL import Image

    setup('{"level": 77}')
    warmup()
    configure('{"user-param" : "test"}')

    im = Image.open(sys.argv[1])
    pictures = [cp.asarray(np.array(im)) for i in range(16)]  # kept: a pointer into a freed array points nowhere
    data = {
        'height' : im.height,
        'width' : im.width,
        'format' : 'RGB',
        'data': [p.ctypes.data if cp is np else p.data.ptr for p in pictures]
    }
    process(data)
    assert all(bool((p == 77).all()) for p in pictures)
    print("done")
"""


def test_the_talks_sample_as_a_program_and_in_the_engine(script, clip, tmp_path):
    path = script(SAMPLE)
    Image.fromarray(sample_frames(1, width=161, height=90)[0]).save(tmp_path / "test.png")
    done = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "test.png")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    run_file(path, clip, tmp_path / "out.mkv", config={"level": 77}, stream='{"user-param": "test"}',
             encoder={"codec": "ffv1"})  # fmt: skip
    with av.open(str(tmp_path / "out.mkv")) as container:
        for frame in container.decode(video=0):
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - 77).max() <= 2
