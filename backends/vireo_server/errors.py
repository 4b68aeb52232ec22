# SPDX-License-Identifier: MIT
"""What can go wrong in a stage, and how it is said.

    StageError            a stage cannot go on with one stream; other streams are not touched
    ├─ BadInput           INVALID_ARG: the caller's input or options; sending it again does not help
    ├─ Unavailable        UNAVAILABLE: full, draining or restarting; try again later
    ├─ Internal           INTERNAL: a fault of ours or a dead process; try again as a new stream
    ├─ ScriptFailed       SCRIPT: a service's script failed; the same frames would fail again (to Triton: INTERNAL)
    └─ Cancelled          CANCELLED: the caller aborted the stream

    SettingError          a model's `config.pbtxt` is wrong; the model does not load (a ValueError)

A message has four parts: what failed, what came, what is allowed, what to do. It begins with the stage and, where
there is one, the time in the video.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

Code = Literal["INVALID_ARG", "UNAVAILABLE", "INTERNAL", "SCRIPT", "CANCELLED"]


class StageError(Exception):
    """A stage cannot go on with one stream. `seconds` is the time in the video, or None."""

    code: ClassVar[Code] = "INTERNAL"

    def __init__(self, message: str, *, stage: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.message, self.stage, self.seconds = message, stage, seconds

    def __str__(self) -> str:
        at = "" if self.seconds is None else f" at {clock(self.seconds)}"
        return f"{self.stage}{at}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """The `error` object of FORMAT, as the contract has it."""
        return {"stage": self.stage, "code": self.code, "time": self.seconds, "message": self.message}

    @staticmethod
    def from_json(value: dict[str, Any]) -> StageError:
        """The error that an earlier stage wrote into FORMAT. Raises KeyError, ValueError where it is none."""
        seconds = value["time"]
        number = isinstance(seconds, int | float) and abs(seconds) < math.inf
        if (
            not isinstance(value["message"], str)
            or not isinstance(value["stage"], str)
            or not (number or seconds is None)
        ):
            raise ValueError(f"error is {value!r}; message and stage must be texts, time a number or null")
        return BY_CODE[value["code"]](value["message"], stage=value["stage"], seconds=value["time"])


class BadInput(StageError, ValueError):
    """The caller's input or options are at fault: the same request would fail again."""

    code = "INVALID_ARG"


class Unavailable(StageError):
    """No room or no readiness now: the same request may succeed later."""

    code = "UNAVAILABLE"


class Internal(StageError, RuntimeError):
    """A fault of the server: the same segment may succeed as a new stream."""

    code = "INTERNAL"


class ScriptFailed(StageError, RuntimeError):
    """What a service's own script raised, or returned wrongly: for its author, not worth another try."""

    code = "SCRIPT"


class Cancelled(StageError):
    """The caller aborted the stream."""

    code = "CANCELLED"


BY_CODE: dict[str, type[StageError]] = {
    kind.code: kind for kind in (BadInput, Unavailable, Internal, ScriptFailed, Cancelled)
}


class SettingError(ValueError):
    """A model's configuration is wrong: the model does not load, and Triton's log says why."""


def clock(seconds: float) -> str:
    """`75.48` as `00:01:15.480`: a time in the video, as players show it."""
    sign, milliseconds = ("-" if seconds < 0 else ""), round(abs(seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


@contextmanager
def codec_errors(doing: str, *, stage: str, seconds: float | None = None, advice: str) -> Iterator[None]:
    """The one place where libav's errors become ours.

    `doing` is what was being done ("decoding packet 12 of h264"), `advice` what the caller can do about it.

    Raises:
        BadInput: libav refused the data or the settings.
        Internal: libav ran out of memory or failed in a way that is not the data's fault.
    """
    import av.error

    try:
        yield
    except MemoryError as error:
        raise Internal(
            f"{doing} ran out of memory; send fewer streams at once", stage=stage, seconds=seconds
        ) from error
    except av.error.FFmpegError as error:
        said = error.strerror or type(error).__name__
        raise BadInput(f"{doing} failed: {said}; {advice}", stage=stage, seconds=seconds) from error
