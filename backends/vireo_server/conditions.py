# SPDX-License-Identifier: MIT
"""CONDITION: what a network is told beside the picture, one row of numbers a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vireo_media.quantization import has_loop_filter

from vireo_server.errors import SettingError
from vireo_server.formats import Format

FACTS = ("quantizer_step", "loop_filter")
"""Columns that decode knows, if the stream's options do not say otherwise. Others are options."""


@dataclass(frozen=True)
class Columns:
    """The columns of CONDITION, as the parameter `condition` names them: `strength=1, quantizer_step, noise=0`.

    A column is an option of the stream with its default, or one of `FACTS`. `skip` lists when the network has nothing
    to do: `strength<=0`, or all of several, `quantizer_step<=4 & noise<=0`.

    Raises:
        SettingError: an option without a default; in `skip` what is no such comparison of a column.
    """

    condition: Sequence[str]
    skip: Sequence[str]

    def __post_init__(self) -> None:
        for column in self.condition:
            name, _, default = column.partition("=")
            if name not in FACTS and not _is_number(default):
                raise SettingError(
                    f"parameter condition has {column!r}; allowed: {', '.join(FACTS)}, or OPTION=DEFAULT as strength=1"
                )
        for part in (part for each in self.skip for part in each.split("&")):
            name, _, most = part.partition("<=")
            if name.strip() not in self.names or not _is_number(most):
                raise SettingError(
                    f"parameter skip has {part.strip()!r}; allowed: COLUMN<=NUMBER, joined by &, with the columns "
                    f"{', '.join(self.names) or 'of condition, which is empty'}"
                )

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.partition("=")[0] for column in self.condition]

    def rows(self, format: Format, sources: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values for the rows of FRAMES that `sources` lists, `(len(sources), K) float32`."""
        values = [self._value(column, format, sources) for column in self.condition]
        rows = np.empty((len(sources), len(values)), np.float32)
        for index, value in enumerate(values):
            rows[:, index] = value
        return rows

    def idle(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Which of the rows, `(R, K)`, need no network."""
        idle = np.zeros(len(rows), bool)
        for each in self.skip:
            parts = [part.partition("<=") for part in each.split("&")]
            idle |= np.all([rows[:, self.names.index(name.strip())] <= float(most) for name, _, most in parts], axis=0)
        return idle

    def note(self, format: Format) -> str | None:
        """What the caller must know where a fact is unknown and he did not give it either."""
        unknown = None in format.quantizer_steps or not format.quantizer_steps
        if "quantizer_step" not in self.names or "quantizer_step" in format.options or not unknown:
            return None
        return (
            f"{format.codec} does not tell this server how coarsely its pictures were quantised, so that is not "
            "repaired; say it with quantizer_step (4 fine, 16 middle, 40 coarse)"
        )

    @staticmethod
    def _value(column: str, format: Format, sources: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        name, _, default = column.partition("=")
        if name in format.options:
            return np.array(format.options[name], np.float64)
        if name == "loop_filter":
            return np.array(has_loop_filter(format.codec), np.float64)
        if name == "quantizer_step":
            return np.array([format.quantizer_steps[source] or 0 for source in sources], np.float64)
        return np.array(float(default))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
