# SPDX-License-Identifier: MIT
"""One sequence on the real server, tensor by tensor: what a caller gets for right and for wrong requests."""

import base64
import json

import av
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException
from vireo_media.testing import read_number


def send_all(caller, clip, *, size=8, chunks=None):
    """Send a whole clip, flush it, and give (numbers, pts) of what came back; errors are raised."""
    stream, packets, timing = clip
    coded, output = [], None
    bounds = [(first, min(first + size, len(packets))) for first in range(0, len(packets), size)]
    pending = 0
    for chunk, (first, end) in enumerate(bounds[:chunks]):
        reply = caller.ask(
            chunk, packets[first:end], timing[first:end], stream=stream if chunk == 0 else "", start=chunk == 0
        )
        if isinstance(reply, InferenceServerException):
            raise reply
        report, data, times = reply
        coded += zip(data, times.tolist(), strict=True)
        output, pending = report["output"] or output, report["pending"]
    flushes = max(1, -(-pending // size))
    for n in range(flushes):
        report, data, times = caller.ask(len(bounds[:chunks]) + n, end=n == flushes - 1)
        coded += zip(data, times.tolist(), strict=True)
    return coded, report["output"] or output


def decode(coded, output):
    decoder = av.CodecContext.create(output["codec"], "r")
    decoder.extradata = base64.b64decode(output["extradata"])
    frames = []
    for data, (pts, dts, _, _) in coded:
        packet = av.Packet(data)
        packet.pts, packet.dts = pts, dts
        frames += decoder.decode(packet)
    return [(frame.pts, read_number(frame)) for frame in frames + decoder.decode(None)]


@pytest.mark.parametrize("size", [1, 3, 8, 17, 32])
def test_every_frame_once_in_order_with_its_time_at_any_chunk_size(call, clip, size):
    coded, output = send_all(call(), clip, size=size)
    frames = decode(coded, output)
    assert [number for _, number in frames] == list(range(48))
    assert [pts for pts, _ in frames] == sorted(clip[2][:, 0].tolist())


def test_where_chunks_end_does_not_change_a_byte(call, clip):
    results = [send_all(call(), clip, size=size)[0] for size in (1, 3, 8, 17)]
    assert all(result == results[0] for result in results)


def test_a_whole_clip_in_one_request(call, clip):
    stream, packets, timing = clip
    report, data, times = call().ask(0, packets[:32], timing[:32], stream=stream, start=True, end=True)
    assert report["frames_out"] == 32
    assert [number for _, number in decode(zip(data, times.tolist(), strict=True), report["output"])] == list(range(32))


def test_report_says_what_came_and_what_is_held(call, clip):
    stream, packets, timing = clip
    caller = call()
    report, _, _ = caller.ask(0, packets[:8], timing[:8], stream=stream, start=True)
    caller.ask(1, end=True)
    assert report["frames_in"] + report["pending"] == 8
    assert report["output"]["width"] == 320
    assert report["output"]["color"]["matrix"] == "smpte170m", "small and untagged: BT.601, and said so"
    assert report["output"]["pixel_format"] == "nv12"


def test_a_lost_chunk_is_noticed_and_every_later_request_says_so(call, clip, all_freed):
    stream, packets, timing = clip
    caller = call()
    for chunk in range(3):
        caller.ask(chunk, packets[8 * chunk : 8 * chunk + 8], timing[8 * chunk : 8 * chunk + 8],
                   stream=stream if chunk == 0 else "", start=chunk == 0)  # fmt: skip
    error = caller.ask(4, packets[32:40], timing[32:40])
    assert "decode: chunk 3 is missing: got 4 after 2" in error.message()
    assert error.message().endswith(" [INTERNAL]")
    assert "chunk 3 is missing" in caller.ask(5, packets[40:], timing[40:], end=True).message()
    all_freed()


def test_garbage_in_the_middle_is_an_error_with_its_time_and_harms_nobody(call, clip, all_freed):
    stream, packets, timing = clip
    bad, good = call(), call()
    bad.ask(0, packets[:8], timing[:8], stream=stream, start=True)
    good.ask(0, packets[:8], timing[:8], stream=stream, start=True)
    # A chunk of noise where pictures should be: the length prefixes of H.264 make no sense any more.
    noise = [bytes(np.random.default_rng(n).integers(0, 256, 400, dtype=np.uint8)) for n in range(8)]
    reply = bad.ask(1, noise, timing[8:16])
    assert isinstance(reply, InferenceServerException)
    assert "decode at 00:00:00." in reply.message()
    assert "mend or re-encode the source" in reply.message()
    assert reply.message().endswith(" [INVALID_ARG]")
    report, _, _ = good.ask(1, packets[8:16], timing[8:16])
    assert report["frames_in"] == 8
    bad.ask(2, end=True)
    good.ask(2, end=True)
    all_freed()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codec": "h26x"}, "codec 'h26x' is not served here; allowed: h264, hevc"),
        ({"surprise": 1}, "unknown key 'surprise'; known are contract, codec"),
        ({"width": 100_000, "height": 100_000}, "the picture is 100000x100000, 10000000000 pixels; allowed: 35389440"),
        ({"contract": 2}, "contract"),
        (
            {"encoder": {"codec": "h266"}},
            "option 'codec' cannot be 'h266'; allowed is 'h264', 'hevc', 'av1', 'vp9', 'ffv1'",
        ),
    ],
)
def test_a_start_that_cannot_be_served_says_why(call, clip, change, said, all_freed):
    stream, packets, timing = clip
    caller = call()
    reply = caller.ask(0, packets[:8], timing[:8], stream=json.dumps(json.loads(stream) | change), start=True)
    assert isinstance(reply, InferenceServerException)
    assert said in reply.message()
    assert reply.message().endswith(" [INVALID_ARG]")
    assert said in caller.ask(1, end=True).message()
    all_freed()


