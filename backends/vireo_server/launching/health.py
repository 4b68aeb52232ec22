# SPDX-License-Identifier: MIT
"""Whether the server lives and can serve, over a port of our own: Triton says ready whatever has died inside it.

    GET /livez           200 while the server's process runs and answers, 503 else: restart it
    GET /readyz          200 while every service can serve and new streams are taken, 503 else: send no new work
    GET /readyz/NAME     the same for one service; 404 where there is none of that name

The bodies are JSON objects; see `Health`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vireo_server.launching.ports import port_taken

__all__ = ["Health", "HealthPort", "ServiceHealth"]

_ADDRESS = "127.0.0.1"
_LOOK_SECONDS = 0.25
"""How often the port looks whether it is closed."""


@dataclass(frozen=True, kw_only=True)
class ServiceHealth:
    """One service. `faults` says for each stage that cannot serve why; empty where Triton alone says not ready."""

    ready: bool
    faults: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Health:
    """The state of a server. `state` is "starting", "serving", "draining" or "dead"."""

    alive: bool
    state: str
    open_streams: int
    services: Mapping[str, ServiceHealth]

    @property
    def ready(self) -> bool:
        """Whether every service can serve, and new streams are taken."""
        return self.alive and self.state == "serving" and all(service.ready for service in self.services.values())


class HealthPort:
    """Answers on 127.0.0.1 from threads of its own until it is closed.

    Args:
        port: 0 for any free one; `port` is then which.
        look: gives the present state; called for each question.

    Raises:
        PortError: another program listens there.
    """

    def __init__(self, port: int, look: Callable[[], Health]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = _answer(self.path, look())
                data = json.dumps(body).encode() + b"\n"
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Say nothing: probes come every few seconds."""

        try:
            self._server = _Server((_ADDRESS, port), Handler)
        except OSError as error:
            raise port_taken(_ADDRESS, port, option="--health-port") from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="vireo-health", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """host:port."""
        return f"{_ADDRESS}:{self.port}"

    def close(self) -> None:
        """Listen no more; may be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """Whoever asked hung up: no news."""


def _answer(path: str, health: Health) -> tuple[int, dict[str, Any]]:
    parts = path.partition("?")[0].strip("/").split("/")
    if parts == ["livez"]:
        return (200 if health.alive else 503), {"alive": health.alive, "state": health.state}
    if parts == ["readyz"]:
        return (200 if health.ready else 503), {"ready": health.ready, **asdict(health)}
    if parts[0] == "readyz" and len(parts) == 2 and parts[1] in health.services:
        service = health.services[parts[1]]
        ready = service.ready and health.alive and health.state == "serving"
        return (200 if ready else 503), {"state": health.state, **asdict(service), "ready": ready}
    return 404, {"error": f"nothing here; ask for /livez, /readyz or /readyz/ and one of {sorted(health.services)}"}
