# SPDX-License-Identifier: MIT
"""What a server with a GPU says in REPORT: who decoded, and the bytes that crossed between host and device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DeviceUse"]

_TO_DEVICE, _TO_HOST = "to_device", "to_host"


@dataclass(frozen=True, kw_only=True)
class DeviceUse:
    """`decoders`: "NVDEC", or "software" with why -> how many segments; `crossed`: "stage direction" -> bytes, the
    direction being to_device or to_host. Both are empty where no stage works on a GPU, and it is false then.
    """

    decoders: Mapping[str, int] = field(default_factory=dict)
    crossed: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.decoders or self.crossed)

    def after(self, report: Mapping[str, Any]) -> DeviceUse:
        """The same with one more REPORT of the same segment; what a server of another version says otherwise is left
        out."""
        decoder, crossed = report.get("decoder"), Counter(self.crossed)
        for stage, ways in _mapping(report.get("crossed")).items():
            for way, size in _mapping(ways).items():
                if isinstance(size, int):
                    crossed[f"{stage} {way}"] += size
        if not isinstance(decoder, Mapping):
            return DeviceUse(decoders=self.decoders, crossed=dict(crossed))
        why = decoder.get("why")
        name = "NVDEC" if decoder.get("name") == "nvdec" else f"software ({why})" if why else "software"
        return DeviceUse(decoders={name: 1}, crossed=dict(crossed))

    def __add__(self, other: DeviceUse) -> DeviceUse:
        """Of two segments."""
        decoders, crossed = Counter(self.decoders), Counter(self.crossed)
        decoders.update(other.decoders)  # unlike + it keeps what is 0
        crossed.update(other.crossed)
        return DeviceUse(decoders=dict(decoders), crossed=dict(crossed))

    def __str__(self) -> str:
        counted = len(self.decoders) > 1
        decoded = ", ".join(
            name + f" ({count} segment{'s' * (count > 1)})" * counted for name, count in self.decoders.items()
        )
        moved = f"{self._moved(_TO_DEVICE)} to the GPU, {self._moved(_TO_HOST)} from it"
        return f"decoded by {decoded}; {moved}" if decoded else moved

    def _moved(self, way: str) -> str:
        sizes = {name.rpartition(" ")[0]: size for name, size in self.crossed.items() if name.endswith(f" {way}")}
        stages = ", ".join(stage for stage, size in sizes.items() if size)
        return f"{sum(sizes.values()) / 1e6:.1f} MB" + f" ({stages})" * bool(stages)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
