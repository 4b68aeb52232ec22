# SPDX-License-Identifier: MIT
"""The client on a service in this process that decodes and encodes for real: order, retries, stopping, what is left."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from vireo_client import Client, Patience, testing, watching
from vireo_client.errors import (
    CancelledError,
    FaultError,
    RefusedError,
    ServiceError,
    UnavailableError,
    UnknownServiceError,
    WaitError,
)
from vireo_client.progress import Progress
from vireo_client.testing import DESCRIPTION, Loopback
from vireo_client.transport import WireReply
from vireo_media.errors import FramesLostError, InputError, OptionError, OutputError, OutputExistsError
from vireo_media.exchange import Request
from vireo_media.testing import numbered_clip, read_frames, read_numbers

FRAMES = 450
TIMES = [(Fraction(i, 25), i) for i in range(FRAMES)]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.mp4"


def test_every_frame_comes_back_once_in_order_at_its_time(clip: Path, output: Path) -> None:
    loopback = Loopback()
    with Client(transport=loopback) as client:
        result = client.run("passthrough", clip, output)
    assert list(read_frames(output)) == TIMES
    assert (result.frames_in, result.frames_out, result.segments) == (FRAMES, FRAMES, 5)
    assert (result.duration_seconds, result.output, result.warnings) == (18.0, output, ())
    assert result.seconds > 0
    assert [entry.name for entry in output.parent.iterdir()] == ["out.mp4"]
    assert (loopback.opened, loopback.open, loopback.aborted) == (5, 0, [])


def test_a_frame_that_a_service_loses_is_missed_in_its_segment(
    clip: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written: a result that differs would be kept beside the output."""
    whole = testing._Chain.step

    def losing(chain: testing._Chain, request: Request) -> WireReply:
        packets, timing, report, results = whole(chain, request)
        if request.end:
            packets, timing = packets[:-1], timing[:-1]
            report = json.dumps(json.loads(report) | {"frames_out": len(packets)}).encode()
        return packets, timing, report, results

    monkeypatch.setattr(testing._Chain, "step", losing)
    with (
        Client(transport=Loopback()) as client,
        pytest.raises(FramesLostError, match=r"segment \d.*: \d+ frames came back for \d+; allowed is 1 for each"),
    ):
        client.run("passthrough", clip, output)
    assert list(output.parent.iterdir()) == []


def test_the_bytes_depend_on_neither_segments_in_flight_nor_chunks(clip: Path, tmp_path: Path) -> None:
    files = []
    for in_flight, chunk in ((1, None), (4, None), (2, 1), (3, 3), (2, 17), (4, 32)):
        files.append(tmp_path / f"{in_flight}_{chunk}.mp4")
        loopback = Loopback()
        with Client(transport=loopback) as client:
            client.run("passthrough", clip, files[-1], segments_in_flight=in_flight, chunk_packets=chunk)
        assert loopback.most_open <= in_flight
    assert len({file.read_bytes() for file in files}) == 1


def test_segments_run_side_by_side(clip: Path, output: Path) -> None:
    """Three sequences meet at a barrier that only lets all of them pass."""
    barrier = threading.Barrier(3)
    met = []

    def fault(sequence: int, request: Request) -> None:
        if request.start and sequence < 3:
            barrier.wait(timeout=30)
            met.append(sequence)

    with Client(transport=Loopback(fault=fault)) as client:
        client.run("passthrough", clip, output, segments_in_flight=3)
    assert sorted(met) == [0, 1, 2]


def test_the_whole_video_is_one_sequence_where_the_service_wants_it(clip: Path, output: Path) -> None:
    loopback = Loopback(services={"tracker": {**DESCRIPTION, "segments": False}})
    with Client(transport=loopback) as client:
        result = client.run("tracker", clip, output)
    assert list(read_frames(output)) == TIMES
    assert (result.segments, loopback.opened) == (1, 1)


@pytest.mark.parametrize("max_rows", [1, 3, 32])
def test_a_service_that_gives_few_rows_a_reply_is_flushed(clip: Path, output: Path, max_rows: int) -> None:
    loopback = Loopback(services={"slow": {**DESCRIPTION, "max_rows": max_rows, "max_packets": 8}})
    with Client(transport=loopback) as client:
        client.run("slow", clip, output)
    assert read_numbers(output) == list(range(FRAMES))


