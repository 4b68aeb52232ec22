# SPDX-License-Identifier: MIT
"""The process of a Triton server: started, read, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vireo_server.launching import die_with_parent
from vireo_server.launching.log import ServerLog


class ServerProcess:
    """A running `tritonserver` whose output goes to a log.

    It is in a session of its own, so a Ctrl-C in the terminal reaches us and not it; and the kernel kills it when this
    process ends, however it ends. Its Python stages see that it is gone and end within about 3 s.

    Args:
        command: program and arguments.
        environment: the whole environment.
        folder: its working directory: one without a `model.py`, which stages would load instead of their own.
        log: takes its output.
        secret: a text in the command that is overwritten once the program has read it.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: ServerLog, secret: str
    ) -> None:
        self._command = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command]
        self._environment = dict(environment)
        self._folder = folder
        self._log = log
        self._secret = secret
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._process: subprocess.Popen[str]
        # This thread starts the process and reads it to its end: its own end is what the kernel would act on.
        self._reader = threading.Thread(target=self._run, name="vireo-server-log", daemon=True)
        self._reader.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        """The process id of `tritonserver`."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Give the exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long, and say whether it ended."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        # Its last words may be why it ended.
        self._reader.join(timeout=0.5)
        return True

    def terminate(self) -> None:
        """Ask it to end; it waits for requests that run."""
        if self.exit_code() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and its stages at once. Once it has ended its id may be another's, and nobody is signalled."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _run(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for number, line in enumerate(output):
                if number == 0:
                    _hide_argument(self._process.pid, self._secret)
                self._log.add(line.rstrip("\r\n"))
        self._process.wait()


def _hide_argument(pid: int, secret: str) -> None:
    """Overwrite a text in the command line, which every user of this machine can read.

    Triton takes its key in no other way, and has copied it by the time it writes its first line. Where the kernel does
    not let a parent write its child's memory, the text stays.
    """
    with suppress(OSError), Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        # proc(5): fields 48 and 49 are arg_start and arg_end; the second field may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        memory.seek(start)
        arguments = memory.read(end - start)
        memory.seek(start)
        memory.write(arguments.replace(secret.encode(), b"*" * len(secret.encode())))
