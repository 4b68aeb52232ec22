# SPDX-License-Identifier: MIT
"""script: frames through a user's Python file, script.py in the model's version folder."""

import sys
from pathlib import Path

from vireo_server.heartbeat import Heartbeat
from vireo_server.results import results_of
from vireo_server.scripting.host import ScriptHost
from vireo_server.scripting.stage import ScriptStage
from vireo_server.sequences import Streams
from vireo_server.settings import ScriptSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request, log_warning


class TritonPythonModel:
    """Triton's door to `vireo_server.scripting`."""

    def initialize(self, args):
        sys.dont_write_bytecode = True  # a cache of modules beside the script would make Triton think it was changed
        settings = read_settings(ScriptSettings, args)
        side = side_of(args, stage="script", share=settings.device_memory)
        path = Path(args["model_repository"]) / args["model_version"] / settings.file
        heartbeat = Heartbeat(args["model_name"], limit_seconds=settings.limit_seconds)
        with side.closed_on_failure():
            self.host = ScriptHost(path, settings, busy=heartbeat.busy, note=log_warning, side=side)
        results = results_of(args["model_config"], side="output")
        self.streams = Streams(
            lambda: ScriptStage(self.host, results=results, is_abandoned=heartbeat.is_abandoned, side=side),
            name=args["model_name"],
            idle_seconds=settings.idle_seconds,
            heartbeat=heartbeat,
            side=side,
        )

    def execute(self, requests):
        for request in requests:
            self.streams.submit(Request(request, stage="script"))

    def finalize(self):
        self.streams.close()
        self.host.close()