def failing(
    times: int, error: Callable[[], ServiceError], *, chunk: int = 2
) -> Callable[[int, Request], ServiceError | None]:
    """The first `times` sequences fail in their chunk `chunk`."""

    def fault(sequence: int, request: Request) -> ServiceError | None:
        return error() if sequence < times and request.chunk == chunk else None

    return fault


@pytest.mark.parametrize(
    ("times", "error"),
    [(2, lambda: FaultError("stub died")), (3, lambda: UnavailableError("full"))],
)
def test_what_can_be_tried_again_is_under_a_new_id(
    clip: Path, output: Path, times: int, error: Callable[[], ServiceError], short: Patience, tmp_path: Path
) -> None:
    loopback = Loopback(fault=failing(times, error))
    with Client(transport=loopback, patience=short) as client:
        client.run("passthrough", clip, output, segments_in_flight=1)
    assert loopback.opened == 5 + times
    assert len(set(loopback.aborted)) == times, "what was broken off is freed"
    with Client(transport=Loopback()) as client:
        client.run("passthrough", clip, tmp_path / "undisturbed.mp4")
    assert output.read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()


@pytest.mark.parametrize(
    ("error", "kind", "opened", "words"),
    [
        (
            FaultError("stub died"),
            FaultError,
            3,
            r"segment 0 \(00:00:00.000 to 00:00:04.000\): stub died \(tried 3 times\)",
        ),
        (
            RefusedError("decode: bad packet"),
            RefusedError,
            1,
            r"segment 0 .*: decode: bad packet \(stream [0-9a-f-]+\)$",
        ),
        (UnavailableError("full"), UnavailableError, None, r"segment 0 .*: full \(tried for 0.5 s\)"),
    ],
)
def test_what_does_not_pass_ends_in_one_message_and_leaves_nothing(
    clip: Path,
    output: Path,
    error: ServiceError,
    kind: type[ServiceError],
    opened: int | None,
    words: str,
    short: Patience,
) -> None:
    loopback = Loopback(fault=lambda sequence, request: error if request.chunk == 1 else None)
    with Client(transport=loopback, patience=short) as client, pytest.raises(kind, match=words):
        client.run("passthrough", clip, output, segments_in_flight=1)
    assert list(output.parent.iterdir()) == []
    assert loopback.opened == opened or opened is None
    assert loopback.open == 0


def test_a_reply_that_never_comes_ends_in_a_message(clip: Path, output: Path, short: Patience) -> None:
    loopback = Silent()
    with Client(transport=loopback, patience=short) as client, pytest.raises(WaitError) as caught:
        client.run("passthrough", clip, output, segments_in_flight=1)
    assert "waited 1 s for one of 3 replies from 'loopback' and nothing came" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)
    assert (len(loopback.aborted), loopback.open) == (3, 0)
    assert list(output.parent.iterdir()) == []


def test_a_reply_may_take_longer_while_the_server_says_that_it_computes(
    clip: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.05)
    patience = Patience(reply_seconds=0.5, most_faults=0)
    with Client(transport=Slow(computes=True), patience=patience) as client:
        assert client.run("passthrough", clip, output, segments_in_flight=1).frames_out == 450
    for computes, longest in ((False, 3600.0), (True, 1.0)):
        patience = Patience(reply_seconds=0.5, longest_seconds=longest, most_faults=0)
        with Client(transport=Slow(computes=computes), patience=patience) as client, pytest.raises(WaitError):
            client.run("passthrough", clip, output, segments_in_flight=1, overwrite=True)


class Slow(Loopback):
    """A service that needs 1.5 s for its first reply, on a server that says whether it computes."""

    def __init__(self, *, computes: bool) -> None:
        super().__init__()
        self._computes, self._done = computes, False

    def stage_counts(self, service):
        return {"decode": 1, "network": 1, "encode": 1, service: 0}

    def keep_alive(self, service, sequences, *, computing):
        if self._computes:
            computing()

    def connect(self, service, *, label=""):
        from contextlib import contextmanager

        @contextmanager
        def slowly():
            with Loopback.connect(self, service) as connection:
                receive, began = connection.receive, time.monotonic()

                def late(*, seconds):
                    if time.monotonic() - began < 1.5 and not self._done:
                        time.sleep(0.05)
                        return None
                    self._done = True
                    return receive(seconds=seconds)

                connection.receive = late
                yield connection

        return slowly()


