# SPDX-License-Identifier: MIT
"""Videos in, numbers out, on a real server: what the shipped extractions find, and what bad input gets."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import tritonclient.http as httpclient
from PIL import Image
from vireo_client import VireoError
from vireo_media.testing import numbered_clip
from vireo_training.camera_motion import MOTIONS, Camera, draw_camera, film
from vireo_training.photographs import load, photographs_for

VIREO = Path(sys.executable).with_name("vireo")


def write_clip(path, frames, *, crf=23, gop=50, preset="veryfast"):
    """H.264 at 25 frames a second of (T, H, W, 3) uint8 RGB."""
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": preset, "x264-params": f"keyint={gop}"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


# shot_classification


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Each motion over each of the four photographs that no network has seen: [(motion, path)], 1.6 s of 192x144."""
    folder, random, made = tmp_path_factory.mktemp("shots"), np.random.default_rng(20), []
    for photograph in photographs_for("held_out"):
        picture = load(photograph)
        for motion in MOTIONS:
            frames = film(picture, draw_camera(motion, random), np.arange(40) / 25, size=(192, 144))
            made.append((motion, write_clip(folder / f"{photograph.name}-{motion}.mp4", frames)))
    return made


def test_camera_motion_over_photographs_that_no_network_has_seen(client, shots):
    right = [MOTIONS[client.extract("shot_classification", path).video["CAMERA_MOTION"].argmax()] for _, path in shots]
    wrong = [(motion, found) for (motion, _), found in zip(shots, right, strict=True) if motion != found]
    assert len(wrong) <= 0.1 * len(shots), wrong


def test_each_window_has_a_time_and_the_video_their_mean(client, shots):
    found = client.extract("shot_classification", shots[1][1])
    # 13 pictures, 8 a second: 0, 4, 7, 10 ... in windows of 8 that begin every 4, and one that ends with the last.
    assert found.seconds.tolist() == [0, 0.52, 0.64]
    scores = found.results["CAMERA_MOTION"]
    assert scores.shape == (3, 8)
    assert np.allclose(scores.sum(1), 1, atol=1e-5)
    assert np.allclose(found.video["CAMERA_MOTION"], scores.mean(0), atol=1e-6)


def test_where_requests_end_changes_no_number(client, shots):
    answers = {
        client.extract("shot_classification", shots[4][1], chunk_packets=size).results["CAMERA_MOTION"].tobytes()
        for size in (1, 5, 32)
    }
    assert len(answers) == 1


def test_a_mixture_of_motions_is_answered(client, tmp_path):
    """A shaking pan that becomes a zoom: no motion of the training's, and still eight probabilities."""
    picture = load(photographs_for("held_out")[1])
    waves = ((0, 2.1, 0.0, 1.0), (1, 3.3, 1.0, 1.0), (3, 1.7, 2.0, 0.8))
    shaking = Camera("pan_left", speed=0.2, shake=0.01, waves=waves)
    zooming = Camera("zoom_in", speed=0.3, shake=0.006, waves=waves)
    seconds = np.arange(30) / 25
    frames = np.concatenate([film(picture, camera, seconds, size=(192, 144)) for camera in (shaking, zooming)])
    found = client.extract("shot_classification", write_clip(tmp_path / "mixed.mp4", frames))
    assert np.isfinite(found.results["CAMERA_MOTION"]).all()
    assert np.isclose(found.video["CAMERA_MOTION"].sum(), 1, atol=1e-5)


