# SPDX-License-Identifier: MIT
"""Which services a server has and what they allow, read from the server itself and never from a repository."""

import json
import time
from dataclasses import dataclass

from vireo_media.services import ServiceDescription
from vireo_media.versions import Shares, split_version, versioned

from vireo_client.errors import RestartingError, UnknownServiceError
from vireo_client.transport import ModelConfiguration, Tensor, Transport

__all__ = ["ServedService", "list_services", "read_service", "same_service"]

_RESTART_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class ServedService:
    """A service as a server serves it. `shares`: which share of new runs goes to which of its versions."""

    description: ServiceDescription
    shares: Shares
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def name(self) -> str:
        """The name of its ensemble: `grade`, or `grade.2` for version 2."""
        return self.description.name


def list_services(transport: Transport) -> list[ServedService]:
    """Every service of a server, each version of its own, by name. Raises ServiceError."""
    services = []
    for name in transport.models():
        found = transport.configuration(name)
        if found.description is not None:
            services.append(
                ServedService(
                    description=ServiceDescription.from_json(name, found.description),
                    shares=Shares.from_json(name, found.versions),
                    inputs=found.inputs,
                    outputs=found.outputs,
                )
            )
    return services


def read_service(
    transport: Transport, service: str, *, version: int | None, run: str, kept: str | None
) -> tuple[ServiceDescription, str]:
    """The description of the version of a service that a run goes to, and its text. Waits some seconds for one that is
    just being replaced.

    Args:
        transport: the server.
        service: the service's name.
        version: the caller's choice; None leaves it to the shares that the server's configuration says.
        run: the run's name, by which the shares decide.
        kept: the model that an earlier run of the same output went to: the run ends on the version it began with,
            as long as that is served.

    Raises UnknownServiceError, which lists what is served, ServiceError.
    """
    found = None
    if version is not None:
        model = versioned(service, version)
    elif kept is not None and split_version(kept)[0] == service and kept in transport.models():
        model = kept
    else:
        found = _configuration(transport, service)
        model = versioned(service, Shares.from_json(service, found.versions).choose(run))
    if found is None or model != service:
        found = _configuration(transport, model)
    if found.description is None:  # A stage or some other model: there, but nothing to be called with a video.
        raise _unknown(transport, model)
    return ServiceDescription.from_json(model, found.description), found.description


def _configuration(transport: Transport, name: str) -> ModelConfiguration:
    end = time.monotonic() + _RESTART_SECONDS
    while True:
        try:
            return transport.configuration(name)
        except RestartingError:
            if time.monotonic() > end:
                raise
            time.sleep(0.25)
        except UnknownServiceError as error:
            raise _unknown(transport, name) from error


def same_service(found: str | None, expected: str) -> bool:
    """Whether two descriptions are of one service in one revision, however their texts are laid out."""
    return found is not None and bool(json.loads(found) == json.loads(expected))


def _unknown(transport: Transport, name: str) -> UnknownServiceError:
    served = ", ".join(service.name for service in list_services(transport)) or "none"
    return UnknownServiceError(
        f"service {name!r} is not served at {transport.url!r}; served are {served}; choose one, or deploy it there"
    )
