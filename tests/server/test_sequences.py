# SPDX-License-Identifier: MIT
"""Streams side by side: order, the chunk counter, errors, abandoned streams."""

import threading

import numpy as np
import pytest


@pytest.fixture
def make_streams():
    """Streams of a stage that counts, optionally slow or failing; closed after the test."""
    from vireo_server.errors import BadInput
    from vireo_server.sequences import Stage, Streams
    from vireo_server.wire import Request

    class Counting(Stage):
        opened = 0
        closed = 0

        def listen(self, request):
            if "UNSAYABLE" in request._request.tensors:
                raise BadInput("its time is no number", stage="counting", seconds="x")

        def open(self, request):
            type(self).opened += 1
            self.steps = 0

        def step(self, request):
            gate = request._request.tensors.get("GATE")
            if gate is not None:
                gate.wait(20)
            if "BAD" in request._request.tensors:
                raise BadInput("this chunk is bad; send a good one", stage="counting", seconds=1.5)
            if "BUG" in request._request.tensors:
                raise KeyError("bug")
            self.steps += 1
            return {"STEPS": np.array([self.steps])}

        def failure(self, error):
            raise error

        def close(self):
            type(self).closed += 1

    made = []

    def make(**settings):
        Counting.opened = Counting.closed = 0
        streams = Streams(Counting, name="counting", idle_seconds=settings.pop("idle_seconds", 60), **settings)
        made.append(streams)

        def submit(request):
            streams.submit(Request(request, stage="counting"))
            return request

        return streams, submit, Counting

    yield make
    for streams in made:
        streams.close()


def test_a_stream_is_answered_in_order_and_closed_at_end(make_streams, request_of):
    streams, submit, stage = make_streams()
    requests = [submit(request_of({}, chunk=n, start=n == 0, end=n == 4)) for n in range(5)]
    assert [int(request.wait().tensors["STEPS"][0]) for request in requests] == [1, 2, 3, 4, 5]
    while streams.working():
        pass
    assert (stage.opened, stage.closed) == (1, 1)


def test_a_slow_stream_does_not_hold_up_another(make_streams, request_of):
    _, submit, _ = make_streams()
    gate = threading.Event()
    slow = submit(request_of({"GATE": gate}, chunk=0, start=True, stream="slow"))
    quick = submit(request_of({}, chunk=0, start=True, end=True, stream="quick"))
    assert quick.wait().error is None
    assert slow.response is None
    gate.set()
    assert slow.wait().error is None


@pytest.mark.parametrize(
    ("second", "said"),
    [(2, "chunk 1 is missing: got 2 after 0"), (0, "chunk 0 came twice or too late: got 0 after 0")],
)
def test_a_lost_or_doubled_chunk_fails_the_stream(make_streams, request_of, second, said):
    streams, submit, _ = make_streams()
    submit(request_of({}, chunk=0, start=True)).wait()
    error = submit(request_of({}, chunk=second)).wait().error
    assert said in error.text
    assert error.code.name == "INTERNAL"
    assert streams.working() == 0, "what a failed stream held is freed at once, not at its end"
    assert said in submit(request_of({}, chunk=1)).wait().error.text, "later requests get the same error"


def test_an_error_frees_the_stream_and_is_repeated_until_its_end(make_streams, request_of):
    streams, submit, stage = make_streams()
    submit(request_of({}, chunk=0, start=True)).wait()
    error = submit(request_of({"BAD": True}, chunk=1)).wait().error
    assert error.text == "counting at 00:00:01.500: this chunk is bad; send a good one [INVALID_ARG]"
    assert error.code.name == "INVALID_ARG"
    assert stage.closed == 1
    assert submit(request_of({}, chunk=2, end=True)).wait().error.text == error.text
    again = submit(request_of({}, chunk=0, start=True, end=True)).wait()
    assert again.error is None, "the same id may begin again"
    assert streams.heartbeat is not None


def test_a_bug_is_an_error_of_one_stream(make_streams, request_of):
    _, submit, _ = make_streams()
    error = submit(request_of({"BUG": True}, chunk=0, start=True, stream="a")).wait().error
    assert "KeyError: 'bug'" in error.text
    assert "fault of the server" in error.text
    assert submit(request_of({}, chunk=0, start=True, end=True, stream="b")).wait().error is None


def test_an_error_that_cannot_even_be_said_is_answered(make_streams, request_of):
    _, submit, _ = make_streams()
    error = submit(request_of({"UNSAYABLE": True}, chunk=0, start=True, stream="a")).wait().error
    assert "fault of the server" in error.text
    assert submit(request_of({}, chunk=1, end=True, stream="a")).wait().error.text == error.text


def test_a_stage_that_cannot_be_made_is_an_answer_too(request_of):
    from vireo_server.sequences import LIFE_SIGN, Streams
    from vireo_server.wire import Request

    def fail():
        raise RuntimeError("the GPU fell off the bus")

    streams = Streams(fail, name="decode", idle_seconds=60)
    for chunk, said in ((0, "RuntimeError: the GPU fell off the bus; this is a fault"), (LIFE_SIGN, "waits for this")):
        request = request_of({}, chunk=chunk, start=chunk == 0)
        streams.submit(Request(request, stage="decode"))
        assert said in request.wait().error.text
    streams.close()


