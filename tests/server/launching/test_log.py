# SPDX-License-Identifier: MIT
"""Triton's lines, read and said again."""

import pytest
from vireo_server.launching.failures import load_failures
from vireo_server.launching.log import ServerLog, parse, readable

TIME = "1122 13:19:46.456883 6882"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'I{TIME} model_lifecycle.cc:472] "loading: decode:1"', None),
        (f'I{TIME} model.py:5] "opened 3 streams"', "vireo: opened 3 streams"),
        (f'W{TIME} model.py:5] "late:\\n\\tby 2 s"', "vireo: warning: late:\n  \tby 2 s"),
        (f'E{TIME} model.py:5] "said \\"no\\""', 'vireo: error: said "no"'),
        (f'W{TIME} sequence.cc:7] "a sequence was dropped"', "vireo: warning: a sequence was dropped"),
        (f'E{TIME} pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, ..."', None),
        ("E1122 13:19:52.178943346    7195 chttp2_server.cc:1060]    UNKNOWN:oops", "vireo: error: UNKNOWN:oops"),
        ("a line that a model printed", "vireo: a line that a model printed"),
        (f"I{TIME} server.cc:674] ", None),
        ("+--------+---------+--------+", None),
        ("| decode | 1       | READY  |", None),
        ("Signal (15) received.", None),
        ("[ERROR] evhtp.c:3130     ODDITY, resuming when not paused?!? :: (errno: None)", None),
        ("", None),
    ],
)
def test_what_is_said(line, said):
    assert readable(parse(line), has_gpu=False) == said


def test_complaints_about_a_gpu_are_said_where_there_is_one():
    entry = parse(f'W{TIME} metrics.cc:798] "DCGM unable to start: DCGM initialization error"')
    assert readable(entry, has_gpu=False) is None
    assert readable(entry, has_gpu=True) == "vireo: warning: DCGM unable to start: DCGM initialization error"


def test_verbose_says_every_line_as_it_came():
    said = []
    log = ServerLog(say=said.append, verbose=True)
    lines = ["+---+", f'I{TIME} model_lifecycle.cc:472] "loading: decode:1"', ""]
    for line in lines:
        log.add(line)
    assert said == lines
    assert log.text() == "\n".join(lines)


def test_listener_that_is_gone_does_not_stop_the_reading():
    calls = []

    def say(text):
        calls.append(text)
        raise BrokenPipeError

    log = ServerLog(say=say)
    log.add("one")
    log.add("two")
    assert calls == ["vireo: one"]
    assert log.text() == "one\ntwo"


def test_models_that_are_loaded_are_known():
    log = ServerLog()
    for model in ("decode", "encode"):
        log.add(f"I{TIME} model_lifecycle.cc:839] \"successfully loaded '{model}'\"")
    log.add(f"I{TIME} model_lifecycle.cc:624] \"successfully unloaded 'decode' version 1\"")
    assert log.live_models() == {"encode"}


def test_memory_is_bounded():
    log = ServerLog()
    for number in range(20_000):
        log.add(str(number))
    assert len(log.entries()) == 5000
    assert log.entries()[-1].message == "19999"


def test_last_words_are_the_errors_if_there_are_any():
    log = ServerLog()
    log.add("printed")
    assert log.last_words(count=5) == ["printed"]
    log.add(f'E{TIME} server.cc:241] "CudaDriverHelper has not been initialized."')
    log.add(f'E{TIME} main.cc:245] "failed to start"')
    log.add("printed again")
    assert log.last_words(count=5) == ["failed to start"]


def test_reason_of_a_failed_load_is_its_exception_without_tritons_wrapping():
    entries = [
        parse(f'E{TIME} backend_model.cc:692] "ERROR: Failed to create instance: ValueError: no\\n"'),
        parse(
            f"E{TIME} model_lifecycle.cc:642] \"failed to load 'bad' version 1: Internal: ValueError: weights missing;"
            '\\nput them there\\n\\nAt:\\n  /doors/toy/model.py(4): initialize\\n"'
        ),
        parse(
            f"E{TIME} model_repository_manager.cc:703] \"Invalid argument: ensemble 'svc' depends on 'bad' which has "
            'no loaded version."'
        ),
    ]
    reason = "ValueError: weights missing;\nput them there\nAt:\n  /doors/toy/model.py(4): initialize"
    assert load_failures(entries) == {"bad": reason}
    # Whoever asked for the model says why; the log does not say it three times more.
    assert [readable(entry, has_gpu=False) for entry in entries] == [None, None, None]


def test_a_server_that_is_started_again_is_not_what_its_log_began_with():
    log = ServerLog()
    log.add("I1122 13:19:52.182356 71 model_lifecycle.cc:839] \"successfully loaded 'echo'\"")
    log.begin_anew()
    assert (log.entries(), log.live_models(), log.lines) == ([], set(), 1)
    log.add("anything")
    assert [entry.raw for entry in log.entries()] == ["anything"]
    assert log.text().endswith("'echo'\"\nanything")
