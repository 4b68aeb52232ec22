# SPDX-License-Identifier: MIT
"""Requests of many streams through one network."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from vireo_server.errors import BadInput, Internal
from vireo_server.network_settings import NetworkSettings
from vireo_server.runtimes import Runtime, load_runtime
from vireo_server.services import read_parameter
from vireo_server.settings import convert_setting
from vireo_server.side import Border
from vireo_server.wire import Pixels, Request, log_error


def read_network_settings(config: Path) -> NetworkSettings:
    """What the `config.pbtxt` of a network's model says, read without a server. Raises SettingError."""
    found = {}
    for field in fields(NetworkSettings):
        text = read_parameter(config, field.name)
        if text is not None:
            found[field.name] = convert_setting(config.parent.name, field.name, text, field.default)
    return NetworkSettings(**found)


def load_network(
    settings: NetworkSettings,
    path: Path,
    *,
    device: int | None = None,
    note: Callable[[str], None] = lambda text: None,
    progress: Callable[[], None] = lambda: None,
) -> Runtime:
    """The network in `path` as a model's configuration says, on CUDA device `device` where it is not None. `note` is
    told, for the log, of what takes long; `progress` is called with every picture or tile that is done.

    Raises:
        SettingError: see `load_runtime`.
    """
    return load_runtime(
        settings.runtime,
        path,
        threads=settings.threads,
        interface=settings.interface,
        bits=settings.bits,
        convention=settings.convention,
        engine=settings.engine,
        limits=settings.limits,
        device=device,
        note=note,
        progress=progress,
    )


def infer(runtime: Runtime, requests: Sequence[Request], *, model: str, border: Border) -> None:
    """Answer every request, each as soon as its own rows are done rather than when the whole batch is.

    INPUT is `(R, 3, H, W)`, OUTPUT `(R, C, H', W')`, both uint8 or both uint16; what the network takes
    beside the picture are inputs of their own names, `(R, K) float32`. A network cannot pass an error on in FORMAT,
    which it never sees, so it answers with one; the stages behind then miss the chunk, and the caller aborts the
    stream.

    Pictures are brought to the runtime's side, which `border` counts, and results go out from there.
    """
    waiting = list(requests)
    try:
        outputs = runtime.run(
            [_bring(request.pixels("INPUT"), runtime, border) for request in requests],
            [{name: request.array(name) for name in runtime.conditions} for request in requests],
        )
        for output in outputs:
            waiting[0].answer({"OUTPUT": output})
            waiting.pop(0)
    except BadInput as error:
        for request in waiting:
            request.refuse(error)
    except Exception as error:  # noqa: BLE001 - the border between our code, a runtime's, and Triton
        log_error(f"{model}: {traceback.format_exc()}")
        for request in waiting:
            request.refuse(
                Internal(
                    f"{model} failed: {type(error).__name__}: {error}; see the server's log; too large a picture "
                    "for this "
                    "machine's memory is one cause",
                    stage="network",
                )
            )


def _bring(pictures: Pixels, runtime: Runtime, border: Border) -> Pixels:
    if runtime.side == "either":
        return pictures
    return border.bring(pictures) if runtime.side == "device" else border.to_host(pictures)
