# SPDX-License-Identifier: MIT
"""A folder of what `perf.gpu_kit` needs on a machine that has a GPU, CuPy and numpy, but cannot install anything.

    python -m perf.carry FOLDER --python 3.12

Carry the repository and FOLDER (some 50 MB) there, and run from the repository's root

    sh FOLDER/run.sh --within 540 --json gpu.json

It unpacks PyAV, and of Triton what starts a server for that Python, and asks the kit's questions; what is missing
there, the kit says. Neither pip nor root is needed.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from zipfile import ZipFile

from vireo_server.launching.triton import BACKEND_LIBRARY, BACKEND_MODULE, STUB

from perf.machine import ROOT

_PARTS = ("av", "triton")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_RUN = """\
#!/bin/sh
# From the repository's root: sh FOLDER/run.sh [options of perf.gpu_kit]
set -eu
site=$(mktemp -d)
python3 -W ignore -m tarfile -e "$(dirname "$0")/kit.tar.xz" "$site"
export PYTHONPATH="$site:$PWD:$PWD/kernels:$PWD/client:$PWD/backends${PYTHONPATH:+:$PYTHONPATH}"
python3 -m perf.gpu_kit "$@"
rm -r "$site"
"""


def main() -> int:
    """Make the folder. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="is made; must not be there yet")
    parser.add_argument("--python", default="3.12", help="of that machine (3.12)")
    parser.add_argument("--without", choices=_PARTS, action="append", default=[], help="leave it out; repeatable")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if folder.exists():
        print(f"perf.carry: {str(folder)!r} is there already; name a new folder", file=sys.stderr)
        return 1
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text(_RUN, encoding="utf-8")
    with tarfile.open(folder / "kit.tar.xz", "w:xz") as archive:
        if "av" not in arguments.without:
            add_wheel(archive, "av", python=arguments.python)
        if "triton" not in arguments.without:
            add_triton(archive, python=arguments.python)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")
    return 0


def add_wheel(archive: tarfile.TarFile, package: str, *, python: str) -> None:
    """The files of a package's wheel for a Python, of the version that the constraints name."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirement = next(line for line in constraints if line.startswith(f"{package}=="))
    with tempfile.TemporaryDirectory() as name:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--python-version", python, "--implementation", "cp", "--dest", name,
        ]  # fmt: skip
        subprocess.run([*command, *(f"--platform={platform}" for platform in _PLATFORMS), requirement], check=True)
        (path,) = Path(name).glob("*.whl")
        with ZipFile(path) as wheel:
            for member in wheel.infolist():
                _add(archive, member.filename, wheel.read(member))


def add_triton(archive: tarfile.TarFile, *, python: str) -> None:
    """The server in the wheel `nvidia-pytriton` that is installed here, with the stub of one Python and the libraries
    that these are linked with. Raises subprocess.CalledProcessError where there is no such stub."""
    import pytriton

    package = Path(pytriton.__file__).parent
    server = package / "tritonserver"
    backend = server / "backends" / "python"
    programs = [server / "bin" / "tritonserver", backend / BACKEND_LIBRARY]
    programs.append(server / "python_backend_stubs" / python / STUB)
    linked = subprocess.run(["ldd", *map(str, programs)], stdout=subprocess.PIPE, text=True, check=True).stdout
    libraries = {Path(found).resolve() for found in re.findall(r"=> (\S*nvidia_pytriton\.libs/\S+)", linked)}
    for file in (*programs, backend / BACKEND_MODULE, *sorted(libraries)):
        archive.add(file, file.relative_to(package.parent))
    _add(archive, "pytriton/__init__.py", b"")  # it is only looked for, never run


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    sys.exit(main())
