# SPDX-License-Identifier: MIT
"""Finding a Triton server: NVIDIA's container, else the wheel `nvidia-pytriton`."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vireo_server.launching.errors import PlatformError, StubNotFoundError, TritonNotFoundError
from vireo_server.launching.libpython import find_libpython

BACKEND_LIBRARY = "libtriton_python.so"
BACKEND_MODULE = "triton_python_backend_utils.py"
STUB = "triton_python_backend_stub"

_CONTAINER = Path("/opt/tritonserver")
_MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Triton:
    """A Triton that can be started with the running Python.

    Attributes:
        binary: the program `tritonserver`.
        python_backend: folder with `libtriton_python.so` and `triton_python_backend_utils.py`.
        stub: the stub program for the running Python.
        libpython: the shared library of Python that the stub loads.
        library_folders: where the libraries of these files lie, for LD_LIBRARY_PATH.
    """

    binary: Path
    python_backend: Path
    stub: Path
    libpython: Path
    library_folders: tuple[Path, ...]

    def __post_init__(self) -> None:
        needed = [self.binary, self.python_backend / BACKEND_LIBRARY, self.python_backend / BACKEND_MODULE, self.stub]
        missing = [str(path) for path in needed if not path.is_file()]
        if missing:
            raise TritonNotFoundError(
                f"serve: the Triton at {str(self.binary)!r} is not complete: {', '.join(missing)} missing; "
                f"install it again (pip install --force-reinstall nvidia-pytriton)"
            )


def find_triton(
    *,
    container: Path = _CONTAINER,
    wheel: Path | None = None,
    version: tuple[int, int] = sys.version_info[:2],
    libpython_folders: Iterable[Path] | None = None,
) -> Triton:
    """Find a Triton for a Python version.

    A container's Triton comes first: it has the GPU libraries it was built with. It is passed over when its stub is for
    another Python.

    Args:
        container: where a container keeps Triton.
        wheel: the folder of the package `pytriton`; where the running Python finds it if None.
        version: major and minor version of the Python that the stages run on.
        libpython_folders: where to look for libpython; where the system keeps it if None.

    Raises:
        PlatformError: not Linux on x86-64 or aarch64.
        TritonNotFoundError: neither place has a Triton.
        StubNotFoundError: there is no stub for this version.
        LibpythonNotFoundError: the stub's libpython is not installed.
    """
    check_platform(system=platform.system(), machine=platform.machine())
    wheel = _wheel_folder() if wheel is None else wheel
    stubs: dict[tuple[int, int], Path] = {}
    if (container / "bin" / "tritonserver").is_file():
        stub = container / "backends" / "python" / STUB
        if stub.is_file() and (stub_version := _version_of_stub(stub)) is not None:
            stubs[stub_version] = stub
            if stub_version == version:
                return Triton(
                    binary=container / "bin" / "tritonserver",
                    python_backend=stub.parent,
                    stub=stub,
                    libpython=find_libpython(version, folders=libpython_folders),
                    library_folders=(container / "lib",),
                )
    if wheel is not None and (wheel / "tritonserver" / "bin" / "tritonserver").is_file():
        root = wheel / "tritonserver"
        for stub in root.glob(f"python_backend_stubs/*/{STUB}"):
            major, minor = stub.parent.name.split(".")
            stubs.setdefault((int(major), int(minor)), stub)
        stub = root / "python_backend_stubs" / _dotted(version) / STUB
        if stub.is_file():
            return Triton(
                binary=root / "bin" / "tritonserver",
                python_backend=root / "backends" / "python",
                stub=stub,
                libpython=find_libpython(version, folders=libpython_folders),
                library_folders=(wheel.parent / "nvidia_pytriton.libs",),
            )
    elif not stubs:
        raise TritonNotFoundError(
            f"serve: no Triton Inference Server found: neither {str(container)!r} (NVIDIA's container) nor the package "
            f"'nvidia-pytriton' in {sys.prefix!r}; install it: pip install 'vireo[server]'"
        )
    raise StubNotFoundError(
        f"serve: Triton has no Python stub for Python {_dotted(version)}; it has stubs for "
        f"{', '.join(_dotted(known) for known in sorted(stubs)) or 'no version'}; "
        f"run Vireo with one of these that it supports (3.11 or 3.12)"
    )


def check_platform(*, system: str, machine: str) -> None:
    """Refuse machines that no Triton exists for.

    Raises:
        PlatformError: not Linux on x86-64 or aarch64.
    """
    if system != "Linux" or machine not in _MACHINES:
        raise PlatformError(
            f"serve: Triton does not run on {system} {machine!r}; it runs on Linux ({', '.join(_MACHINES)}); "
            f"serve on such a machine, in a container or in WSL 2, and give the client its address with --url"
        )


def _wheel_folder() -> Path | None:
    # find_spec of a top-level package locates it without running it: importing pytriton costs half a second.
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def _version_of_stub(stub: Path) -> tuple[int, int] | None:
    # A container has one stub and no word about its Python; the library it is linked with tells.
    match = re.search(rb"libpython(\d)\.(\d+)\.so", stub.read_bytes())
    return (int(match[1]), int(match[2])) if match else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
