# SPDX-License-Identifier: MIT
"""Named results: tensors of numbers with a row a picture (or a window of pictures), as a model's configuration has
them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from vireo_media.services import WHOLE_VIDEO

#: Tensors of the contract; every other tensor of a script or of collect is a result.
_CONTRACT = {"INPUT", "OUTPUT", "TIMING", "FORMAT", "CHUNK", "STREAM", "FRAMES", "REPORT"}

_DTYPES = {
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_INT64": np.int64,
    "TYPE_INT32": np.int32,
    "TYPE_UINT8": np.uint8,
}

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One result: its name, the type of its numbers and the shape of a row, -1 where the shape is open."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def spare_row(self) -> Numbers:
        """One row of zeros, because a tensor between two stages may not have 0 rows."""
        return np.zeros((1, *(max(size, 1) for size in self.shape)), self.dtype)

    def misfit(self, values: Numbers) -> str | None:
        """How an array with a row a picture differs from what was declared, in words; None where it fits."""
        same = len(values.shape) == len(self.shape) + 1 and all(
            want in (-1, got) for want, got in zip(self.shape, values.shape[1:], strict=False)
        )
        if values.dtype == self.dtype and same:
            return None
        return f"{values.dtype} with rows of {list(values.shape[1:])}; allowed: {self.dtype} with rows of {self}"

    def __str__(self) -> str:
        return str(list(self.shape))


def results_of(model_config: str, *, side: Literal["input", "output"]) -> tuple[Result, ...]:
    """The results that a model takes or gives, from its configuration as Triton's JSON has it.

    Those for whole videos are left out, because they have no row a picture.
    """
    tensors = json.loads(model_config)[side]
    return tuple(
        Result(
            name=tensor["name"],
            dtype=np.dtype(_DTYPES[tensor["data_type"]]),
            shape=tuple(int(size) for size in tensor["dims"][1:]),
        )
        for tensor in tensors
        if tensor["name"] not in _CONTRACT and not tensor["name"].endswith(WHOLE_VIDEO)
    )
