# SPDX-License-Identifier: MIT
"""decode_preprocess: compressed packets to a network's pictures, for services that need the frames for nothing else."""

from vireo_server.decode_preprocess import DecodePreprocessStage, warm_up
from vireo_server.sequences import Streams
from vireo_server.settings import DecodePreprocessSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.decode_preprocess`."""

    def initialize(self, args):
        settings = read_settings(DecodePreprocessSettings, args)
        side = side_of(args, stage="decode", share=settings.device_memory)
        warm_up(settings, side)
        self.streams = Streams(
            lambda: DecodePreprocessStage(settings, self.streams, side),
            name=args["model_name"],
            idle_seconds=settings.idle_seconds,
            max_streams=settings.max_streams,
            side=side,
        )

    def execute(self, requests):
        for request in requests:
            self.streams.submit(Request(request, stage="decode"))

    def finalize(self):
        self.streams.close()
