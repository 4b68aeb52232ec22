# SPDX-License-Identifier: MIT
"""What a script is given, and what it is told when it returns something else than it may."""

import json

import numpy as np
import pytest
from vireo_server.errors import BadInput, ScriptFailed, SettingError
from vireo_server.testing import sample_frames

TALK = """
    import ctypes, json
    import numpy as np

    seen = []

    def setup(config):
        seen.append(json.loads(config)["model"])

    def warmup():
        seen.append("warm")

    def configure(stream_config):
        seen.append(json.loads(stream_config))

    def process(data, profiling=False):
        assert seen == ["m", "warm", {"user-param": "test"}], seen
        size = data["height"] * data["width"] * 3
        assert data["format"] == "RGB"
        assert len(set(data["data"])) == len(data["data"]) == 16
        for pointer in data["data"]:
            picture = np.frombuffer((ctypes.c_uint8 * size).from_address(pointer), np.uint8)
            picture[:] = 255 - picture
"""


def test_a_script_with_the_talks_keys_alone_edits_frames_through_their_pointers(bench):
    frames = sample_frames(16)
    outcome = bench(TALK, config='{"model": "m"}').process(frames, options='{"user-param": "test"}')
    assert (outcome.frames == 255 - frames).all()


def test_data_has_what_the_contract_names(bench):
    source = """
        def configure(options):
            return {"options": options}

        def process(data, profiling):
            assert set(data) == {
                "height", "width", "format", "data", "frames", "pts", "time_base", "kind", "state", "device",
                "cuda_stream", "last", "profile",
            }, set(data)
            assert data["state"] == {"options": '{"a": 1}'}
            assert (data["height"], data["width"], data["device"], data["last"]) == (90, 160, "cpu", True)
            assert data["pts"] == [0, 1, 2] and data["time_base"] == (1, 25) and data["kind"] == [0, 0, 0]
            for frame, pointer in zip(data["frames"], data["data"]):
                assert frame.ctypes.data == pointer and frame.flags.c_contiguous and frame.flags.writeable
            assert [b - a for a, b in zip(data["data"], data["data"][1:])] == [90 * 160 * 3] * 2
            assert profiling is True
    """
    bench(source).process(sample_frames(3, width=160, height=90), options={"a": 1}, profiling=True)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("return data['frames'][:-1]", "process returned 3 frames for 4; allowed: one for each"),
        ("return [f.astype('float32') for f in data['frames']]", "frame 0 of the returned list is float32; .* np.rint"),
        ("return [f.transpose(2, 0, 1) for f in data['frames']]", r"looks planar: write picture.transpose\(1, 2, 0\)"),
        ("return [f[..., 0] for f in data['frames']]", "this looks grey"),
        ("return [f[:-i or None] for i, f in enumerate(data['frames'])]", "frame 1 .* is 320x179, frame 0 is 320x180"),
        ("return [None] * 4", "frame 0 of the returned list is None"),
        ("return ['a'] * 4", "frame 0 of the returned list is str"),
        ("return True", "process returned bool; allowed: None"),
        ("return (f for f in data['frames'])", "process returned generator"),
        ("return {}", "empty dict"),
        ("return {'score': [1, 2]}", r"result 'score' has the shape \(2,\); allowed: 4 rows"),
        ("return {'score': ['a'] * 4}", "result 'score' is <U1; allowed: numbers"),
        ("return {1: [1] * 4}", "a dict with the key 1"),
        ("data['frames'][2] = data['frames'][2] + 1", r"data\['frames'\]\[2\] .* was replaced.*write into the frame"),
        ("data['data'][1] = 0", r"data\['data'\]\[1\] was replaced"),
        ("data['kind'][1] = 2", r"data\['kind'\]\[1\] went from 0 to 2; allowed: from 1 \(spare\) to 2"),
        ("data['kind'] = [0]", r"data\['kind'\] is \[0\] after process; allowed: the same list of 4"),
    ],
)
def test_a_wrong_return_is_explained(bench, source, said):
    with pytest.raises(ScriptFailed, match=f"(?s)script.py: .*{said}"):
        bench(f"def process(data):\n    {source}\n").process(sample_frames(4))


def test_frames_of_another_size(bench):
    source = "def process(data):\n    return [f.repeat(2, 0).repeat(2, 1) for f in data['frames']]\n"
    frames = sample_frames(2)
    assert (bench(source).process(frames).frames == frames.repeat(2, 1).repeat(2, 2)).all()


