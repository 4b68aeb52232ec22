# SPDX-License-Identifier: MIT
"""What a script is given for a batch of frames, and whether what it did with them is allowed.

# Note [Wrong returns are explained]
A script's author sees the message and not our code. So each says which value was wrong, what may be there, and the
line to write instead; and the usual slips (planar pictures, floats, frames replaced in the list instead of filled) are
called by their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vireo_server.formats import GENERATED, SPARE

Frames = npt.NDArray[np.uint8]
Results = Mapping[str, npt.NDArray[Any]]

_RETURNS = (
    "allowed: None (frames edited in place), a list of {count} uint8 arrays of one size (one a frame, H x W x 3), or "
    "a dict of name -> array with {count} rows"
)


class WrongReturnError(ValueError):
    """A script's `process` did not keep to the contract; the message says how, and what to write."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Frames of one stream, in the order in which they are shown.

    `frames` is `(T, H, W, 3) uint8`, RGB, C-contiguous and writable; `pts` in units of `time_base` seconds; `kind` as
    in TIMING: 0 source, 1 spare, 2 generated, 3 reference. `last`: no frames of the stream follow.
    """

    frames: Frames
    pts: Sequence[int]
    kind: Sequence[int]
    time_base: tuple[int, int]
    last: bool = False
    device: Literal["cpu"] = "cpu"

    def __post_init__(self) -> None:
        """Refuse what is no batch."""
        shape = self.frames.shape
        if len(shape) != 4 or shape[3] != 3 or self.frames.dtype != np.uint8 or not self.frames.flags.c_contiguous:
            raise ValueError(f"Batch: frames are {self.frames.dtype} {shape}; allowed: contiguous (T, H, W, 3) uint8")
        if not len(self.pts) == len(self.kind) == shape[0] > 0:
            raise ValueError(f"Batch: {len(self.pts)} pts and {len(self.kind)} kinds for {shape[0]} frames")

    def data(self, state: Any) -> dict[str, Any]:
        """What `process` is given. A pointer for each frame: tightly packed H x W x 3, valid during the call."""
        frames = list(self.frames)
        return {
            "height": int(self.frames.shape[1]),
            "width": int(self.frames.shape[2]),
            "format": "RGB",
            "data": [frame.ctypes.data for frame in frames],
            "frames": frames,
            "pts": list(self.pts),
            "time_base": self.time_base,
            "kind": list(self.kind),
            "state": state,
            "device": self.device,
            "cuda_stream": None,
            "last": self.last,
            "profile": {},
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a script made of a batch: `frames` (T, H', W', 3) uint8 and each one's kind; or `results`, T rows each."""

    frames: Frames
    kind: tuple[int, ...]
    results: Results | None = None


def check(returned: Any, data: Mapping[str, Any], batch: Batch) -> Outcome:
    """Hold what `process` returned, and what it did to `data`, against the contract.

    Raises:
        WrongReturnError: and how.
    """
    kind = _kinds(data, batch)
    if isinstance(returned, Mapping):
        return Outcome(frames=batch.frames, kind=kind, results=_results(returned, len(batch.pts)))
    if returned is None:
        _check_in_place(data, batch)
        return Outcome(frames=batch.frames, kind=kind)
    if isinstance(returned, np.ndarray) and returned.ndim == 4:
        returned = list(returned)
    if not isinstance(returned, list | tuple):
        raise WrongReturnError(
            f"process returned {type(returned).__name__}; {_RETURNS.format(count=len(batch.pts))}; a frame that was "
            "edited in place needs no return"
        )
    return Outcome(frames=_frames(returned, kind), kind=kind)


def _kinds(data: Mapping[str, Any], batch: Batch) -> tuple[int, ...]:
    given = data.get("kind")
    if not isinstance(given, list) or len(given) != len(batch.kind):
        raise WrongReturnError(
            f"data['kind'] is {given!r} after process; allowed: the same list of {len(batch.kind)}; set single "
            "elements, as in data['kind'][i] = 2"
        )
    for index, (before, after) in enumerate(zip(batch.kind, given, strict=True)):
        if after != before and (before, after) != (SPARE, GENERATED):
            raise WrongReturnError(
                f"data['kind'][{index}] went from {before!r} to {after!r}; allowed: from 1 (spare) to 2 (generated), "
                "where the spare frame was filled"
            )
    return tuple(int(value) for value in given)


