# SPDX-License-Identifier: MIT
"""The `file` model's requests: tensors in, tensors out, around `whole_files`."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import numpy as np
from vireo_media.exchange import Request as SequenceRequest
from vireo_media.times import Timing

from vireo_server.errors import Internal, StageError
from vireo_server.settings import FileSettings
from vireo_server.whole_files import read_error, run_file
from vireo_server.wire import CallFailed, Request, Tensors, call_service, log_error


def answer(request: Request, *, repository: Path, settings: FileSettings) -> None:
    """Answer one request: SERVICE, MEDIA, OPTIONS in; MEDIA, REPORT out."""
    try:
        media, report = run_file(
            request.texts("MEDIA")[0],
            service=request.text("SERVICE"),
            options=request.json("OPTIONS"),
            repository=repository,
            settings=settings,
            send=send,
        )
        request.answer({"MEDIA": [media], "REPORT": json.dumps(report, separators=(",", ":"), sort_keys=True)})
    except StageError as error:
        request.refuse(error)
    except Exception as error:  # noqa: BLE001 - the border between our code and Triton
        log_error(f"file: {traceback.format_exc()}")
        fault = f"{type(error).__name__}: {error}; this is a fault of the server, its log has the traceback"
        request.refuse(Internal(fault, stage="file"))


def send(service: str, stream: str, request: SequenceRequest) -> tuple[list[bytes], Timing, str]:
    """One request of a sequence to a service of this server, and its reply."""
    tensors: Tensors = {
        "STREAM": request.stream,
        "PACKETS": list(request.packets),
        "PACKET_TIMING": request.timing,
        "CHUNK": np.array([request.chunk], np.int64),
    }
    outputs = ["OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"]
    try:
        output = call_service(service, stream, tensors, start=request.start, end=request.end, outputs=outputs)
    except CallFailed as error:
        raise read_error(str(error)) from error
    return list(output("OUTPUT_PACKETS")), output("OUTPUT_TIMING"), output("REPORT")[0].decode()
