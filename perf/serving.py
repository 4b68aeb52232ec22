# SPDX-License-Identifier: MIT
"""`vireo serve` as a program of its own, which may be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from vireo_server.launching.ports import Endpoints, choose_ports
from vireo_server.launching.stages import running_stages

VIREO = [sys.executable, "-c", "from vireo_client.command_line import main; main()"]
_DEATHS = (" died", " is back ", "cleaned up after", "ended by itself", "starting Triton again")


class ServeProcess:
    """`vireo serve` as a program, on ports that stay the same when it is started again."""

    def __init__(self) -> None:
        ports = choose_ports(Endpoints(address="127.0.0.1", http=0, grpc=0, metrics=0))
        health = choose_ports(Endpoints(address="127.0.0.1", http=0, grpc=0, metrics=0)).http
        self.grpc_url, self._health_url = ports.grpc_url, f"http://127.0.0.1:{health}"
        self._command = [*VIREO, "serve", "--service", "passthrough", "--drain-seconds", "0"]
        for name, port in (("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics), ("health", health)):
            self._command += [f"--{name}-port", str(port)]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._read = 0
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> ServeProcess:
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """kill -9 of `vireo serve`; the kernel ends Triton with it."""
        server = self._server_pid()
        self._process.kill()
        self._process.wait()
        end = time.monotonic() + 30
        while Path(f"/proc/{server}").exists() and time.monotonic() < end:
            time.sleep(0.02)

    def kill_stage(self, model: str) -> None:
        """kill -9 of every process of a model."""
        for stage in running_stages(self._server_pid()):
            if stage.model == model:
                os.kill(stage.pid, signal.SIGKILL)

    def health(self) -> dict[str, Any]:
        """What `/readyz` says, ready or not; nothing where nobody answers."""
        try:
            with urllib.request.urlopen(f"{self._health_url}/readyz", timeout=5) as reply:
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except OSError:
            return {}

    def wait_until_ready(self) -> None:
        """Wait until every service can serve. Raises RuntimeError with the end of the log after two minutes."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.health().get("ready"):
                return
            time.sleep(0.1)
        raise RuntimeError(f"the server is not ready again:\n{self.log[-4000:]}")

    @property
    def log(self) -> str:
        """All it said so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def new_deaths(self) -> list[str]:
        """What the server's log says of processes that died since the last question."""
        new, self._read = self.log[self._read :], len(self.log)
        return [line for line in new.splitlines() if any(word in line for word in _DEATHS)]

    def _server_pid(self) -> int:
        tasks = Path(f"/proc/{self._process.pid}/task")
        [pid] = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
        return pid
