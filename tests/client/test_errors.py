# SPDX-License-Identifier: MIT
"""What tritonclient and gRPC say, in our words: what is final, and what is tried again."""

import socket

import grpc
import pytest
from vireo_client import Client
from vireo_client.errors import (
    CancelledError,
    FaultError,
    RefusedError,
    RestartingError,
    ScriptFailedError,
    ServiceError,
    StageDiedError,
    UnavailableError,
    UnknownServiceError,
    WaitError,
    stream_error,
    transport_error,
)


class GrpcError(grpc.RpcError):
    """As a call raises it."""

    def __init__(self, status: str, message: str) -> None:
        self.code = lambda: grpc.StatusCode[status]
        self.details = lambda: message


@pytest.mark.parametrize(
    ("message", "status", "kind", "words"),
    [
        # Inside a stream there is no status: stages end their messages with the code.
        (
            "in ensemble 'sr', decode at 00:00:03.040: no [INVALID_ARG]",
            None,
            RefusedError,
            "s: decode at 00:00:03.040: no",
        ),
        (
            "decode: 64 streams are open [UNAVAILABLE]",
            None,
            UnavailableError,
            "takes no more now: decode: 64 streams are",
        ),
        ("encode: a bug [INTERNAL]", None, FaultError, "failed: encode: a bug; look at its log"),
        ("decode: aborted [CANCELLED]", None, CancelledError, "stopped: decode: aborted"),
        (
            "in ensemble 'sr', script: a.py failed in process: KeyError: 'a'\n  a.py:3 in process: x\n\n [SCRIPT]",
            None,
            ScriptFailedError,
            "KeyError: 'a'\n  a.py:3 in process: x",
        ),
        # Triton's own words.
        ("Stub process 'decode_0_0' is not healthy.", None, StageDiedError, "is not healthy"),
        ("Request for unknown model: 'x' has no available versions", None, RestartingError, "takes no more now"),
        ("Request for unknown model: 'x' has no available versions", "NOT_FOUND", RestartingError, "no more now"),
        ("Model 'decode' is not ready", "UNAVAILABLE", RestartingError, "takes no more now"),
        (
            "failed to connect to all addresses",
            "UNAVAILABLE",
            UnavailableError,
            "start it with `vireo serve`",
        ),
        ("unexpected shape", "INVALID_ARGUMENT", RefusedError, "s: unexpected shape"),
        ("Deadline Exceeded", "DEADLINE_EXCEEDED", WaitError, "did not answer in time"),
        (
            "Request for unknown model: 'x' is not found",
            "NOT_FOUND",
            UnknownServiceError,
            "does not know it",
        ),
        ("", "UNKNOWN", FaultError, "no message"),
    ],
)
def test_a_foreign_error_becomes_one_of_ours(
    message: str, status: str | None, kind: type[ServiceError], words: str
) -> None:
    if status is None:
        error = stream_error(message, url="h:1", doing="s")
    else:
        error = transport_error(GrpcError(status, message), url="h:1", doing="s")
    assert type(error) is kind
    assert words in str(error)
    assert "[" not in str(error)
    assert "in ensemble" not in str(error)


def test_no_server_at_that_address_is_one_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{taken.getsockname()[1]}"
        with Client(url) as client, pytest.raises(UnavailableError, match=f"no server answers at '{url}'"):
            client.services()
