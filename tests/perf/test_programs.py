# SPDX-License-Identifier: MIT
"""Every program runs, on a tiny clip; how fast is nobody's business here."""

import json

import pytest

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def measured(program, tmp_path_factory):
    """(results, folder, standard error) of all parts of `perf.run` together, a few frames each."""
    folder = tmp_path_factory.mktemp("results")
    readme = folder / "README.md"
    readme.write_text("<!-- perf:begin -->\n<!-- perf:end -->\n")
    parts = ("ladder", "latency", "passthrough", "memory", "profile", "analyzer", "extraction")
    done = program("run", "--mode", "tiny", "--output", folder, "--readme", readme, "--only", *parts)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text()), folder, done.stderr


def test_every_part_measured_something(measured):
    results, _, _ = measured
    measurements = results["measurements"]
    wanted = {
        "ladder.picture_service", "ladder.picture_service_4", "ladder.sequential", "ladder.sequential_8",
        "ladder.pipelined", "ladder.served_1", "ladder.served_2", "ladder.one_file", "ladder.network_alone",
        "ladder.one_file/pipelined", "ladder.beyond_network.one_file/picture_service", "ladder.served_2.fairness",
        "ladder.served_2.first_packet",
        "ladder.served_2.cpu",
        "latency.first_packet/chunk", "latency.frame_beyond_network", "passthrough.ultrafast.stream/plain",
        "memory.one_stream", "memory.further_stream_beyond_codecs", "memory.10_times_longer",
        "memory.client_10_times_longer",
        "extraction.served/in_process", "extraction.key.beyond_network.picture_service/served",
        "profile.super_resolution.border_share", "profile.super_resolution.cpu/in_process",
    }  # fmt: skip
    assert wanted <= set(measurements)
    speeds = [value for one in measurements.values() if one["unit"] == "frames/s" for value in one["values"]]
    assert min(speeds) > 0


def test_the_rungs_did_the_same_work(measured):
    assert "all rungs give the same bytes" in measured[2]


def test_a_frames_way_falls_apart_into_work_and_borders(measured):
    profiles = measured[0]["profiles"]
    for profile in profiles:
        work = [step["where"] for step in profile["steps"] if step["kind"] == "work"]
        assert work == ["decode", "network", "encode"]
        assert min(step["milliseconds"] for step in profile["steps"]) >= 0
        named = {name for _, name, _ in profile["parts"]}
        assert {"libav decodes", "YUV to RGB", "RGB to YUV", "libav encodes"} <= named
        assert profile["cpu"].keys() >= {"client", "decode", "network", "encode", "tritonserver"}
    # RGB of 160x96 before the network, of twice the width and height behind it.
    sizes = {step["where"]: step["megabytes"] for step in profiles[0]["steps"] if step["what"] == "Triton"}
    assert sizes["decode -> network"] == pytest.approx(160 * 96 * 3 / 1e6, rel=0.01)
    assert sizes["network -> encode"] == pytest.approx(4 * 160 * 96 * 3 / 1e6, rel=0.01)


def test_perf_analyzer_ran_on_the_service_its_network_and_whole_clips(measured):
    reports = measured[0]["analyzer"]
    asked = {(report["model"], report["requests"]) for report in reports}
    assert {
        ("super_resolution", "chunks of 8"), ("super_resolution_network", "8 pictures"),
        ("file", "whole clips through super_resolution"),
    } == asked  # fmt: skip
    for report in reports:
        assert report["frames_a_second"] > 0
        assert 0 < report["latency_ms"]["50"] <= report["latency_ms"]["99"]
    stages = {report["model"]: [stage["model"] for stage in report["stages"]] for report in reports}
    assert stages["super_resolution"] == ["super_resolution_decode", "super_resolution_network", "encode"]


def test_pictures_are_drawn_and_a_partial_run_leaves_the_readme_alone(measured):
    _, folder, _ = measured
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) >= 3
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert (folder / "README.md").read_text() == "<!-- perf:begin -->\n<!-- perf:end -->\n"


def test_the_load_client_counts(program):
    done = program("load", "--service", "passthrough", "--frames", "24", "--streams", "2", "--memory")
    assert done.returncode == 0, done.stderr
    assert "2 streams:" in done.stdout
    assert "in /dev/shm: decode" in done.stdout


def test_ready_times(program, tmp_path):
    done = program("run", "--mode", "tiny", "--output", tmp_path, "--only", "start")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["measurements"]["start.ready"]["values"][0] > 0


def test_the_gpu_kit_runs_to_its_end_and_says_what_it_could_not_ask(program, tmp_path):
    target = tmp_path / "gpu.json"
    done = program("gpu_kit", "--json", target, "--only", "libraries", "--only", "kernels")
    assert done.returncode == 0, done.stderr
    found = json.loads(target.read_text())
    assert set(found["libraries"]["answer"]) >= {"libcuda.so.1", "libnvcuvid.so.1"}
    assert found["machine"]["versions"]["vireo"]
    if not found["machine"]["gpus"]:
        assert found["kernels"]["not_run"].startswith(("CuPy is not installed", "there is no CUDA device"))
        assert "not answered: kernels" in done.stdout


def test_short_clips_through_extractions(program):
    """The answers of the service, of one process and of single pictures are compared on the way."""
    arguments = ("--clips", 3, "--frames", 20, "--size", "160x96", "--samples", "key", "--rounds", 1)
    done = program("extraction", *arguments)
    assert done.returncode == 0, done.stderr
    *lines, goal = done.stdout.splitlines()
    assert goal.startswith("short clips, of one process: ")
    lines = dict(line.split(maxsplit=1) for line in lines)
    assert set(lines) >= {"extraction.served/in_process", "extraction.key.beyond_network.picture_service/served"}