def test_a_side_that_cannot_be_entered_is_an_answer_too(make_streams, request_of):
    from vireo_server.side import Side

    class Broken(Side):
        def enter(self):
            raise RuntimeError("no context")

    _, submit, _ = make_streams(side=Broken())
    assert "RuntimeError: no context" in submit(request_of({}, chunk=0, start=True)).wait().error.text


def test_a_stream_that_this_process_does_not_know_is_an_error_that_can_be_retried(make_streams, request_of):
    _, submit, _ = make_streams()
    error = submit(request_of({}, chunk=7)).wait().error
    assert "is not known here" in error.text
    assert error.code.name == "INTERNAL"


def test_an_abandoned_stream_is_closed(make_streams, request_of):
    streams, submit, stage = make_streams(idle_seconds=0.05)
    submit(request_of({}, chunk=0, start=True)).wait()
    deadline = threading.Event()
    for _ in range(200):
        if stage.closed:
            break
        deadline.wait(0.05)
    assert stage.closed == 1
    assert streams.working() == 0


def test_a_later_stage_keeps_a_stream_while_the_server_computes_what_it_waits_for(make_streams, request_of):
    streams, submit, stage = make_streams(idle_seconds=0.05)
    computing = ["slow_network"]
    streams.heartbeat.computing = lambda: computing
    submit(request_of({}, chunk=0, start=True)).wait()
    threading.Event().wait(0.5)
    assert (streams.working(), stage.closed) == (1, 0)
    assert submit(request_of({}, chunk=1)).wait().error is None
    computing.clear()
    for _ in range(200):
        if stage.closed:
            break
        threading.Event().wait(0.05)
    assert stage.closed == 1


def test_a_question_what_the_server_computes_opens_no_stream(make_streams, request_of):
    from vireo_server.sequences import LIFE_SIGN

    streams, submit, stage = make_streams()
    assert "somebody waits" in submit(request_of({}, chunk=LIFE_SIGN, start=True, end=True)).wait().error.text
    assert (stage.opened, streams.working()) == (0, 0)


def test_later_stages_are_told_of_a_stream_that_its_caller_ended(make_streams, tmp_path):
    from vireo_server.heartbeat import Heartbeat

    streams, _, _ = make_streams(heartbeat=Heartbeat("decode", folder=tmp_path))
    for stream in ("vireo:mine", "17"):
        streams.abandon(stream)
    assert streams.heartbeat.is_abandoned("vireo:mine")
    assert not streams.heartbeat.is_abandoned("17"), "it may be used again"


def test_start_again_under_the_same_id_begins_anew(make_streams, request_of):
    _, submit, stage = make_streams()
    submit(request_of({}, chunk=0, start=True)).wait()
    submit(request_of({}, chunk=1)).wait()
    again = submit(request_of({}, chunk=0, start=True)).wait()
    assert int(again.tensors["STEPS"][0]) == 1
    assert stage.closed == 1


def test_a_caller_that_has_gone_frees_its_stream(make_streams, request_of):
    streams, submit, _ = make_streams()
    submit(request_of({}, chunk=0, start=True)).wait()
    error = submit(request_of({}, chunk=1, cancelled=True)).wait().error
    assert error.code.name == "CANCELLED"
    assert streams.working() == 0


def test_more_streams_than_allowed_are_told_to_come_back(make_streams, request_of):
    from vireo_server.sequences import Streams
    from vireo_server.wire import Request

    _, _, counting = make_streams()

    class Admitting(counting):
        def open(self, request):
            streams.admit()
            super().open(request)

    streams = Streams(Admitting, name="counting", idle_seconds=60, max_streams=2)
    try:
        requests = [request_of({}, chunk=0, start=True, stream=str(n)) for n in range(3)]
        for request in requests:
            streams.submit(Request(request, stage="counting"))
        errors = [error for error in (request.wait().error for request in requests) if error]
        assert len(errors) == 1
        assert errors[0].code.name == "UNAVAILABLE"
        assert "2 streams are open, which is the limit" in errors[0].text
    finally:
        streams.close()


def test_the_metrics_are_told_how_many_streams_are_open(make_streams, request_of, wait_for):
    from vireo_server.side import Side

    told = []
    _, submit, _ = make_streams(side=Side(streams=told.append))
    submit(request_of({}, chunk=0, start=True, stream="long"))
    wait_for(lambda: told == [1])
    submit(request_of({}, chunk=0, start=True, end=True, stream="short"))
    wait_for(lambda: told == [1, 2, 1])
    submit(request_of({}, chunk=1, end=True, stream="long"))
    wait_for(lambda: told == [1, 2, 1, 1, 0])


def test_a_process_is_told_that_it_is_idle_when_its_last_stream_has_ended(make_streams, request_of):
    told = threading.Event()
    _, submit, _ = make_streams(when_idle=told.set)
    submit(request_of({}, chunk=0, start=True, stream="long")).wait()
    submit(request_of({}, chunk=0, start=True, end=True, stream="short")).wait()
    assert not told.wait(0.5)
    submit(request_of({}, chunk=1, end=True, stream="long")).wait()
    assert told.wait(20)
