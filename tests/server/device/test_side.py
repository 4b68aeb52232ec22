# SPDX-License-Identifier: MIT
"""The border between host and device, and how tensors lie on either side of it."""

import sys
import threading

import numpy as np
import pytest
from vireo_server import wire
from vireo_server.errors import Internal
from vireo_server.sequences import Stage, Streams
from vireo_server.side import HOST, Border, Side, side_of
from vireo_server.wire import Request


@pytest.fixture
def machine(stand_in):
    """What is tried here needs hardware that is made up."""
    return stand_in


PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_what_crosses_is_counted_and_what_lies_there_is_not_touched(machine, side):
    told = []
    border = Border(Side(device=side.device, count=lambda *one: told.append(one)), stage="preprocess")
    on_device = border.bring(PICTURE)
    assert border.bring(on_device) is on_device
    back = border.to_host(on_device)
    np.testing.assert_array_equal(back, PICTURE)
    assert border.to_host(back) is back
    assert machine.crossed == {"to_device": 24, "to_host": 24}
    assert told == [("to_device", 24), ("to_host", 24)]
    assert border.told({"pending": 1, "crossed": {"decode": {"to_device": 0, "to_host": 0}}}) == {
        "pending": 1,
        "crossed": {
            "decode": {"to_device": 0, "to_host": 0},
            "preprocess": {"to_device": 24, "to_host": 24},
        },
    }
    assert border.told({}) == {"crossed": {"preprocess": {"to_device": 0, "to_host": 0}}}


def test_on_the_host_nothing_crosses_and_nothing_is_said():
    border = Border(HOST, stage="preprocess")
    assert border.bring(PICTURE) is PICTURE
    assert border.told({"pending": 0}) == {"pending": 0}


def test_a_stage_on_the_host_fetches_what_came_on_a_device_and_says_so(machine, side):
    given = Border(side, stage="decode").bring(PICTURE)
    border = Border(HOST, stage="encode")
    np.testing.assert_array_equal(border.bring(given), PICTURE)
    assert border.told({}) == {"crossed": {"encode": {"to_device": 0, "to_host": 24}}}


def test_tensors_come_and_go_on_either_side(machine, side, request_of, triton_python_backend_utils):
    given = Border(side, stage="decode").bring(PICTURE)
    fake = request_of({"FRAMES": given, "TIMING": np.zeros((1, 4), np.int64)}, chunk=0)
    request = Request(fake, stage="preprocess")
    frames = request.pixels("FRAMES")
    assert frames.__dlpack_device__() == (2, 0)
    request.answer({"INPUT": frames.transpose(2, 0, 1), "TIMING": request.array("TIMING")})
    sent = fake.wait().tensors
    np.testing.assert_array_equal(sent["INPUT"]._values, PICTURE.transpose(2, 0, 1))
    assert isinstance(sent["TIMING"], np.ndarray)
    assert machine.crossed == {"to_device": 24, "to_host": 0}


def test_what_is_answered_later_is_copied_before_execute_returns(machine, side, request_of):
    given = Border(side, stage="decode").bring(PICTURE)
    request = Request(request_of({"FRAMES": given}, chunk=0), stage="encode")
    request.keep()
    given[...] = 0  # Triton gives its memory to another chunk as soon as `execute` has returned.
    np.testing.assert_array_equal(machine.look(request.pixels("FRAMES")), PICTURE)
    assert machine.crossed["to_host"] == 0


def test_an_input_that_found_no_room_is_an_error_when_it_is_asked_for(machine, side, request_of, monkeypatch):
    def full(tensor):
        raise MemoryError("out of memory allocating 24 bytes")

    request = Request(request_of({"FRAMES": Border(side, stage="decode").bring(PICTURE)}, chunk=0), stage="encode")
    monkeypatch.setattr(wire, "_on_device", full)
    monkeypatch.setattr(wire, "_ROOM_SECONDS", 0)
    request.keep()
    assert request.array("CHUNK") == [0]
    with pytest.raises(Internal, match=r"encode: input FRAMES could not be copied on the GPU: out of memory .* fewer"):
        request.pixels("FRAMES")


