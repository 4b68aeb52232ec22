# SPDX-License-Identifier: MIT
"""network: pictures to pictures. Stateless, so Triton batches the rows of different streams together."""

from pathlib import Path

from vireo_server.heartbeat import Heartbeat
from vireo_server.inference import infer, load_network
from vireo_server.network_settings import NetworkSettings
from vireo_server.settings import read_settings
from vireo_server.side import Border, side_of
from vireo_server.wire import Request, log_warning


class TritonPythonModel:
    """Triton's door to `vireo_server.runtimes`."""

    def initialize(self, args):
        settings = read_settings(NetworkSettings, args)
        side = side_of(args, stage="network")
        self.border = Border(side, stage="network")
        folder = Path(args["model_repository"]) / args["model_version"]
        self.model = args["model_name"]
        with side.closed_on_failure():
            self.runtime = load_network(
                settings,
                folder / settings.file,
                device=side.device.cuda,
                note=lambda text: log_warning(f"{self.model}: {text}"),
                progress=lambda: self.heartbeat.progress(),
            )
        self.heartbeat = Heartbeat(self.model)

    def execute(self, requests):
        with self.heartbeat.busy():
            waiting = [Request(request, stage="network") for request in requests]
            infer(self.runtime, waiting, model=self.model, border=self.border)

    def finalize(self):
        self.border.side.close()
        self.heartbeat.close()
