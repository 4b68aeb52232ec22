# SPDX-License-Identifier: MIT
"""collect: what networks and scripts found, row by row and for the whole video; the last stage of an extraction."""

from vireo_server.collecting import CollectStage
from vireo_server.results import results_of
from vireo_server.sequences import Streams
from vireo_server.settings import CollectSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.collecting`."""

    def initialize(self, args):
        settings = read_settings(CollectSettings, args)
        side = side_of(args, stage="collect", share=settings.device_memory)
        results = results_of(args["model_config"], side="input")
        self.streams = Streams(
            lambda: CollectStage(settings, results, side),
            name=args["model_name"],
            idle_seconds=settings.idle_seconds,
            side=side,
        )
        CollectStage(settings, results)  # Settings that do not fit the tensors are found now.

    def execute(self, requests):
        for request in requests:
            self.streams.submit(Request(request, stage="collect"))

    def finalize(self):
        self.streams.close()
