# SPDX-License-Identifier: MIT
"""A network that cuts connections, or swallows what is sent, between the client and a real server."""

import selectors
import socket
import threading

import pytest
from vireo_client import Client, grpc_transport, watching

pytestmark = pytest.mark.server


class Wire:
    """Forwards connections to an address, until it is told to cut them or to swallow what they carry."""

    def __init__(self, address):
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs = {}
        self._swallowed = set()
        self._wanted = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def connections(self):
        return len(self._pairs) // 2

    def cut(self):
        """Close every connection there is; new ones are forwarded."""
        self._wanted.append("cut")

    def swallow(self):
        """Forward nothing any more of the connections there are, and say nothing; new ones are forwarded."""
        self._wanted.append("swallow")

    def close(self):
        self._stopped = True
        self._thread.join()

    def _run(self):
        while not self._stopped:
            while self._wanted:
                what = self._wanted.pop()
                for end in list(self._pairs):
                    self._swallowed.add(end) if what == "swallow" else self._drop(end)
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._join(self._listener.accept()[0])
                elif key.fileobj in self._pairs:
                    self._forward(key.fileobj)
        for end in list(self._pairs):
            self._drop(end)
        self._listener.close()
        self._selector.close()

    def _join(self, near):
        host, _, port = self._address.partition(":")
        far = socket.create_connection((host, int(port)))
        for end, other in ((near, far), (far, near)):
            self._pairs[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _forward(self, end):
        try:
            data = end.recv(1 << 16)
            if data and end not in self._swallowed:
                self._pairs[end].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end):
        for one in (end, self._pairs.get(end)):
            if one is not None and self._pairs.pop(one, None) is not None:
                self._selector.unregister(one)
                one.close()


@pytest.fixture
def wire(server):
    wire = Wire(server.grpc_url)
    yield wire
    wire.close()


@pytest.mark.parametrize("harm", ["cut", "swallow"])
def test_the_run_goes_on_over_a_new_connection(wire, clip, expected, tmp_path, monkeypatch, harm):
    monkeypatch.setattr(watching, "_LOST_SECONDS", 6.0)
    monkeypatch.setattr(grpc_transport, "_SHORT_SECONDS", 3.0)
    harmed = []

    def progress(progress):
        # Not before the client's second connection, by which it asks how the server is, is there too.
        if wire.connections >= 2 and not harmed:
            harmed.append(progress.frames)
            getattr(wire, harm)()

    with Client(wire.url) as client:
        result = client.run("passthrough", clip, tmp_path / "out.mp4", progress=progress)
    assert harmed
    assert harmed[0] < 1500
    assert result.frames_out == 1500
    assert (tmp_path / "out.mp4").read_bytes() == expected
