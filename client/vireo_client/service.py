# SPDX-License-Identifier: MIT
"""Which services a server has and what they allow, read from the server itself and never from a repository."""

import json
import time

from vireo_media.services import ServiceDescription

from vireo_client.errors import RestartingError, UnknownServiceError
from vireo_client.transport import Transport

__all__ = ["list_services", "read_service", "same_service"]

_RESTART_SECONDS = 15.0


def list_services(transport: Transport) -> list[ServiceDescription]:
    """Every service of a server, by name. Raises ServiceError."""
    services = []
    for name in transport.models():
        text = transport.description(name)
        if text is not None:
            services.append(ServiceDescription.from_json(name, text))
    return services


def read_service(transport: Transport, name: str) -> tuple[ServiceDescription, str]:
    """The description of one service, and its text. Waits some seconds for one that is just being replaced.

    Raises UnknownServiceError, which lists what is served, ServiceError.
    """
    end = time.monotonic() + _RESTART_SECONDS
    while True:
        try:
            text = transport.description(name)
            break
        except RestartingError:
            if time.monotonic() > end:
                raise
            time.sleep(0.25)
        except UnknownServiceError as error:
            raise _unknown(transport, name) from error
    if text is None:  # A stage or some other model: there, but nothing to be called with a video.
        raise _unknown(transport, name)
    return ServiceDescription.from_json(name, text), text


def same_service(found: str | None, expected: str) -> bool:
    """Whether two descriptions are of one service in one revision, however their texts are laid out."""
    return found is not None and bool(json.loads(found) == json.loads(expected))


def _unknown(transport: Transport, name: str) -> UnknownServiceError:
    served = ", ".join(service.name for service in list_services(transport)) or "none"
    return UnknownServiceError(
        f"service {name!r} is not served at {transport.url!r}; served are {served}; choose one, or deploy it there"
    )