class Silent(Loopback):
    """A service that takes everything and answers nothing."""

    def connect(self, service, *, label=""):
        from contextlib import contextmanager

        @contextmanager
        def mute():
            with Loopback.connect(self, service) as connection:
                connection.send = lambda request: None
                yield connection

        return mute()


def test_one_failing_segment_stops_the_others(clip: Path, output: Path, short: Patience) -> None:
    def fault(sequence: int, request: Request) -> ServiceError | None:
        return RefusedError("bad") if sequence == 1 and request.chunk == 1 else None

    loopback = Loopback(fault=fault)
    with Client(transport=loopback, patience=short) as client, pytest.raises(RefusedError, match="segment 1"):
        client.run("passthrough", clip, output, segments_in_flight=2)
    assert loopback.open == 0
    assert loopback.opened < 5
    assert list(output.parent.iterdir()) == []


def test_ctrl_c_aborts_the_sequences_and_leaves_nothing(clip: Path, output: Path) -> None:
    loopback = Silent()

    def press() -> None:
        while loopback.open < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with Client(transport=loopback) as client, pytest.raises(KeyboardInterrupt):
        client.run("passthrough", clip, output, segments_in_flight=2)
    presser.join()
    assert (loopback.open, len(loopback.aborted)) == (0, 2)
    assert list(output.parent.iterdir()) == []


def test_frames_that_the_service_loses_are_noticed(clip: Path, output: Path) -> None:
    class Lossy(Loopback):
        def connect(self, service, *, label=""):
            from contextlib import contextmanager

            @contextmanager
            def lossy():
                with Loopback.connect(self, service) as connection:
                    receive = connection.receive

                    def lose(*, seconds):
                        import json

                        reply = receive(seconds=seconds)
                        if reply is None or not reply[0]:
                            return reply
                        packets, timing, report, results = reply
                        values = json.loads(report) | {"frames_out": len(packets) - 1}
                        return packets[:-1], timing[:-1], json.dumps(values).encode(), results

                    connection.receive = lose
                    yield connection

            return lossy()

    with Client(transport=Lossy()) as client, pytest.raises(FramesLostError, match="frames came back for 100"):
        client.run("passthrough", clip, output, segments_in_flight=1)
    assert list(output.parent.iterdir()) == []


def test_progress_counts_the_frames(clip: Path, output: Path) -> None:
    seen: list[Progress] = []
    with Client(transport=Loopback()) as client:
        client.run("passthrough", clip, output, progress=seen.append)
    counts = [progress.frames for progress in seen]
    assert counts == sorted(counts)
    assert counts[-1] == FRAMES
    assert {progress.frames_total for progress in seen} == {FRAMES}


def test_what_is_wrong_is_said_before_anything_is_sent(clip: Path, output: Path, tmp_path: Path) -> None:
    loopback = Loopback(services={"passthrough": {**DESCRIPTION, "max_pixels": 100}, "numbers": EXTRACTION})
    (tmp_path / "there.mp4").write_text("mine")
    cases = [
        (("none", clip, output), {}, UnknownServiceError, "served are numbers, passthrough; choose one"),
        (("passthrough", tmp_path / "none.mp4", output), {}, InputError, "no such file"),
        (("passthrough", clip, tmp_path / "there.mp4"), {}, OutputExistsError, "is there already"),
        (("passthrough", clip, clip), {"overwrite": True}, OutputError, "is the input itself"),
        (("passthrough", clip, tmp_path / "out.doc"), {}, OutputError, "names no container"),
        (("passthrough", clip, output), {}, InputError, "160x96 = 15360 pixels; allowed are 100"),
        (("passthrough", clip, output), {"options": {"speed": 1}}, OptionError, "unknown option 'speed'; known are"),
        (
            ("passthrough", clip, output),
            {"options": {"codec": "vp8x"}},
            OptionError,
            "option 'codec' cannot be 'vp8x'; allowed is 'h264', 'hevc', 'av1'",
        ),
        (("passthrough", clip, output), {"segments_in_flight": 0}, OptionError, "segments_in_flight cannot be 0"),
        (("numbers", clip, output), {}, OptionError, "gives numbers, not a video"),
    ]
    with Client(transport=loopback) as client:
        for arguments, keywords, kind, words in cases:
            if "segments_in_flight" in keywords:
                loopback.services["passthrough"] = DESCRIPTION
            with pytest.raises(kind, match=words):
                client.run(*arguments, **keywords)
    assert loopback.opened == 0
    assert (tmp_path / "there.mp4").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["there.mp4"]


