# SPDX-License-Identifier: MIT
"""Checks of arguments: every message names the function, the argument, what came, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Array = Any
"""A numpy array, or an array of a CUDA device (CuPy's, or any object with `__dlpack__`)."""


def require_choice(function: str, name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    choices = list(allowed)
    if value not in choices:
        raise ValueError(f"{function}: {name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")


def require_positive(function: str, name: str, value: object) -> None:
    """Raise TypeError unless `value` is an integer, ValueError unless it is at least 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{function}: {name} is {value!r}; it must be an integer of at least 1")
    if value < 1:
        raise ValueError(f"{function}: {name} is {value!r}; it must be at least 1")


def describe(array: object) -> str:
    """`(3, 54, 64) uint8` for an array, the type's name for anything else."""
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if shape is None or dtype is None:
        return type(array).__name__
    return f"{tuple(shape)} {dtype}"


def require_array(
    function: str,
    name: str,
    array: Array,
    *,
    dtypes: Sequence[str],
    shape: Sequence[int | str],
    contiguous: bool = True,
) -> None:
    """Raise unless `array` has one of `dtypes` and the `shape` given.

    An entry of `shape` is a number (that size), a word (any size of at least 1, the word is for the message).

    Raises:
        TypeError: it is no array, or of another dtype.
        ValueError: another shape, not C-contiguous, or not aligned.
    """
    wanted = f"({', '.join(str(size) for size in shape)}) {' or '.join(dtypes)}"
    if getattr(array, "shape", None) is None or getattr(array, "dtype", None) is None:
        raise TypeError(f"{function}: {name} is a {type(array).__name__}; it must be an array {wanted}")
    if str(array.dtype) not in dtypes:
        raise TypeError(
            f"{function}: {name} is {describe(array)}; it must be {wanted}; convert it, nothing is cast silently"
        )
    got = tuple(array.shape)
    fits = len(got) == len(shape) and all(
        size >= 1 if isinstance(want, str) else size == want for size, want in zip(got, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{function}: {name} is {describe(array)}; it must be {wanted}")
    if contiguous and not array.flags.c_contiguous:
        raise ValueError(
            f"{function}: {name} {describe(array)} is not C-contiguous (strides {array.strides}); "
            "pass numpy.ascontiguousarray(...) of it, nothing is copied silently"
        )
    if isinstance(array, np.ndarray) and not array.flags.aligned:
        raise ValueError(f"{function}: {name} {describe(array)} is not aligned to its dtype; copy it first")


def require_writable(function: str, name: str, array: Array) -> None:
    """Raise ValueError if a numpy array is read-only."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError(f"{function}: {name} {describe(array)} is read-only; pass an array that can be written to")


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A read-only view: numba then compiles one version for arrays that can and cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
