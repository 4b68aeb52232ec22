# SPDX-License-Identifier: MIT
"""decode: compressed packets to frames. A codec context a stream; see the contract for the tensors."""

from vireo_server.decoding import DecodeStage, warm_up
from vireo_server.sequences import Streams
from vireo_server.settings import DecodeSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.decoding`."""

    def initialize(self, args):
        settings = read_settings(DecodeSettings, args)
        side = side_of(args, stage="decode", share=settings.device_memory)
        warm_up(side)
        self.streams = Streams(
            lambda: DecodeStage(settings, self.streams, side),
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
