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
from typing import Any

import numpy as np
from vireo_kernels.devices import Device, device_of

from vireo_server.formats import GENERATED, SPARE
from vireo_server.wire import Pixels

Frames = Pixels
Results = Mapping[str, Pixels]

_RETURNS = (
    "allowed: None (frames edited in place), a list of {count} uint8 arrays of one size (one a frame, H x W x 3), or "
    "a dict of name -> array with {count} rows"
)


class WrongReturnError(ValueError):
    """A script's `process` did not keep to the contract; the message says how, and what to write."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Frames of one stream, in the order in which they are shown.

    `frames` is `(T, H, W, 3) uint8`, RGB, C-contiguous and writable, on the host or a CUDA device; `pts` in units of
    `time_base` seconds; `kind` as in TIMING: 0 source, 1 spare, 2 generated, 3 reference. `last`: no frames of the
    stream follow.
    """

    frames: Frames
    pts: Sequence[int]
    kind: Sequence[int]
    time_base: tuple[int, int]
    last: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no batch."""
        shape = self.frames.shape
        if len(shape) != 4 or shape[3] != 3 or self.frames.dtype != np.uint8 or not self.frames.flags.c_contiguous:
            raise ValueError(f"Batch: frames are {self.frames.dtype} {shape}; allowed: contiguous (T, H, W, 3) uint8")
        if not len(self.pts) == len(self.kind) == shape[0] > 0:
            raise ValueError(f"Batch: {len(self.pts)} pts and {len(self.kind)} kinds for {shape[0]} frames")

    @property
    def device(self) -> Device:
        """Where the frames lie."""
        return device_of("Batch", "frames", self.frames)

    def data(self, state: Any) -> dict[str, Any]:
        """What `process` is given. A pointer for each frame: tightly packed H x W x 3, valid during the call.

        Frames on a device may still be being written by work on `cuda_stream`, 0: CUDA's default stream.
        """
        frames = list(self.frames)
        on_host = self.device.cuda is None
        return {
            "height": int(self.frames.shape[1]),
            "width": int(self.frames.shape[2]),
            "format": "RGB",
            "data": [_address(frame) for frame in frames],
            "frames": frames,
            "pts": list(self.pts),
            "time_base": self.time_base,
            "kind": list(self.kind),
            "state": state,
            "device": "cpu" if on_host else "cuda",
            "cuda_stream": None if on_host else 0,
            "last": self.last,
            "profile": {},
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a script made of a batch: `frames` (T, H', W', 3) uint8 and each one's kind; or `results`, T rows each."""

    frames: Frames
    kind: tuple[int, ...]
    results: Results | None = None

    @property
    def xp(self) -> Any:
        """The array module of `frames`."""
        return device_of("Outcome", "frames", self.frames).xp


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
    if getattr(returned, "ndim", None) == 4 and hasattr(returned, "__dlpack_device__"):
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
        address = _address(batch.frames[index])
        same = isinstance(frame, type(batch.frames)) and _address(frame) == address
        if not same or not isinstance(pointers, list) or pointers[index : index + 1] != [address]:
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
    pictures: dict[int, Pixels] = {}
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
    first, shape = next((index, tuple(picture.shape)) for index, picture in pictures.items())
    device = device_of("process", "frames", pictures[first])
    frames = device.xp.zeros((len(kind), *shape), np.uint8)
    for index, picture in pictures.items():
        if tuple(picture.shape) != shape:
            raise WrongReturnError(
                f"frame {index} of the returned list is {_size(picture.shape)}, frame {first} is {_size(shape)}; "
                "allowed: one size for all frames of a stream"
            )
        if device_of("process", "frames", picture) != device:
            raise WrongReturnError(
                f"frame {index} of the returned list is not where frame {first} is; allowed: all on {device}"
            )
        frames[index] = picture
    return frames


def _picture(index: int, item: Any) -> Pixels:
    if not isinstance(item, np.ndarray) and not hasattr(item, "__array__") and not hasattr(item, "__dlpack__"):
        raise WrongReturnError(
            f"frame {index} of the returned list is {type(item).__name__}; allowed: an H x W x 3 uint8 array"
        )
    array = _array(item)
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
    results: dict[str, Pixels] = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not name:
            raise WrongReturnError(f"process returned a dict with the key {name!r}; allowed: names as text")
        array = _array(value)
        if array.dtype.kind not in "buif":
            raise WrongReturnError(f"result {name!r} is {array.dtype}; allowed: numbers, an array of {count} rows")
        if array.ndim == 0 or len(array) != count:
            raise WrongReturnError(
                f"result {name!r} has the shape {array.shape}; allowed: {count} rows, one for each frame of the batch"
            )
        results[name] = array
    return results


def _array(value: Any) -> Pixels:
    """numpy's array; what lies on a CUDA device (CuPy's, PyTorch's) as CuPy's, there."""
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack_device__"):
        return np.asarray(value)
    device = device_of("process", "result", value)
    return np.asarray(value) if device.cuda is None else device.xp.from_dlpack(value)


def _address(frame: Pixels) -> int:
    return int(frame.ctypes.data if isinstance(frame, np.ndarray) else frame.data.ptr)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
