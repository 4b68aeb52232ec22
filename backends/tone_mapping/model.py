# SPDX-License-Identifier: MIT
"""tone_mapping: SDR frames to HDR10 ones, or HDR frames to SDR ones; from frames to frames."""

from vireo_server.sequences import Streams
from vireo_server.settings import ToneMappingSettings, read_settings
from vireo_server.side import side_of
from vireo_server.tone_mapping import ToneMappingStage, warm_up
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.tone_mapping`."""

    def initialize(self, args):
        settings = read_settings(ToneMappingSettings, args)
        side = side_of(args, stage="tone_mapping", share=settings.device_memory)
        warm_up(settings, side)
        self.streams = Streams(
            lambda: ToneMappingStage(settings, side),
            name=args["model_name"],
            idle_seconds=settings.idle_seconds,
            side=side,
        )

    def execute(self, requests):
        for request in requests:
            self.streams.submit(Request(request, stage="tone_mapping"))

    def finalize(self):
        self.streams.close()
