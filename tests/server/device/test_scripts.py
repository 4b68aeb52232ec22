# SPDX-License-Identifier: MIT
"""Scripts in a service on a GPU: frames on the host unless the script takes them where they are."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vireo_media.testing import numbered_clip
from vireo_server.errors import ScriptFailed, SettingError
from vireo_server.formats import SOURCE, Format
from vireo_server.results import Result
from vireo_server.scripting import run_file
from vireo_server.scripting.host import ScriptHost
from vireo_server.scripting.stage import ScriptStage
from vireo_server.settings import ScriptSettings
from vireo_server.side import HOST
from vireo_server.tags import resolve
from vireo_server.wire import Request

SIZE = {"width": 32, "height": 24}
SETTINGS = ScriptSettings(batch=4)

INVERTS = """
{head}
def process(data):
    {check}
    for frame in data["frames"]:
        frame[...] = 255 - frame
"""
DEVICE = INVERTS.format(
    head='DEVICE = "cuda"',
    check='assert (data["device"], data["cuda_stream"], data["data"][0]) == ("cuda", 0, data["frames"][0].data.ptr)',
)
ON_HOST = INVERTS.format(head="", check='assert (data["device"], data["cuda_stream"]) == ("cpu", None)')


@pytest.fixture
def run(tmp_path, request_of, text, machine):
    """Eleven pictures in two requests through a script on a side: OUTPUT of both, and what crossed."""

    def through(code, side, *, results=()):
        path = tmp_path / "script.py"
        path.write_text(code)
        host = ScriptHost(path, SETTINGS, side=side)
        stage = ScriptStage(host, results=results, side=side)
        color = resolve({}, **SIZE, codec="h264")
        format = Format(**SIZE, pixel_format="nv12", time_base=(1, 25), color=color, layout="interleaved")
        pictures = np.random.default_rng(4).integers(0, 256, (11, 24, 32, 3), np.uint8)
        outputs, crossed = [], []
        for first, last in ((0, 6), (6, 11)):
            rows = pictures[first:last]
            timing = np.array([[place, 1, SOURCE, place - first] for place in range(first, last)], np.int64)
            given = rows if side.is_host else machine.wrapped(rows.copy())
            tensors = {"INPUT": given, "TIMING": timing, "FORMAT": text(replace(format).to_json())}
            fake = request_of(tensors, chunk=0, start=first == 0, end=last == 11)
            request = Request(fake, stage="script")
            stage.listen(request)
            if first == 0:
                stage.open(request)
            request.answer(stage.step(request))
            answer = fake.wait().tensors
            outputs.append(answer)
            crossed.append(json.loads(answer["FORMAT"][0])["report"].get("crossed"))
        host.close()
        return outputs, crossed

    return through


def test_a_script_that_takes_them_gets_frames_on_the_device(run, machine, side):
    outputs, crossed = run(DEVICE, side)
    expected, said = run(ON_HOST, HOST)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(machine.look(one["OUTPUT"]), other["OUTPUT"])
    assert crossed == [{"script": {"to_device": 0, "to_host": 0}}] * 2
    assert machine.crossed == {"to_device": 0, "to_host": 0}
    assert said == [None, None]


def test_any_other_gets_copies_on_the_host_which_are_counted(run, machine, side):
    outputs, crossed = run(ON_HOST, side)
    expected, _ = run(ON_HOST, HOST)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(one["OUTPUT"], other["OUTPUT"])
    bytes_each = 32 * 24 * 3
    assert crossed == [{"script": {"to_device": 0, "to_host": count * bytes_each}} for count in (6, 5)]
    assert machine.crossed["to_host"] == 11 * bytes_each


def test_returned_arrays_of_the_device_stay_there(run, machine, side):
    code = 'DEVICE = "cuda"\ndef process(data):\n    return [frame[::2, ::2].copy() for frame in data["frames"]]\n'
    outputs, _ = run(code, side)
    expected, _ = run(code.replace('DEVICE = "cuda"', ""), HOST)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(machine.look(one["OUTPUT"]), other["OUTPUT"])
    assert machine.crossed == {"to_device": 0, "to_host": 0}


def test_numbers_of_the_device_come_to_the_host_and_are_counted(run, machine, side, monkeypatch):
    code = (
        'DEVICE = "cuda"\ndef process(data):\n    import cupy\n'
        '    return {"MEAN": cupy.stack([frame.sum(axis=(0, 1), dtype="float32") for frame in data["frames"]])}\n'
    )
    result = Result(name="MEAN", dtype=np.dtype(np.float32), shape=(3,))
    monkeypatch.setitem(sys.modules, "cupy", machine.module)
    outputs, crossed = run(code, side, results=[result])
    assert sum(len(one["MEAN"]) for one in outputs if one["TIMING"][0, 3] >= 0) == 11
    assert sum(each["script"]["to_host"] for each in crossed) == machine.crossed["to_host"] == 11 * 3 * 4


def test_frames_on_both_sides_are_refused(run, machine, side):
    code = (
        'import numpy as np\nDEVICE = "cuda"\ndef process(data):\n'
        '    return [np.zeros((24, 32, 3), np.uint8), *data["frames"][1:]]\n'
    )
    with pytest.raises(ScriptFailed, match="frame 1 of the returned list is not where frame 0 is; allowed: all on the"):
        run(code, side)


def test_another_device_is_none(run, side):
    with pytest.raises(SettingError, match="DEVICE is 'gpu'; allowed: cpu, cuda"):
        run(DEVICE.replace('"cuda"\n', '"gpu"\n', 1), side)


@pytest.mark.parametrize("code", [DEVICE, ON_HOST])
def test_a_file_through_a_script_on_a_device_is_what_it_is_on_the_host(tmp_path, machine, side, capsys, code):
    clip = tmp_path / "in.mkv"
    numbered_clip(str(clip), frames=12, size=(64, 48))
    scripts = {"host": (ON_HOST, HOST), "device": (code, side)}
    for name, (text, where) in scripts.items():
        script = tmp_path / f"{name}.py"
        script.write_text(text)
        assert run_file(script, clip, tmp_path / f"{name}.mkv", side=where).frames_out == 12
    expected, found = (Path(tmp_path / f"{name}.mkv").read_bytes() for name in scripts)
    assert found == expected
    assert machine.crossed["to_host"] >= 12 * 64 * 48 * 3 // 2
