# SPDX-License-Identifier: MIT
"""Reading a model repository: which models it has, which are services, and what to load."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vireo_media.errors import OptionError
from vireo_media.versions import VERSIONS, Shares, versioned

from vireo_server.launching.errors import RepositoryError, UnknownServiceError
from vireo_server.services import read_parameter

FILE_MODEL = "file"
_SHARED = ("decode", "encode")

_CONFIG = "config.pbtxt"
# A whole protobuf parser would need tritonclient, which a server does not; these two facts are all we ask, and Triton
# itself judges the rest. Comments and strings are taken out first, or put aside, so neither can mislead.
_COMMENT_OR_STRING = re.compile(r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|#[^\n]*""")
_ENSEMBLE = re.compile(r"""\bensemble_scheduling\b""")
_STEP = re.compile(r"""\bmodel_name\s*:\s*["']([^"']+)["']""")


@dataclass(frozen=True)
class Repository:
    """A model repository as it lies on disk.

    Attributes:
        folder: absolute.
        models: all models, sorted.
        ensembles: those that are ensembles, sorted.
        steps: those that an ensemble uses, sorted.
        steps_by_ensemble: for each ensemble, the models of its steps.
    """

    folder: Path
    models: tuple[str, ...]
    ensembles: tuple[str, ...]
    steps: tuple[str, ...]
    steps_by_ensemble: Mapping[str, tuple[str, ...]]

    @property
    def services(self) -> tuple[str, ...]:
        """What a caller may ask for: every model that is no part of another, the BLS model `file` left out."""
        return tuple(name for name in self.models if name not in self.steps and name != FILE_MODEL)

    def steps_of(self, service: str) -> tuple[str, ...]:
        """Give the models that a service alone uses, in order; shared ones, such as decode, are left out."""
        others = {step for name, steps in self.steps_by_ensemble.items() if name != service for step in steps} | set(
            _SHARED
        )
        return tuple(step for step in self.steps_by_ensemble.get(service, ()) if step not in others)

    def left_alone(self, services: Collection[str], *, served: Collection[str]) -> tuple[str, ...]:
        """Give the steps that nobody uses any more when these of the served services go, in order; decode stays."""
        others = {step for name in served if name not in services for step in self.steps_by_ensemble.get(name, ())}
        steps = (step for name in services for step in self.steps_by_ensemble.get(name, ()))
        return tuple(step for step in dict.fromkeys(steps) if step not in others and step not in _SHARED)

    def to_load(self, services: Iterable[str] | None) -> tuple[str, ...]:
        """Give the models to name to Triton: the services (all if None) and `file`; ensembles bring their steps.

        Raises:
            UnknownServiceError: a name that is not in the repository.
        """
        wanted = self.services if services is None else tuple(dict.fromkeys(services))
        for name in wanted:
            if name not in self.models:
                raise UnknownServiceError(
                    f"serve: the repository {str(self.folder)!r} has no service {name!r}; "
                    f"it has {', '.join(self.services)}; name one of these with --service, or none for all"
                )
        wanted = tuple(dict.fromkeys(model for name in wanted for model in (name, *self._shared_out(name))))
        rest = (FILE_MODEL,) if FILE_MODEL in self.models and FILE_MODEL not in wanted else ()
        return wanted + rest

    def shares(self, service: str) -> Shares:
        """Give which share of a service's new runs goes to which of its versions.

        Raises:
            RepositoryError: its configuration says something else.
        """
        try:
            return Shares.from_json(service, read_parameter(self.folder / service / _CONFIG, VERSIONS))
        except OptionError as error:
            raise RepositoryError(f"serve: {error}") from error

    def _shared_out(self, service: str) -> list[str]:
        """The models of the versions that new runs of a service go to."""
        found = [versioned(service, version) for version in self.shares(service).of]
        for model in found:
            if model not in self.models:
                raise RepositoryError(
                    f"serve: the configuration of {service!r} sends runs to {model!r}, which the repository "
                    f"{str(self.folder)!r} does not have; it has {', '.join(self.services)}; mend the parameter "
                    f"{VERSIONS!r} in {service}/{_CONFIG}"
                )
        return found


def read_repository(folder: Path) -> Repository:
    """Read a model repository.

    Raises:
        RepositoryError: the folder does not exist, or none of its folders has a `config.pbtxt`.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise RepositoryError(
            f"serve: the model repository {str(folder)!r} does not exist; "
            f"it must be a folder with a folder for each model; check --repository"
        )
    configs = {path.parent.name: _read(path) for path in sorted(folder.glob(f"*/{_CONFIG}"))}
    if not configs:
        hint = ""
        if (folder / _CONFIG).is_file():
            hint = f"; this is one model, its repository is the folder above: {str(folder.parent)!r}"
        raise RepositoryError(
            f"serve: {str(folder)!r} is not a model repository: no {_CONFIG!r} in any folder of it; "
            f"each model needs <repository>/<model>/{_CONFIG}; check --repository{hint}"
        )
    ensembles = tuple(name for name, text in configs.items() if _ENSEMBLE.search(_without_strings(text)))
    by_ensemble = {name: tuple(dict.fromkeys(_STEP.findall(configs[name]))) for name in ensembles}
    steps = {step for found in by_ensemble.values() for step in found}
    return Repository(
        folder=folder,
        models=tuple(configs),
        ensembles=ensembles,
        steps=tuple(sorted(steps)),
        steps_by_ensemble=by_ensemble,
    )


def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    return _COMMENT_OR_STRING.sub(lambda match: match["string"] or "", text)


def _without_strings(text: str) -> str:
    return _COMMENT_OR_STRING.sub('""', text)