def test_an_input_waits_for_room(machine, side, request_of, monkeypatch):
    tried = []

    def full_at_first(tensor):
        tried.append(tensor.name())
        if len(tried) < 3:
            raise MemoryError("out of memory")
        return tensor._array

    given = Border(side, stage="decode").bring(PICTURE)
    request = Request(request_of({"FRAMES": given}, chunk=0), stage="encode")
    monkeypatch.setattr(wire, "_on_device", full_at_first)
    request.keep()
    np.testing.assert_array_equal(machine.look(request.pixels("FRAMES")), PICTURE)
    assert tried == ["FRAMES"] * 3


@pytest.mark.parametrize("comes", ["device", "host"])
@pytest.mark.parametrize("goes", ["device", "host"])
def test_the_device_is_waited_for_before_triton_reads_or_takes_its_memory_back(machine, side, request_of, comes, goes):
    tensors = {"device": Border(side, stage="decode").bring(PICTURE), "host": PICTURE}
    request = Request(request_of({"FRAMES": tensors[comes]}, chunk=0), stage="encode")
    request.pixels("FRAMES")
    waits = machine.waits
    request.answer({"INPUT": tensors[goes]})
    assert machine.waits - waits == (comes == "device") + (goes == "device")


def instance(kind):
    return {"model_name": "m", "model_instance_kind": kind, "model_instance_device_id": "1"}


def test_a_process_works_where_triton_put_it(machine, monkeypatch, triton_python_backend_utils):
    pools = []
    pool = type("Pool", (), {"set_limit": lambda self, *, fraction: pools.append(fraction)})
    monkeypatch.setattr(machine, "get_default_memory_pool", pool, raising=False)
    assert side_of(instance("CPU"), stage="decode").is_host
    side = side_of(instance("GPU"), stage="decode", share=0.25)
    assert (side.device.cuda, pools) == (1, [0.25])
    Border(side, stage="decode").count("to_host", 7)
    readings = triton_python_backend_utils.MetricFamily.readings
    assert readings["vireo_host_device_bytes", "m", "decode", "to_host"] == 7
    assert readings["vireo_host_device_bytes", "m", "decode", "to_device"] == 0
    assert readings["vireo_open_streams", "m"] == 0
    side.streams(3)
    assert readings["vireo_open_streams", "m"] == 3
    side.close()
    side.streams(4)
    assert readings["vireo_open_streams", "m"] == 3


def test_a_gpu_without_cupy_is_said_and_the_host_works(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert side_of(instance("GPU"), stage="decode").is_host
    said = capsys.readouterr().out
    assert "m: Triton placed it on GPU 1, but it works on the host: " in said
    assert "pip install 'vireo[gpu]'" in said


class Late(Stage):
    """Gives FRAMES back as they are when it is asked to go on."""

    def __init__(self, gate):
        self._gate = gate

    def open(self, request):
        pass

    def step(self, request):
        assert self._gate.wait(20)
        return {"FRAMES": request.pixels("FRAMES")}

    def failure(self, error):
        raise error


def test_a_stream_that_is_answered_later_sees_what_came(machine, side, request_of):
    gate, given = threading.Event(), Border(side, stage="decode").bring(PICTURE)
    streams = Streams(lambda: Late(gate), name="late", idle_seconds=20, side=side)
    fake = request_of({"FRAMES": given}, chunk=0, start=True, end=True)
    streams.submit(Request(fake, stage="late"))  # `execute` has returned
    given[...] = 0
    gate.set()
    np.testing.assert_array_equal(machine.look(fake.wait().tensors["FRAMES"]), PICTURE)
    streams.close()


def test_what_does_not_load_leaves_no_metrics():
    closed = []
    side = Side(close=lambda: closed.append(1))
    with side.closed_on_failure():
        pass
    assert closed == []
    with pytest.raises(ValueError, match="weights"), side.closed_on_failure():
        raise ValueError("weights")
    assert closed == [1]
