# SPDX-License-Identifier: MIT
"""The corpus on a real server: one server, each clip written once, and the README's table when all of them passed."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def load(name):
    """A module or package of this folder, which is none itself: pytest imports tests by their path."""
    key = f"vireo_corpus_{name}"
    if key not in sys.modules:
        path = HERE / name / "__init__.py"
        spec = importlib.util.spec_from_file_location(key, path if path.exists() else HERE / f"{name}.py")
        sys.modules[key] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[key]


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        cases = load("clips").CASES
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


@pytest.fixture(scope="session")
def server():
    from vireo_server.launching import running_server

    with running_server(services=["passthrough"]) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    from vireo_client import Client

    with Client(server.grpc_url) as open_client:
        yield open_client


@pytest.fixture(scope="session")
def passed():
    """Names of the cases that passed; when that is all of them, the README's table is written from them."""
    names = []
    yield names
    cases = load("clips").CASES
    if sorted(names) == sorted(case.name for case in cases):
        load("table").write(cases)
