# SPDX-License-Identifier: MIT
"""Choosing ports."""

import socket

import pytest
from vireo_server.launching import PortError
from vireo_server.launching.ports import Endpoints, choose_ports


def test_zero_is_replaced_by_three_different_free_ports():
    chosen = choose_ports(Endpoints(address="127.0.0.1", http=0, grpc=0, metrics=0))
    ports = [chosen.http, chosen.grpc, chosen.metrics]
    assert len(set(ports)) == 3
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_given_port_is_kept():
    port = choose_ports(Endpoints(address="127.0.0.1", http=0, grpc=0, metrics=0)).http
    assert choose_ports(Endpoints(address="127.0.0.1", http=0, grpc=port, metrics=0)).grpc == port


def test_port_taken_on_every_address_is_taken_on_one():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            PortError, match=rf"port {port} on 127\.0\.0\.1 is taken .* choose another with --http-port"
        ):
            choose_ports(Endpoints(address="127.0.0.1", http=port, grpc=0, metrics=0))


@pytest.mark.parametrize("port", [-1, 65536])
def test_numbers_that_are_no_ports(port):
    with pytest.raises(PortError, match=f"--metrics-port {port} is no port"):
        Endpoints(address="127.0.0.1", http=0, grpc=0, metrics=port)


def test_same_port_twice():
    with pytest.raises(PortError, match="--http-port 8000, --grpc-port 8000, --metrics-port 0; each needs its own"):
        Endpoints(address="127.0.0.1", http=8000, grpc=8000, metrics=0)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "127.0.0.1:1"),
        ("0.0.0.0", "127.0.0.1:1"),
        ("::", "[::1]:1"),
        ("::1", "[::1]:1"),
        ("localhost", "localhost:1"),
    ],
)
def test_urls_can_be_connected_to_from_this_machine(address, url):
    assert Endpoints(address=address, http=1, grpc=2, metrics=3).http_url == url
