# SPDX-License-Identifier: MIT
"""preprocess: frames to what the network takes, and which rows it must compute."""

from vireo_server.interpolating import InterpolationStage
from vireo_server.preprocessing import PreprocessStage, warm_up
from vireo_server.sequences import Streams
from vireo_server.settings import PreprocessSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.preprocessing`."""

    def initialize(self, args):
        settings = read_settings(PreprocessSettings, args)
        side = side_of(args, stage="preprocess", share=settings.device_memory)
        warm_up(settings, side)
        kind = PreprocessStage if settings.slots == "none" else InterpolationStage
        self.streams = Streams(
            lambda: kind(settings, side), name=args["model_name"], idle_seconds=settings.idle_seconds, side=side
        )

    def execute(self, requests):
        for request in requests:
            self.streams.submit(Request(request, stage="preprocess"))

    def finalize(self):
        self.streams.close()
