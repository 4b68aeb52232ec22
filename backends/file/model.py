# SPDX-License-Identifier: MIT
"""file: a whole small clip in one plain request, through any service."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vireo_server.filing import answer
from vireo_server.heartbeat import Heartbeat
from vireo_server.settings import FileSettings, read_settings
from vireo_server.side import side_of
from vireo_server.wire import Request


class TritonPythonModel:
    """Triton's door to `vireo_server.whole_files`."""

    def initialize(self, args):
        self.settings = read_settings(FileSettings, args)
        self.repository = Path(args["model_repository"]).parent
        self.pool = ThreadPoolExecutor(self.settings.max_files, thread_name_prefix="file")
        self.heartbeat = Heartbeat(args["model_name"])
        self.side = side_of(args, stage="file")

    def execute(self, requests):
        for request in requests:
            request = Request(request, stage="file")
            self.pool.submit(answer, request, repository=self.repository, settings=self.settings)

    def finalize(self):
        self.pool.shutdown(cancel_futures=True)
        self.side.close()
        self.heartbeat.close()
