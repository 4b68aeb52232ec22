# SPDX-License-Identifier: MIT
"""The three ports of a server: which are free, and what to say when one is not."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from vireo_server.launching.errors import PortError


@dataclass(frozen=True)
class Endpoints:
    """Where a server listens.

    Attributes:
        address: IPv4 or IPv6 address, or a host name, to bind to.
        http: port, 1 to 65535; 0 stands for any free one until `choose_ports`.
        grpc: port, likewise.
        metrics: port, likewise.
    """

    address: str
    http: int
    grpc: int
    metrics: int

    def __post_init__(self) -> None:
        named = {"--http-port": self.http, "--grpc-port": self.grpc, "--metrics-port": self.metrics}
        for option, port in named.items():
            if not 0 <= port <= 65535:
                raise PortError(f"serve: {option} {port!r} is no port; ports are 1 to 65535, or 0 for any free one")
        given = [port for port in named.values() if port]
        if len(set(given)) < len(given):
            said = ", ".join(f"{option} {port}" for option, port in named.items())
            raise PortError(f"serve: two of the ports are the same: {said}; each needs its own; change one")

    @property
    def reachable_address(self) -> str:
        """The address a program on this machine connects to, in URL form."""
        address = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.address, self.address)
        return f"[{address}]" if ":" in address else address

    @property
    def http_url(self) -> str:
        """host:port, the form `tritonclient` takes."""
        return f"{self.reachable_address}:{self.http}"

    @property
    def grpc_url(self) -> str:
        """host:port, the form `tritonclient` takes."""
        return f"{self.reachable_address}:{self.grpc}"

    @property
    def metrics_url(self) -> str:
        """host:port; the numbers are at `/metrics`."""
        return f"{self.reachable_address}:{self.metrics}"


def choose_ports(endpoints: Endpoints) -> Endpoints:
    """Check that the given ports are free and put free ones in place of zeros.

    Between this and the server's own bind another program may take one; the server then says so, and the caller of
    this function may choose again.

    Raises:
        PortError: a given port or the address cannot be listened on.
    """
    sockets = []
    try:
        for option, port in (
            ("--http-port", endpoints.http),
            ("--grpc-port", endpoints.grpc),
            ("--metrics-port", endpoints.metrics),
        ):
            sockets.append(_bind(endpoints.address, port, option=option))
        http, grpc, metrics = (bound.getsockname()[1] for bound in sockets)
        return Endpoints(address=endpoints.address, http=http, grpc=grpc, metrics=metrics)
    finally:
        for bound in sockets:
            bound.close()


def port_taken(address: str, port: int, *, option: str) -> PortError:
    """Give the error for a port that another program listens on."""
    return PortError(
        f"serve: port {port} on {address} is taken by another program (perhaps another server); "
        f"stop it, or choose another with {option}; 0 takes any free one"
    )


def _bind(address: str, port: int, *, option: str) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise PortError(
            f"serve: the address {address!r} is unknown ({error.strerror}); "
            f"give an address of this machine with --address, such as 127.0.0.1 or 0.0.0.0"
        ) from error
    bound = socket.socket(family, kind, protocol)
    # As Triton does: a port whose last connections still time out is free.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(place)
        # Two sockets with SO_REUSEADDR may both bind; only one may listen.
        bound.listen(1)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise port_taken(address, port, option=option) from error
        if error.errno == errno.EACCES:
            raise PortError(
                f"serve: port {port} on {address} needs more rights than this user has; "
                f"choose one above 1023 with {option}"
            ) from error
        raise PortError(
            f"serve: cannot listen on {address!r} ({error.strerror}); "
            f"give an address of this machine with --address, such as 127.0.0.1 or 0.0.0.0"
        ) from error
    return bound
