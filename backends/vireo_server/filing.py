# SPDX-License-Identifier: MIT
"""The `file` model's requests: tensors in, tensors out, around `whole_files`."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from vireo_media.exchange import Request as SequenceRequest
from vireo_media.services import ServiceDescription
from vireo_media.times import Timing

from vireo_server.errors import Cancelled, Internal, StageError, Unavailable
from vireo_server.heartbeat import computing_models, stage_processes
from vireo_server.sequences import LIFE_SIGN, LONGEST_SECONDS
from vireo_server.services import read_stages
from vireo_server.settings import FileSettings
from vireo_server.whole_files import Send, read_error, run_file
from vireo_server.wire import Array, CallFailed, Request, Tensors, call_service, log_error

_LOOK_SECONDS = 0.5
_ALIVE_SECONDS = 1.0
"""How often decode is told that somebody waits; see Note [Whether anybody still waits]."""
_OUTPUTS = ["OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"]


def answer(request: Request, *, repository: Path, settings: FileSettings) -> None:
    """Answer one request: SERVICE, MEDIA, OPTIONS in; MEDIA, REPORT out."""
    try:
        service = request.text("SERVICE")
        media, report = run_file(
            request.texts("MEDIA")[0],
            service=service,
            options=request.json("OPTIONS"),
            repository=repository,
            settings=settings,
            send=sender(request, repository=repository, settings=settings),
        )
        request.answer({"MEDIA": [media], "REPORT": json.dumps(report, separators=(",", ":"), sort_keys=True)})
    except StageError as error:
        request.refuse(error)
    except Exception as error:  # noqa: BLE001 - the border between our code and Triton
        log_error(f"file: {traceback.format_exc()}")
        fault = f"{type(error).__name__}: {error}; this is a fault of the server, its log has the traceback"
        request.refuse(Internal(fault, stage="file"))


def sender(caller: Request, *, repository: Path, settings: FileSettings) -> Send:
    """What sends one request of a sequence to a service of this server, for `caller`, and gives its reply.

    # Note [Calls that nobody answers]
    What a stage had put off is never answered once its process is dead, and Triton's call waits for ever. So the call
    is made on a thread of its own, which is left behind where the stages' heartbeats show that one was replaced. As
    long as they show that one computes the answer may come; decode is told that somebody waits for it.
    """

    def send(
        service: ServiceDescription, stream: str, request: SequenceRequest
    ) -> tuple[list[bytes], Timing, str, Mapping[str, Array]]:
        stages = read_stages(repository, service.name)
        before = stage_processes(stages)
        reply: Future[Callable[[str], Any]] = Future()
        threading.Thread(target=_call, args=(reply, service, stream, request), daemon=True).start()
        began = computed = signed = time.monotonic()
        while True:
            try:
                output = reply.result(timeout=_LOOK_SECONDS)
            except TimeoutError:
                if before - stage_processes(stages):
                    raise Unavailable(f"a stage of {service.name!r} died and was replaced", stage="file") from None
                if caller.cancelled:
                    raise Cancelled("the caller has gone", stage="file") from None
                now = time.monotonic()
                if now - signed > _ALIVE_SECONDS:
                    signed = now
                    threading.Thread(target=_sign, args=(stages[0], stream), daemon=True).start()
                if not computing_models().isdisjoint(stages):
                    computed = now
                if now > min(computed + settings.answer_seconds, began + LONGEST_SECONDS):
                    raise Unavailable(
                        f"{service.name!r} did not answer for {now - began:.0f} s (answer_seconds of model 'file' is "
                        f"{settings.answer_seconds:g}); try again when the server has less to do",
                        stage="file",
                    ) from None
            except CallFailed as error:
                raise read_error(str(error)) from error
            else:
                return _read(service, output)

    return send


def _read(
    service: ServiceDescription, output: Callable[[str], Any]
) -> tuple[list[bytes], Timing, str, Mapping[str, Array]]:
    """A reply's tensors: packets of a transformation, results of an extraction."""
    report = output("REPORT")[0].decode()
    if service.kind == "extraction":
        return [], output("TIMING"), report, {name: output(name) for name in service.outputs}
    return list(output("OUTPUT_PACKETS")), output("OUTPUT_TIMING"), report, {}


def _sign(stage: str, stream: str) -> None:
    """Send a stage the life sign of a stream; what it answers nobody needs here."""
    sign: Tensors = {
        "STREAM": "",
        "PACKETS": [],
        "PACKET_TIMING": np.empty((0, 4), np.int64),
        "CHUNK": np.array([LIFE_SIGN], np.int64),
    }
    with suppress(CallFailed):
        call_service(stage, stream, sign, start=False, end=False, outputs=["FORMAT"])


def _call(
    reply: Future[Callable[[str], Any]], service: ServiceDescription, stream: str, request: SequenceRequest
) -> None:
    tensors: Tensors = {
        "STREAM": request.stream,
        "PACKETS": list(request.packets),
        "PACKET_TIMING": request.timing,
        "CHUNK": np.array([request.chunk], np.int64),
    }
    outputs = _OUTPUTS
    if service.kind == "extraction":
        outputs = ["TIMING", "REPORT", *service.outputs]
    try:
        done = call_service(service.name, stream, tensors, start=request.start, end=request.end, outputs=outputs)
    except Exception as error:  # noqa: BLE001 - handed to whoever called
        reply.set_exception(error)
    else:
        reply.set_result(done)
