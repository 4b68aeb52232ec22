# SPDX-License-Identifier: MIT
"""encode: frames to compressed packets. A codec context a stream; the last stage of a transformation."""

from vireo_server.encoding import LARGE_BLOCK, EncodeStage, warm_up
from vireo_server.memory import give_back_memory, map_blocks_above
from vireo_server.sequences import Streams
from vireo_server.settings import EncodeSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.encoding`."""

    def initialize(self, args):
        settings = read_settings(EncodeSettings, args)
        side = side_of(args, stage="encode", share=settings.device_memory)
        map_blocks_above(LARGE_BLOCK)
        warm_up(side)
        self.streams = Streams(
            lambda: EncodeStage(settings, side, progress=lambda: self.streams.heartbeat.progress()),
            name=args["model_name"],
            idle_seconds=settings.idle_seconds,
            side=side,
            when_idle=give_back_memory,
        )

    def execute(self, requests):
        for request in requests:
            self.streams.submit(Request(request, stage="encode"))

    def finalize(self):
        self.streams.close()