EXTRACTION = {**DESCRIPTION, "kind": "extraction"}


def test_an_output_is_replaced_only_when_it_was_allowed(clip: Path, output: Path) -> None:
    output.write_text("before")
    with Client(transport=Loopback()) as client:
        client.run("passthrough", clip, output, overwrite=True)
    assert read_numbers(output) == list(range(FRAMES))


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "h264"), (".mov", "h264"), (".mkv", "h264"), (".webm", "av1"), (".ts", "h264")]
)
def test_every_container_gets_a_codec_that_it_can_hold(clip: Path, tmp_path: Path, suffix: str, codec: str) -> None:
    import av

    path = tmp_path / f"out{suffix}"
    with Client(transport=Loopback()) as client:
        client.run("passthrough", clip, path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == FRAMES


def test_bytes_can_be_sent(clip: Path, output: Path) -> None:
    with Client(transport=Loopback()) as client:
        client.run("passthrough", clip.read_bytes(), output)
    assert list(read_frames(output)) == TIMES


@pytest.mark.parametrize("frames", [1, 2, 3, 101, 126])
def test_short_clips_and_a_last_gop_of_one_frame(tmp_path: Path, frames: int) -> None:
    numbered_clip(tmp_path / "in.mp4", frames=frames, gop=25, size=(64, 48))
    with Client(transport=Loopback()) as client:
        client.run("passthrough", tmp_path / "in.mp4", tmp_path / "out.mp4", options={"codec": "hevc"})
    assert read_numbers(tmp_path / "out.mp4") == list(range(frames))


def test_several_servers_share_the_segments(clip: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a segment goes to another one where the first is gone."""
    servers = {"a:1": Loopback(), "b:1": Loopback(fault=lambda *_: UnavailableError("gone"))}
    monkeypatch.setattr("vireo_client.client.GrpcTransport", lambda url: servers[url])
    with Client(["a:1", "b:1"]) as client:
        client.run("passthrough", clip, output)
    assert read_numbers(output) == list(range(FRAMES))
    assert servers["a:1"].opened == 5
    assert 1 <= servers["b:1"].opened < 5, "one that fails is left alone for a while"
    monkeypatch.setattr("vireo_client.client.GrpcTransport", lambda url: servers[url])
    with Client("a:1, b:1") as client:
        client.run("passthrough", clip, output, overwrite=True)
    assert servers["a:1"].opened > 5


def test_a_server_that_comes_back_is_used_again(
    clip: Path, output: Path, monkeypatch: pytest.MonkeyPatch, short: Patience
) -> None:
    servers = {
        "a:1": Loopback(fault=lambda *_: time.sleep(0.02)),
        "b:1": Loopback(fault=lambda sequence, _: UnavailableError("gone") if not sequence else None),
    }
    monkeypatch.setattr("vireo_client.client.GrpcTransport", lambda url: servers[url])
    with Client("a:1,b:1", patience=short) as client:
        client.run("passthrough", clip, output, segments_in_flight=2)
    assert read_numbers(output) == list(range(FRAMES))
    assert servers["b:1"].opened >= 2


def test_a_server_with_another_revision_is_left_out(clip: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {"a:1": Loopback(), "b:1": Loopback(services={"passthrough": {**DESCRIPTION, "revision": "other"}})}
    monkeypatch.setattr("vireo_client.client.GrpcTransport", lambda url: servers[url])
    with Client("a:1,b:1") as client:
        result = client.run("passthrough", clip, output)
    assert servers["b:1"].opened == 0
    assert "the server at 'loopback' serves another revision of 'passthrough'; it was left out" in result.warnings


def test_the_door_of_the_package() -> None:
    import vireo_client

    assert vireo_client.__all__ == ["Client", "Patience", "RunResult", "VireoError"]
    assert [getattr(vireo_client, name).__name__ for name in vireo_client.__all__] == vireo_client.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Klient'; it has Client,"):
        _ = vireo_client.Klient


def test_an_error_is_also_the_builtin_that_fits() -> None:
    assert issubclass(UnavailableError, ConnectionError)
    assert issubclass(WaitError, TimeoutError)
    assert issubclass(RefusedError, ValueError)
    assert issubclass(UnknownServiceError, LookupError)
    assert issubclass(CancelledError, ServiceError)
