# SPDX-License-Identifier: MIT
"""Versions of a service beside each other, and which of them a run goes to.

# Note [Versions are services of their own]
Version 1 of `grade` is the service `grade`, version 2 is `grade.2`, with stages of its own. Triton's version folders
cannot do it: all versions of a model share one `config.pbtxt`, so those of an ensemble would have the same steps and
options; and a stage that is given one more folder is loaded anew and forgets its open sequences (their next request is
refused: "must specify the START flag").

So nothing ever moves an open stream: each of its requests names its version. Which one a run goes to is decided once,
by the client when it begins, from the parameter `versions` in the configuration of `grade`: a file is many sequences,
and only whoever sends all of them can keep it of one piece. Changing the parameter loads the ensemble `grade` again,
never its stages, and that touches no stream (0.1 s; tested with streams open). A caller without our client names the
model: `grade` is always version 1.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vireo_media.errors import OptionError

__all__ = ["VERSIONS", "Shares", "split_version", "versioned"]

VERSIONS = "versions"
"""The parameter of an ensemble's configuration: a JSON object, version -> share of new runs."""


def versioned(service: str, version: int) -> str:
    """The model that is `version` of `service`. Raises OptionError for what is no version."""
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise OptionError(f"service {service!r}: version cannot be {version!r}; allowed is 1 or more")
    return service if version == 1 else f"{service}.{version}"


def split_version(model: str) -> tuple[str, int]:
    """The service and the version that a model's name stands for: ('grade', 2) for 'grade.2'."""
    service, dot, version = model.rpartition(".")
    if dot and version.isdecimal() and versioned(service, int(version)) == model:
        return service, int(version)
    return model, 1


@dataclass(frozen=True)
class Shares:
    """Which share of a service's new runs goes to which version; they add up to 1.

    Raises OptionError where they do not, or a version cannot be.
    """

    service: str
    of: Mapping[int, float] = field(default_factory=lambda: {1: 1.0})

    def __post_init__(self) -> None:
        for version in self.of:
            versioned(self.service, version)
        wrong = [share for share in self.of.values() if not 0 < share <= 1]
        if wrong or not math.isclose(sum(self.of.values()), 1.0, abs_tol=1e-6):
            raise self._wrong(dict(self.of))

    @classmethod
    def from_json(cls, service: str, text: str | None) -> "Shares":
        """From the parameter's text; all to version 1 where there is none. Raises OptionError."""
        if not text:
            return cls(service)
        try:
            return cls(service, {int(version): float(share) for version, share in json.loads(text).items()})
        except (ValueError, TypeError, AttributeError) as error:
            raise cls(service)._wrong(text) from error

    def to_json(self) -> str:
        """The parameter's text; empty where all goes to version 1."""
        return json.dumps({str(version): share for version, share in self.of.items()}) if self.of != {1: 1.0} else ""

    def give(self, version: int, share: float) -> "Shares":
        """The shares when `version` has `share`; the others divide the rest as they do now, or version 1 has it."""
        if not 0 <= share <= 1:
            raise OptionError(f"service {self.service!r}: share cannot be {share!r}; allowed is a number in 0..1")
        others = {other: part for other, part in self.of.items() if other != version}
        total = sum(others.values())
        if share < 1 and not others:
            if version == 1:
                raise OptionError(
                    f"service {self.service!r}: version 1 cannot have {share!r} of the runs, for there is no other "
                    "version; give the other one its share"
                )
            others, total = {1: 1.0}, 1.0
        new = {other: round((1 - share) * part / total, 9) for other, part in others.items()}
        return Shares(self.service, dict(sorted((v, s) for v, s in {**new, version: share}.items() if s > 0)))

    def choose(self, run: str) -> int:
        """The version of a run, by its name: the same one wherever and whenever it is asked, at the same shares."""
        point = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8]) / 2**64
        for version, share in sorted(self.of.items()):
            point -= share
            if point < 0:
                return version
        return max(self.of)

    def _wrong(self, got: Any) -> OptionError:
        return OptionError(
            f"service {self.service!r}: its versions are {got!r}; allowed is version -> share of new runs, which add "
            """up to 1, as in {"1": 0.8, "2": 0.2}; mend the parameter 'versions' in its config.pbtxt"""
        )
