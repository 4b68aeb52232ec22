# SPDX-License-Identifier: MIT
"""A user's script: loaded once, its functions called, its exceptions turned into errors that show its own lines.

# Note [What a script may import]
As a program of its own a script finds the modules beside it. In a stage it shall find the same ones, and what was
installed for it alone: `pip install --target packages -r requirements.txt` in its folder. `site.addsitedir` puts both
behind everything else, so that a script's own packages never replace the server's.
"""

from __future__ import annotations

import inspect
import itertools
import site
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from vireo_server.errors import BadInput, ScriptFailed, SettingError, StageError

STAGE = "script"
PACKAGES = "packages"
_DEVICES = ("cpu", "cuda")
_FUNCTIONS = ("setup", "warmup", "configure", "process")
_names = (f"vireo_script_{number}" for number in itertools.count())


class Script:
    """The functions of one script.

    Args:
        path: the file.

    Raises:
        SettingError: there is no such file, it fails while it is imported, or it has no `process`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SettingError(
                f"there is no script at {str(path)!r}; put a Python file with a function process(data) there, or set "
                "the parameter 'file'"
            )
        self.path = path.absolute()
        self._module = self._import()
        for name in _FUNCTIONS:
            if not callable(getattr(self._module, name, _nothing)):
                raise SettingError(
                    f"{path.name}: {name!r} is {type(getattr(self._module, name)).__name__}; allowed: a function"
                )
        if self._function("process") is None:
            found = ", ".join(name for name in _FUNCTIONS if self._function(name)) or "none of them"
            raise SettingError(
                f"{path.name} has no function process(data, profiling=False), the one that must be there; of setup, "
                f"warmup, configure and process it has {found}"
            )
        if getattr(self._module, "DEVICE", _DEVICES[0]) not in _DEVICES:
            raise SettingError(f"{path.name}: DEVICE is {self._module.DEVICE!r}; allowed: {', '.join(_DEVICES)}")
        self._takes_profiling = _takes(self._function("process"), "profiling")

    @property
    def keeps_streams_apart(self) -> bool:
        """Whether it is told when a stream begins: it has `configure`. One that is not told cannot have memory."""
        return self._function("configure") is not None

    @property
    def fills_slots(self) -> bool:
        """Whether it wants empty frames between the sources: it says `SLOTS = True`."""
        return getattr(self._module, "SLOTS", False) is True

    @property
    def takes_device_arrays(self) -> bool:
        """Whether, in a service on a GPU, it takes its frames as they are there: it says `DEVICE = "cuda"`."""
        return getattr(self._module, "DEVICE", _DEVICES[0]) == _DEVICES[1]

    def setup(self, config: str) -> None:
        """Call `setup(config)`, a JSON string. Raises SettingError."""
        self._prepare("setup", config)

    def warmup(self) -> None:
        """Call `warmup()`. Raises SettingError."""
        self._prepare("warmup")

    def configure(self, options: str) -> Any:
        """Call `configure(options)`, a JSON string; what it returns is the stream's state, None if it has none.

        Raises:
            BadInput: the script raised ValueError, which is how it refuses options.
            ScriptFailed: it raised something else.
        """
        function = self._function("configure")
        if function is None:
            return None
        with self._errors("configure", refusal=ValueError, seconds=None):
            return function(options)

    def process(self, data: dict[str, Any], *, profiling: bool, seconds: float | None) -> Any:
        """Call `process(data)` for one batch whose first frame is at `seconds` of the video.

        Raises:
            ScriptFailed: the script raised an exception.
        """
        function = self._function("process")
        assert function is not None
        with self._errors("process", refusal=(), seconds=seconds):
            return function(data, profiling=profiling) if self._takes_profiling else function(data)

    def _function(self, name: str) -> Callable[..., Any] | None:
        return getattr(self._module, name, None)

    def _prepare(self, name: str, *arguments: str) -> None:
        function = self._function(name)
        if function is None:
            return
        try:
            with self._errors(name, refusal=(), seconds=None):
                function(*arguments)
        except StageError as error:
            raise SettingError(error.message) from error

    def _import(self) -> ModuleType:
        for folder in (self.path.parent, self.path.parent / PACKAGES):
            if folder.is_dir():
                site.addsitedir(str(folder))
        module = ModuleType(next(_names))
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module
        try:
            with self._errors("import", refusal=(), seconds=None):
                # Not through an import: its cache would be written beside the script, and Triton take the model's
                # folder for changed.
                exec(compile(self.path.read_bytes(), str(self.path), "exec"), module.__dict__)
        except StageError as error:
            del sys.modules[module.__name__]
            raise SettingError(error.message) from error
        return module

    @contextmanager
    def _errors(
        self, doing: str, *, refusal: type[Exception] | tuple[type[Exception], ...], seconds: float | None
    ) -> Iterator[None]:
        """The border between the engine and a script: whatever it raises becomes an error of the stream."""
        try:
            yield
        except (Exception, SystemExit) as error:
            kind = BadInput if isinstance(error, refusal) else ScriptFailed
            raise kind(explain(error, doing=doing, path=self.path), stage=STAGE, seconds=seconds) from error


def explain(error: BaseException, *, doing: str, path: Path) -> str:
    """What a script raised: its words, and of its traceback the lines in its own folder.

    Args:
        error: what came out of it.
        doing: the function that was called, or "import".
        path: the script.
    """
    if isinstance(error, SyntaxError) and error.filename == str(path):
        said = f"{error.msg} in line {error.lineno}: {(error.text or '').strip()}"
    elif isinstance(error, SystemExit):
        said = f"it called sys.exit({error.code!r}), which would end the whole stage; raise an exception instead"
    else:
        said = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        said += (
            f"; install it where the server runs, or for this script alone: pip install --target "
            f"{path.parent / PACKAGES} ..."
        )
    lines = [
        f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(path.parent)
    ]
    return "\n".join([f"{path.name} failed in {doing}: {said}", *lines])


def _nothing() -> None:
    """Stands in for a function that a script does not have."""


def _takes(function: Callable[..., Any] | None, name: str) -> bool:
    assert function is not None
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.name == name or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