def test_no_json_at_start(call, clip):
    reply = call().ask(0, clip[1][:8], clip[2][:8], stream="{", start=True, end=True)
    assert "input STREAM is not JSON" in reply.message()


def test_more_packets_than_allowed(call, clip):
    stream, packets, timing = clip
    reply = call().ask(0, packets[:33], timing[:33], stream=stream, start=True, end=True)
    assert "33 packets in one request; allowed: 32 (max_packets of model 'decode')" in reply.message()


def test_a_request_in_the_middle_of_nothing(call, clip):
    caller = call()
    reply = caller.ask(3, clip[1][:8], clip[2][:8])
    assert isinstance(reply, InferenceServerException)


def test_abort_frees_every_stage(call, clip, all_freed, open_streams, wait_for):
    stream, packets, timing = clip
    caller = call()
    caller.ask(0, packets[:8], timing[:8], stream=stream, start=True)
    wait_for(lambda: open_streams()["decode"] == open_streams()["encode"] == 1)
    error = caller.ask(0, stream=json.dumps({"abort": True}), start=True, end=True)
    assert error.message().endswith(" [CANCELLED]")
    all_freed()


def test_nothing_is_held_for_a_caller_that_vanishes(server, call, clip, open_streams, wait_for):
    stream, packets, timing = clip
    caller = call()
    caller.ask(0, packets[:8], timing[:8], stream=stream, start=True)
    caller.hang_up()
    wait_for(lambda: not any(open_streams().values()))
    assert f"decode: stream {caller.id} had no request for" in server.log


def test_four_sequences_side_by_side_share_the_network(server, call, clip, statistics):
    """Each has one request of 8 rows under way, so an execution of more than 16 rows holds three of them."""
    before = batches(statistics("super_resolution_network"))
    callers = [call("super_resolution") for _ in range(4)]
    stream, packets, timing = clip
    for chunk in range(6):
        for caller in callers:
            caller.send(chunk, packets[8 * chunk : 8 * chunk + 8], timing[8 * chunk : 8 * chunk + 8],
                        stream=stream if chunk == 0 else "", start=chunk == 0)  # fmt: skip
        for caller in callers:
            caller.receive()
    for caller in callers:
        caller.ask(6, end=True)
    after = batches(statistics("super_resolution_network"))
    grown = {size for size, count in after.items() if count > before.get(size, 0)}
    assert max(grown) > 16, f"rows of one execution: {sorted(grown)}"


def batches(entry):
    return {int(one["batch_size"]): int(one["compute_infer"]["count"]) for one in entry.get("batch_stats", [])}