def _check_in_place(data: Mapping[str, Any], batch: Batch) -> None:
    frames, pointers = data.get("frames"), data.get("data")
    count = len(batch.pts)
    for index in range(count):
        frame = frames[index] if isinstance(frames, list) and len(frames) == count else None
        same = isinstance(frame, np.ndarray) and frame.ctypes.data == batch.frames[index].ctypes.data
        if (
            not same
            or not isinstance(pointers, list)
            or pointers[index : index + 1] != [batch.frames[index].ctypes.data]
        ):
            raise WrongReturnError(
                f"data['frames'][{index}] or data['data'][{index}] was replaced, which changes no picture; write into "
                f"the frame (data['frames'][{index}][...] = picture), or return a list of {count} arrays"
            )


def _frames(returned: Sequence[Any], kind: Sequence[int]) -> Frames:
    if len(returned) != len(kind):
        raise WrongReturnError(
            f"process returned {len(returned)} frames for {len(kind)}; allowed: one for each, in order; a service "
            "that gives fewer or more pictures marks spare ones, see data['kind']"
        )
    pictures: dict[int, npt.NDArray[Any]] = {}
    for index, item in enumerate(returned):
        if item is None and kind[index] not in (SPARE, 3):
            raise WrongReturnError(
                f"frame {index} of the returned list is None; allowed: an H x W x 3 uint8 array for each frame; None "
                "only for spare and reference frames"
            )
        if item is not None:
            pictures[index] = _picture(index, item)
    if not pictures:
        return np.zeros((len(kind), 1, 1, 3), np.uint8)
    first, shape = next((index, picture.shape) for index, picture in pictures.items())
    frames = np.zeros((len(kind), *shape), np.uint8)
    for index, picture in pictures.items():
        if picture.shape != shape:
            raise WrongReturnError(
                f"frame {index} of the returned list is {_size(picture.shape)}, frame {first} is {_size(shape)}; "
                "allowed: one size for all frames of a stream"
            )
        frames[index] = picture
    return frames


def _picture(index: int, item: Any) -> npt.NDArray[Any]:
    if not isinstance(item, np.ndarray) and not hasattr(item, "__array__"):
        raise WrongReturnError(
            f"frame {index} of the returned list is {type(item).__name__}; allowed: an H x W x 3 uint8 array"
        )
    array = np.asarray(item)
    if array.dtype != np.uint8:
        raise WrongReturnError(
            f"frame {index} of the returned list is {array.dtype}; allowed: uint8, 0 to 255; write "
            "np.rint(picture).clip(0, 255).astype(np.uint8)"
        )
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        hint = ""
        if array.ndim == 3 and array.shape[0] == 3:
            hint = "; this looks planar: write picture.transpose(1, 2, 0)"
        elif array.ndim == 2:
            hint = "; this looks grey: write np.repeat(picture[:, :, None], 3, axis=2)"
        raise WrongReturnError(
            f"frame {index} of the returned list has the shape {array.shape}; allowed: (H, W, 3), red first{hint}"
        )
    return array


def _results(returned: Mapping[Any, Any], count: int) -> Results:
    if not returned:
        raise WrongReturnError(f"process returned an empty dict; {_RETURNS.format(count=count)}")
    results: dict[str, npt.NDArray[Any]] = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not name:
            raise WrongReturnError(f"process returned a dict with the key {name!r}; allowed: names as text")
        array = np.asarray(value)
        if array.dtype.kind not in "buif":
            raise WrongReturnError(f"result {name!r} is {array.dtype}; allowed: numbers, an array of {count} rows")
        if array.ndim == 0 or len(array) != count:
            raise WrongReturnError(
                f"result {name!r} has the shape {array.shape}; allowed: {count} rows, one for each frame of the batch"
            )
        results[name] = array
    return results


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