def test_numbers(bench):
    outcome = bench("def process(data):\n    return {'mean': [f.mean() for f in data['frames']]}\n").process(
        sample_frames(3)
    )
    assert outcome.results["mean"] == pytest.approx(sample_frames(3).mean((1, 2, 3)))


def test_spare_frames_are_filled_and_marked(bench):
    source = """
        def process(data):
            for i, kind in enumerate(data["kind"]):
                if kind == 1 and i + 1 < len(data["frames"]):
                    data["frames"][i][...] = data["frames"][i - 1] // 2 + data["frames"][i + 1] // 2
                    data["kind"][i] = 2
    """
    frames = sample_frames(4)
    outcome = bench(source).process(frames, kind=[0, 1, 0, 1])
    assert outcome.kind == (0, 2, 0, 1)
    assert (outcome.frames[1] == frames[0] // 2 + frames[2] // 2).all()
    returned = bench("def process(data):\n    return [data['frames'][0], None]\n").process(frames[:2], kind=[0, 1])
    assert returned.kind == (0, 1)


def test_an_exception_shows_the_scripts_own_lines(bench):
    source = """
        import json

        def inner(value):
            return json.loads(value)

        def process(data):
            inner("{")
    """
    with pytest.raises(ScriptFailed) as caught:
        bench(source).process(sample_frames(2), pts=[50, 51])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        "script at 00:00:02.000: script.py failed in process: JSONDecodeError: Expecting property"
    )
    assert lines[1:] == ['  script.py:8 in process: inner("{")', "  script.py:5 in inner: return json.loads(value)"]


def test_configure_refuses_options_with_value_error(bench):
    source = "def configure(options):\n    raise ValueError('strength must be below 1')\ndef process(data): pass\n"
    with pytest.raises(BadInput, match=r"script.py failed in configure: ValueError: strength must be below 1"):
        bench(source).process(sample_frames(1))


def test_an_exit_is_an_error_of_the_stream(bench):
    with pytest.raises(ScriptFailed, match=r"it called sys.exit\(3\).*raise an exception instead"):
        bench("import sys\ndef process(data):\n    sys.exit(3)\n").process(sample_frames(1))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def process(data)\n    pass\n", "script.py failed in import: expected ':' in line 1: def process"),
        ("import no_such_package\n", "(?s)No module named 'no_such_package'; install it .* pip install --target"),
        ("def setup(config): pass\n", "no function process.*; of setup, warmup, configure and process it has setup"),
        ("process = 3\n", "'process' is int; allowed: a function"),
        (
            "def setup(config):\n    1 / 0\ndef process(data): pass\n",
            "(?s)failed in setup: ZeroDiv.*script.py:2 in setup",
        ),
        ("def warmup():\n    1 / 0\ndef process(data): pass\n", "failed in warmup: ZeroDivisionError"),
    ],
)
def test_a_script_that_cannot_be_loaded_says_why(bench, source, said):
    with pytest.raises(SettingError, match=said):
        bench(source)


def test_modules_beside_a_script_and_packages_of_its_own_can_be_imported(script, bench, tmp_path):
    script("VALUE = 7\n", name="beside_the_script.py")
    (tmp_path / "packages").mkdir()
    script("VALUE = 9\n", name="packages/only_for_this_script.py")
    source = """
        from beside_the_script import VALUE
        import only_for_this_script

        def process(data):
            return {"value": [VALUE, only_for_this_script.VALUE]}
    """
    assert list(bench(source).process(sample_frames(2)).results["value"]) == [7, 9]


def test_two_scripts_in_one_process_do_not_share_globals(bench, script):
    source = "count = 0\ndef process(data):\n    global count\n    count += 1\n    return {'n': [count]}\n"
    one, other = bench(source), bench(source)
    counts = [int(each.process(sample_frames(1)).results["n"][0]) for each in (one, one, other)]
    assert counts == [1, 2, 1]


def test_options_reach_configure_as_json_text(bench):
    source = """
        import json

        def configure(stream_config):
            assert isinstance(stream_config, str)
            return json.loads(stream_config)

        def process(data):
            return {"n": [data["state"]["n"]]}
    """
    assert bench(source).process(sample_frames(1), options=json.dumps({"n": 5})).results["n"] == np.array([5])