def test_a_video_on_its_side_is_looked_at_upright(client, shots, tmp_path):
    """Coded with the camera turned by a quarter: what tilts in the coded picture pans in the shown one."""
    motion, path = shots[MOTIONS.index("tilt_up")]
    assert motion == "tilt_up"
    with av.open(str(path)) as source, av.open(str(tmp_path / "turned.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    found = client.extract("shot_classification", tmp_path / "turned.mp4")
    assert (found.width, found.height) == (144, 192)
    # Turned counter-clockwise, what was above is on the left.
    assert MOTIONS[found.video["CAMERA_MOTION"].argmax()] == "pan_left"


# face_detection


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Three faces that move over a grey wall, two of 64 pixels and one of 128: (path, their upper left corners)."""
    from skimage import data

    faces = [(data.astronaut()[55:175, 165:285], 128), *((data.lfw_subset()[number], 64) for number in (8, 10))]
    pictures = []
    for face, side in faces:
        codes = face if face.dtype == np.uint8 else (255 * face).astype(np.uint8)
        pictures.append(
            np.asarray(Image.fromarray(codes).convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        )
    starts, steps = ((20, 80), (180, 30), (250, 150)), ((1.0, 0.5), (0.5, 1.0), (-0.5, -0.5))
    frames, corners = np.full((50, 240, 360, 3), 120, np.uint8), []
    for number, frame in enumerate(frames):
        places = [(int(x + number * dx), int(y + number * dy)) for (x, y), (dx, dy) in zip(starts, steps, strict=True)]
        for picture, (x, y) in zip(pictures, places, strict=True):
            frame[y : y + len(picture), x : x + len(picture)] = picture
        corners.append(list(zip(places, (128, 64, 64), strict=True)))
    return write_clip(tmp_path_factory.mktemp("people") / "people.mp4", frames), corners


def test_three_moving_faces_at_two_scales_are_found_where_they_are(client, people):
    path, corners = people
    found = client.extract("face_detection", path)
    assert found.seconds.tolist() == [0.2 * n for n in range(10)] or np.allclose(found.seconds, np.arange(10) / 5)
    for row in found.rows():
        assert len(row["FACES"]) == 3, row
        for (x, y), side in corners[round(row["time"] * 25)]:
            near = [
                face
                for face in row["FACES"]
                if abs(face["x"] + face["width"] / 2 - x - side / 2) < 0.2 * side
                and abs(face["y"] + face["height"] / 2 - y - side / 2) < 0.2 * side
            ]
            assert len(near) == 1, (row, (x, y))
            assert 0.4 * side < near[0]["width"] < 1.2 * side
            assert near[0]["score"] > 0


def test_no_face_where_there_is_none(client, shots):
    for motion, path in shots[8:16]:  # a cup of coffee
        assert all(row["FACES"] == [] for row in client.extract("face_detection", path).rows()), motion


def test_options_of_the_script(client, people):
    path, _ = people
    found = client.extract("face_detection", path, options={"least_side": 100, "sample": "key"})
    assert [len(row["FACES"]) for row in found.rows()] == [1], "only the large one, in the one key frame"


# features


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Each held-out photograph under a slow pan, and copies of it: re-encoded badly; smaller. {name: [paths]}."""
    folder, made = tmp_path_factory.mktemp("copies"), {}
    for photograph in photographs_for("held_out"):
        frames = film(load(photograph), Camera("pan_left", speed=0.05), np.arange(25) / 25, size=(192, 144), view=0.8)
        small = np.stack([np.asarray(Image.fromarray(frame).resize((96, 72))) for frame in frames])
        clips = [(frames, 18), (frames, 38), (small, 30)]
        paths = [folder / f"{photograph.name}-{number}.mp4" for number in range(3)]
        made[photograph.name] = [
            write_clip(path, *clip[:1], crf=clip[1]) for path, clip in zip(paths, clips, strict=True)
        ]
    return made


def test_re_encoded_copies_lie_near_and_other_videos_far(client, copies):
    embeddings = {}
    for name, paths in copies.items():
        for number, path in enumerate(paths):
            found = client.extract("features", path)
            assert found.seconds.tolist() == [0, 0.52]
            assert np.allclose(np.linalg.norm(found.results["EMBEDDING"], axis=1), 1, atol=1e-5)
            embeddings[name, number] = found.video["EMBEDDING"]
    assert all(np.isclose(np.linalg.norm(embedding), 1, atol=1e-5) for embedding in embeddings.values())
    for (name, number), one in embeddings.items():
        for (other, place), two in embeddings.items():
            if name == other:
                assert one @ two > 0.85, (name, number, place, one @ two)
            else:
                assert one @ two < 0.6, (name, other, one @ two)


# video_tags


def test_one_decode_feeds_two_networks_whose_answers_are_those_of_their_own_services(client, shots, statistics):
    def decoded():
        return int(statistics("decode")["inference_stats"]["success"]["count"])

    _, path = shots[1]
    motion = client.extract("shot_classification", path)
    before = decoded()
    both = client.extract("video_tags", path)
    # 40 packets are two requests, whatever the number of networks; the client's life sign and question may be two more.
    assert 2 <= decoded() - before <= 4
    assert np.array_equal(both.seconds, motion.seconds)
    assert np.array_equal(both.results["CAMERA_MOTION"], motion.results["CAMERA_MOTION"])
    assert np.array_equal(both.video["CAMERA_MOTION"], motion.video["CAMERA_MOTION"])
    # The fifth of each window's eight pictures.
    every = client.extract("features", path, options={"sample": "rate=8"})
    assert np.array_equal(both.results["EMBEDDING"], every.results["EMBEDDING"][[4, 8, 9]])
    assert np.isclose(np.linalg.norm(both.video["EMBEDDING"]), 1, atol=1e-5)


# What a user has in hand


@pytest.fixture
def vireo(server, tmp_path):
    """The command line in a folder of its own."""

    def run(*arguments):
        command = [str(VIREO), "run", *map(str, arguments), "--url", server.grpc_url]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)

    return run


def test_the_command_line_writes_json_csv_and_lines(vireo, shots, tmp_path):
    motion, path = shots[1]
    done = vireo("shot_classification", path, "out.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    document = json.loads((tmp_path / "out.json").read_text())
    scores = document["video"]["CAMERA_MOTION"]
    assert max(scores, key=scores.get) == motion
    assert list(document["rows"][0]["CAMERA_MOTION"]) == list(MOTIONS)
    done = vireo("shot_classification", path, "-", "--format", "jsonl", "--quiet")
    assert [json.loads(line).get("time") for line in done.stdout.splitlines()] == [0.0, 0.52, 0.64, None]
    done = vireo("shot_classification", path, "out.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [line["time"] for line in lines] == ["0.0", "0.52", "0.64", "video"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.csv", "out.json"]


def test_what_the_command_line_refuses(vireo, shots, sound_only, tmp_path):
    _, path = shots[0]
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "empty.mp4").write_bytes(b"")
    before = sorted(entry.name for entry in tmp_path.iterdir())
    for arguments, said in [
        (("shot_classification", path, "out.mp4"), "gives numbers, not a video; allowed here are transformations"),
        (("passthrough", path, "out.json"), "gives a video, not numbers; allowed here are extractions"),
        (("shot_classification", path, "-", "--format", "xml"), "format cannot be 'xml'"),
        (("shot_classification", path, "there.json"), "is there already"),
        (("shot_classification", path, "nowhere/out.json"), "there is no folder 'nowhere'"),
        (("shot_classification", path, "-", "--set", "sample=some"), "sample cannot be 'some'; allowed is all, key"),
        (("shot_classification", path, "-", "--set", "crf=3"), "unknown option 'crf'; known are deinterlace"),
        (("shot_classification", "empty.mp4", "-"), "'empty.mp4' is empty (0 bytes)"),
        (("face_detection", sound_only, "-"), "sound.mp4' has no video stream: it holds audio"),
    ]:
        done = vireo(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert said in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


@pytest.mark.parametrize("service", ["shot_classification", "face_detection"])
@pytest.mark.parametrize("sample", ["key", "every=2", "rate=3", "segments=3"])
def test_one_frame_is_a_video_too(client, tmp_path, service, sample):
    numbered_clip(str(tmp_path / "one.mp4"), frames=1, size=(64, 48))
    found = client.extract(service, tmp_path / "one.mp4", options={"sample": sample})
    assert len(found.seconds) == (3 if service == "face_detection" and sample == "segments=3" else 1)
    if service == "shot_classification":
        assert MOTIONS[found.video["CAMERA_MOTION"].argmax()] == "static"


def test_a_stream_without_a_picture_says_so(call, clip):
    stream, *_ = clip
    answer = call("shot_classification").ask(0, stream=stream, start=True, end=True)
    assert "no picture of this video was looked at" in str(answer)
    assert str(answer).endswith("[INVALID_ARG]")


def test_a_damaged_picture_is_an_error_with_its_time_and_frees_every_stage(client, all_freed, tmp_path):
    numbered_clip(str(tmp_path / "good.mp4"), frames=60, size=(160, 96), gop=60)
    data = bytearray((tmp_path / "good.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = np.random.default_rng(0).bytes(400)
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(VireoError, match=r"decode at 00:00:0\d"):
        client.extract("shot_classification", tmp_path / "bad.mp4")
    all_freed()


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_whole_clip_in_one_plain_http_request(server, client, shots, format):
    motion, path = shots[2]
    inputs = []
    values = {"SERVICE": "shot_classification", "MEDIA": path.read_bytes(), "OPTIONS": json.dumps({"format": format})}
    for name, value in values.items():
        inputs.append(httpclient.InferInput(name, [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([value], np.object_))
    with httpclient.InferenceServerClient(server.http_url) as triton:
        result = triton.infer("file", inputs)
    text = result.as_numpy("MEDIA")[0].decode()
    assert json.loads(result.as_numpy("REPORT")[0])["frames_out"] == 3
    found = client.extract("shot_classification", path)
    if format == "json":
        assert json.loads(text) == found.to_json()
        assert found.video["CAMERA_MOTION"].argmax() == MOTIONS.index(motion)
    else:
        assert text.startswith("time,duration,CAMERA_MOTION.static")
