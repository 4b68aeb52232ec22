# SPDX-License-Identifier: MIT
"""Which services a server has and what they allow, read from the server itself and never from a repository."""

from vireo_media.services import ServiceDescription

from vireo_client.errors import UnknownServiceError
from vireo_client.transport import Transport

__all__ = ["list_services", "read_service"]


def list_services(transport: Transport) -> list[ServiceDescription]:
    """Every service of a server, by name. Raises ServiceError."""
    services = []
    for name in transport.models():
        text = transport.description(name)
        if text is not None:
            services.append(ServiceDescription.from_json(name, text))
    return services


def read_service(transport: Transport, name: str) -> ServiceDescription:
    """The description of one service.

    Raises UnknownServiceError, which lists what is served, ServiceError.
    """
    try:
        text = transport.description(name)
    except UnknownServiceError as error:
        raise _unknown(transport, name) from error
    if text is None:  # A stage or some other model: there, but nothing to be called with a video.
        raise _unknown(transport, name)
    return ServiceDescription.from_json(name, text)


def _unknown(transport: Transport, name: str) -> UnknownServiceError:
    served = ", ".join(service.name for service in list_services(transport)) or "none"
    return UnknownServiceError(
        f"service {name!r} is not served at {transport.url!r}; served are {served}; choose one, or deploy it there"
    )
