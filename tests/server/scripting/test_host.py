# SPDX-License-Identifier: MIT
"""One thread that calls a script, and the turns of its streams."""

import threading

import pytest
from vireo_server.errors import Cancelled, SettingError, Unavailable
from vireo_server.scripting.host import ScriptHost
from vireo_server.settings import ScriptSettings

GLOBALS = "def configure(options): pass\ndef process(data): pass\n"
STATE = "def configure(options): return object()\ndef process(data): pass\n"


@pytest.fixture
def host(script):
    hosts = []

    def make(source, *, note=lambda text: None, **settings):
        hosts.append(ScriptHost(script(source), ScriptSettings(**settings), note=note))
        return hosts[-1]

    yield make
    for one in hosts:
        one.close()


def test_everything_runs_on_one_thread(host):
    source = """
        import threading
        threads = [threading.get_ident()]
        def setup(config): threads.append(threading.get_ident())
        def warmup(): threads.append(threading.get_ident())
        def configure(options): threads.append(threading.get_ident())
        def process(data): pass
    """
    one = host(source)
    one.begin("{}").close()
    one.begin("{}").close()
    threads = one._script._module.threads
    assert len(threads) == 5
    assert set(threads) != {threading.get_ident()}
    assert len(set(threads)) == 1


def test_a_script_with_globals_serves_one_stream_after_the_other_and_says_so_once(host):
    notes = []
    one = host(GLOBALS, note=notes.append)
    streams, began = [one.begin("{}")], []
    threads = [threading.Thread(target=lambda: began.append(one.begin("{}"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not notes:
        threading.Event().wait(0.01)
    assert began == []
    for _ in threads:
        streams.pop().close()
        while not began:
            threading.Event().wait(0.01)
        assert len(began) == 1
        streams.append(began.pop())
    for thread in threads:
        thread.join()
    assert len(notes) == 1
    assert "serves one stream at a time, others wait: its configure returns None" in notes[0]


@pytest.mark.parametrize("source", [STATE, "def process(data): pass\n"])
def test_others_serve_streams_side_by_side(host, source):
    one = host(source)
    streams = [one.begin("{}") for _ in range(3)]
    assert not any(stream.takes_turns for stream in streams)


def test_waiting_has_an_end(host):
    one = host(GLOBALS, wait_seconds=0.1)
    one.begin("{}")
    with pytest.raises(Unavailable, match=r"another held it for 0.1 s \(parameter wait_seconds\)"):
        one.begin("{}")


def test_a_caller_that_has_gone_does_not_wait(host):
    one = host(GLOBALS)
    first = one.begin("{}")
    with pytest.raises(Cancelled):
        one.begin("{}", is_cancelled=lambda: True)
    first.close()
    one.begin("{}").close()


def test_a_configure_that_fails_gives_the_turn_back(host):
    one = host("def configure(options):\n    assert options == '1'\ndef process(data): pass\n")
    for _ in range(2):
        with pytest.raises(Exception, match="AssertionError"):
            one.begin("{}")
    one.begin("1")


def test_warm_up_sizes_go_through_the_script_before_it_is_ready(host):
    source = "seen = []\ndef process(data): seen.append((len(data['data']), data['width'], data['height']))\n"
    one = host(source, warmup=("64x48", " 3840x2160".strip()), batch_pixels=4 * 3840 * 2160)
    assert one._script._module.seen == [(16, 64, 48), (4, 3840, 2160)]
    assert "16 frames of 64x48" in one.preparation


def test_a_script_that_fails_on_a_warm_up_size_does_not_load(host):
    with pytest.raises(SettingError, match=r"does not work with 16 frames of 64x48, the warm-up's: .*returned bool"):
        host("def process(data): return True\n", warmup=("64x48",))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"warmup": ("64",)}, "parameter warmup has '64'; allowed: WIDTHxHEIGHT"),
        ({"config": "{"}, "parameter config is not JSON"),
        ({"profiling": "yes"}, "allowed: on, off"),
        ({"batch": 0}, "batch is 0; it must be more than 0"),
    ],
)
def test_settings_that_cannot_work(values, said):
    with pytest.raises(SettingError, match=said):
        ScriptSettings(**values)
