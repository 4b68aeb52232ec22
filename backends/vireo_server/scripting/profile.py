# SPDX-License-Identifier: MIT
"""Where the time of a run went, as numbers and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Seconds by stage, and by function of the script.

    `preparation`: import, setup, warmup, warm-up batches. `batches`: for each call of `process` its `frames`,
    `seconds` and, where the script wrote into data['profile'], its own `parts`; empty unless profiling was asked for.
    `stages`: decode, preprocess, script, encode, mux. `total`: the whole run.
    """

    preparation: Mapping[str, float]
    configure: float
    batches: Sequence[Mapping[str, Any]]
    stages: Mapping[str, float]
    total: float

    def table(self, *, frames: int) -> str:
        """For people: a line a stage, below the script's its functions; milliseconds a frame and share of the run."""
        lines = [f"{'':24}{'seconds':>9}{'ms/frame':>10}{'share':>8}"]
        for name, seconds, per_frame in self._rows():
            each = f"{1000 * seconds / frames:10.2f}" if per_frame and frames else f"{'':10}"
            lines.append(f"{name:24}{seconds:9.3f}{each}{seconds / self.total:8.1%}" if self.total else name)
        return "\n".join(lines)

    def _rows(self) -> Iterator[tuple[str, float, bool]]:
        """(name, seconds, whether it is done for every frame)."""
        for name, seconds in self.preparation.items():
            yield f"script: {name}", seconds, False
        for name, seconds in self.stages.items():
            yield name, seconds, True
            if name == "script" and self.batches:
                yield "  configure", self.configure, False
                yield f"  process ({len(self.batches)} calls)", _sum(self.batches, "seconds"), True
                slowest = max(float(batch["seconds"]) for batch in self.batches)
                yield "  slowest call", slowest, False
                parts = dict.fromkeys(part for batch in self.batches for part in batch.get("parts", {}))
                for part in parts:
                    yield f"    {part}", sum(batch.get("parts", {}).get(part, 0.0) for batch in self.batches), True
        yield "total", self.total, True


def _sum(batches: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(float(batch[key]) for batch in batches)
