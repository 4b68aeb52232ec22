# SPDX-License-Identifier: MIT
"""Finding Triton, its stub and libpython, and what is said when one is not there."""

import os
import shutil
import subprocess
import sys

import pytest
from vireo_server.launching import LibpythonNotFoundError, PlatformError, StubNotFoundError, TritonNotFoundError
from vireo_server.launching.libpython import find_libpython
from vireo_server.launching.triton import Triton, check_platform, find_triton

VERSION = sys.version_info[:2]


@pytest.fixture
def libraries(tmp_path):
    folder = tmp_path / "lib"
    folder.mkdir()
    for minor in (8, 11, 12):
        (folder / f"libpython3.{minor}.so.1.0").touch()
    return [folder]


def make_files(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"\x7fELF... libpython3.11.so.1.0 ...")
    return root


@pytest.fixture
def container(tmp_path):
    names = ("libtriton_python.so", "triton_python_backend_utils.py", "triton_python_backend_stub")
    return make_files(tmp_path / "container", "bin/tritonserver", *(f"backends/python/{name}" for name in names))


@pytest.fixture
def wheel(tmp_path):
    root = tmp_path / "site-packages" / "pytriton"
    names = ("libtriton_python.so", "triton_python_backend_utils.py")
    stubs = (f"tritonserver/python_backend_stubs/3.{minor}/triton_python_backend_stub" for minor in (8, 12))
    return make_files(
        root, "tritonserver/bin/tritonserver", *(f"tritonserver/backends/python/{name}" for name in names), *stubs
    )


def test_installed_wheel_is_found_without_importing_it():
    code = (
        "import sys; from vireo_server.launching import find_triton; triton = find_triton(); "
        "assert 'pytriton' not in sys.modules; print(triton.binary)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_text = subprocess.run([done.stdout.strip(), "--help"], capture_output=True, text=True, check=False)
    assert "--model-repository" in help_text.stdout + help_text.stderr


def test_stub_of_the_installed_wheel_finds_its_libraries():
    triton = find_triton()
    paths = [str(triton.libpython.parent), *map(str, triton.library_folders)]
    listing = subprocess.run(
        ["ldd", str(triton.stub)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(paths)},
    )
    assert f"libpython{VERSION[0]}.{VERSION[1]}" in listing.stdout
    assert "not found" not in listing.stdout


def test_container_comes_first(container, wheel, libraries):
    triton = find_triton(container=container, wheel=wheel, version=(3, 11), libpython_folders=libraries)
    assert triton.binary == container / "bin" / "tritonserver"
    assert triton.library_folders == (container / "lib",)


def test_container_whose_stub_is_for_another_python_is_passed_over(container, wheel, libraries):
    triton = find_triton(container=container, wheel=wheel, version=(3, 12), libpython_folders=libraries)
    assert triton.binary == wheel / "tritonserver" / "bin" / "tritonserver"
    assert triton.stub.parent.name == "3.12"
    assert triton.library_folders == (wheel.parent / "nvidia_pytriton.libs",)


def test_no_triton(tmp_path):
    with pytest.raises(TritonNotFoundError, match=r"no Triton .* found: neither .* pip install 'vireo\[server\]'"):
        find_triton(container=tmp_path / "nowhere", wheel=tmp_path / "nothing")


def test_no_stub_lists_those_there_are(container, wheel, libraries):
    with pytest.raises(
        StubNotFoundError, match=r"no Python stub for Python 3\.10; it has stubs for 3\.8, 3\.11, 3\.12;"
    ):
        find_triton(container=container, wheel=wheel, version=(3, 10), libpython_folders=libraries)


def test_no_libpython_names_the_package(tmp_path, wheel):
    with pytest.raises(LibpythonNotFoundError) as caught:
        find_triton(container=tmp_path / "none", wheel=wheel, version=(3, 12), libpython_folders=[tmp_path / "empty"])
    assert "needs 'libpython3.12.so.1.0'" in str(caught.value)
    assert str(tmp_path / "empty") in str(caught.value)
    assert "apt install libpython3.12" in str(caught.value)


def test_incomplete_triton(wheel, libraries):
    (wheel / "tritonserver" / "backends" / "python" / "libtriton_python.so").unlink()
    with pytest.raises(TritonNotFoundError, match=r"is not complete: .*libtriton_python\.so missing"):
        find_triton(container=wheel / "none", wheel=wheel, version=(3, 12), libpython_folders=libraries)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")])
def test_other_machines_are_refused(system, machine):
    with pytest.raises(PlatformError, match=f"does not run on {system} '{machine}'; it runs on Linux"):
        check_platform(system=system, machine=machine)


def test_linux_on_both_processors_is_taken():
    check_platform(system="Linux", machine="x86_64")
    check_platform(system="Linux", machine="aarch64")


def test_libpython_of_this_python_is_a_library_of_its_version():
    path = find_libpython(VERSION)
    assert path.name == f"libpython{VERSION[0]}.{VERSION[1]}.so.1.0"
    assert path.read_bytes()[:4] == b"\x7fELF"


@pytest.mark.skipif(shutil.which("ldconfig", path="/sbin:/usr/sbin") is None, reason="this system has no ldconfig")
def test_libpython_of_the_system_is_found_by_the_dynamic_linkers_list(tmp_path, monkeypatch):
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    if f"libpython{VERSION[0]}.{VERSION[1]}.so.1.0" not in listing:
        pytest.skip("the system has no libpython of this version")
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert find_libpython(VERSION).is_file()


def test_triton_is_checked_when_made(tmp_path):
    with pytest.raises(TritonNotFoundError, match="is not complete"):
        Triton(
            binary=tmp_path / "tritonserver",
            python_backend=tmp_path,
            stub=tmp_path / "stub",
            libpython=tmp_path / "libpython3.11.so.1.0",
            library_folders=(),
        )
