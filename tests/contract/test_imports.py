# SPDX-License-Identifier: MIT
"""Who may import whom, and that nothing heavy is loaded before it is needed."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: package -> (its folder, which of our packages it may import)
PACKAGES = {
    "vireo_kernels": ("kernels", set()),
    "vireo_media": ("client", set()),
    "vireo_client": ("client", {"vireo_media", "vireo_kernels"}),
    "vireo_server": ("backends", {"vireo_kernels", "vireo_media"}),
    "vireo_training": ("training", {"vireo_kernels", "vireo_media"}),
}
OURS = set(PACKAGES)
#: The command line is one program for client and server; it imports each where a subcommand needs it.
EXCEPTIONS = {("client/vireo_client/server_commands.py", "vireo_server")}


def imports(path):
    """(name, whether at the top of the module) of everything a file imports."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            yield name.split(".")[0], id(node) in top


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package):
    folder, allowed = PACKAGES[package]
    for path in (ROOT / folder / package).rglob("*.py"):
        for name, at_top in imports(path):
            relative = str(path.relative_to(ROOT))
            if name in OURS - allowed - {package}:
                assert (relative, name) in EXCEPTIONS, f"{relative} imports {name}"
                assert not at_top, f"{relative} imports {name} before a subcommand needs it"


@pytest.mark.parametrize("door", sorted((ROOT / "backends").glob("*/model.py")), ids=lambda path: path.parent.name)
def test_a_door_is_thin(door):
    assert len(door.read_text().splitlines()) <= 120
    assert {name for name, _ in imports(door)} & OURS <= {"vireo_server"}


def test_only_doors_and_the_wire_touch_tritons_python_backend():
    touching = {
        str(path.relative_to(ROOT))
        for folder in ("backends", "client", "kernels", "training")
        for path in (ROOT / folder).rglob("*.py")
        for name, _ in imports(path)
        if name == "triton_python_backend_utils"
    }
    assert touching == {"backends/vireo_server/wire.py"}


def test_nothing_edits_the_import_path():
    for folder in ("backends", "client", "kernels", "training", "tests", "perf", "demo"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                edits = isinstance(node, ast.Attribute) and node.attr == "path" and ast.unparse(node) == "sys.path"
                assert not edits, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("vireo_client", {"av", "grpc", "tritonclient", "numba", "rich"}),
        ("vireo_client.command_line", {"av", "grpc", "tritonclient", "numba"}),
        ("vireo_kernels.color", {"numba", "cupy"}),
        ("vireo_server.launching", {"av", "numba", "openvino", "pytriton", "tritonclient"}),
    ],
)
def test_nothing_heavy_at_import(module, heavy):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


def test_every_module_for_a_gpu_is_imported_without_one():
    """They ask for CuPy, TensorRT and a device when they are used."""
    folders = {
        "vireo_server.runtimes": "backends/vireo_server/runtimes",
        "vireo_kernels.cuda": "kernels/vireo_kernels/cuda",
    }
    modules = [f"{name}.{path.stem}" for name, folder in folders.items() for path in (ROOT / folder).glob("*.py")]
    assert {"vireo_server.runtimes.tensorrt", "vireo_kernels.cuda.runner"} <= set(modules)
    code = f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cupy", "tensorrt", "tensorrt_rtx", "onnxruntime", "openvino"} & set(loaded)


def test_every_door_travels_in_the_wheel():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    doors = {f"backends/{path.parent.name}" for path in (ROOT / "backends").glob("*/model.py")}
    assert doors | {"model_repository"} == set(wheel["force-include"])
