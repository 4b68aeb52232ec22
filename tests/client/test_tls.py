# SPDX-License-Identifier: MIT
"""TLS and a token, as a proxy in front of a server demands them."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from vireo_client import Client
from vireo_client.errors import RefusedError, UnavailableError
from vireo_media.errors import OptionError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl here to make a certificate")
    return folder / "cert.pem"


@pytest.fixture
def server(certificate: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A gRPC server behind TLS that knows no method; its address, and what each call carried."""
    carried: list[dict[str, str]] = []

    class Recording(grpc.GenericRpcHandler):
        def service(self, call):
            carried.append(dict(call.invocation_metadata))

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Recording()])
    key = certificate.with_name("key.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([(key, certificate.read_bytes())])
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    yield f"https://localhost:{port}", carried
    server.stop(None).wait()


def test_the_token_goes_with_every_call(server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, carried = server
    monkeypatch.setenv("VIREO_CA_FILE", str(certificate))
    monkeypatch.setenv("VIREO_TOKEN", "secret")
    with Client(url) as client, pytest.raises(RefusedError, match="Method not found") as caught:
        client.services()
    assert carried[0]["authorization"] == "Bearer secret"
    assert "secret" not in str(caught.value)


def test_an_unknown_certificate_is_not_trusted(server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, carried = server
    monkeypatch.setenv("VIREO_TOKEN", "secret")
    with Client(url) as client, pytest.raises(UnavailableError, match="no server answers"):
        client.services()
    assert carried == []


@pytest.mark.parametrize(("url", "words"), [("ftp://a:1", "is no address"), ("https://a:1", "cannot be read")])
def test_what_is_set_wrong_is_said(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIREO_CA_FILE", "/nowhere")
    with Client(url) as client, pytest.raises(OptionError, match=words):
        client.services()
