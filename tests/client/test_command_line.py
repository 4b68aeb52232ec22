# SPDX-License-Identifier: MIT
"""The command, as a user meets it: its own process, its exit code, what it says and where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.testing
from vireo_client import command_line
from vireo_client.testing import DESCRIPTION, Loopback
from vireo_media.testing import read_numbers

VIREO = [sys.executable, "-c", "from vireo_client.command_line import main; main()"]


def vireo(*arguments: object, **keywords) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VIREO, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False, **keywords
    )


def test_the_version_and_the_help_need_no_extra() -> None:
    """Nothing heavy is imported for them."""
    code = (
        "import sys\nfrom vireo_client.command_line import _app\n"
        "try: _app([{argument!r}])\nexcept SystemExit as e: code = e.code\n"
        "print(sorted({{'av', 'numpy', 'grpc', 'tritonclient', 'rich.progress', 'numba'}} & set(sys.modules)), code)"
    )
    for argument, expected in (("--version", "vireo 0."), ("--help", "serve")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(argument=argument)], capture_output=True, text=True, check=True
        )
        assert expected in done.stdout
        assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "passthrough", "none.mp4", "out.mp4"], "vireo: input 'none.mp4': there is no such file"),
        (["run", "passthrough", "text.mp4", "out.mp4"], "it is not a media file"),
        (["run", "passthrough", "clip.mp4", "text.mp4"], "is there already"),
        (["run", "passthrough", "clip.mp4", "out.mp4", "--url", "127.0.0.1:9"], "no server answers at '127.0.0.1:9'"),
        (["services", "--url", "127.0.0.1:9"], "no server answers at '127.0.0.1:9'"),
    ],
)
def test_a_failure_is_one_line_on_standard_error_and_code_1(
    clip: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "text.mp4").write_text("text")
    before = sorted(tmp_path.iterdir())
    done = vireo(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["run"], ["run", "a", "b", "c", "--set", "x"], ["fly"], ["run", "--fast"]])
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    done = vireo(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Loopback:
    transport = Loopback(services={"passthrough": DESCRIPTION, "other": {**DESCRIPTION, "kind": "extraction"}})
    monkeypatch.setattr("vireo_client.client.GrpcTransport", lambda url: transport)
    return transport


def test_run_sets_options_and_says_what_it_did(loopback: Loopback, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    runner = typer.testing.CliRunner()
    arguments = ["run", "passthrough", str(clip), str(output), "--set", "codec=hevc", "--set", "crf=30"]
    done = runner.invoke(command_line._app, arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{output}: 450 frames from 450 in ")
    assert read_numbers(output) == list(range(450))
    done = runner.invoke(command_line._app, [*arguments, "--overwrite", "--quiet"])
    assert (done.exit_code, done.output) == (0, "")


def test_notes_go_to_standard_error(loopback: Loopback, clip: Path, tmp_path: Path) -> None:
    done = typer.testing.CliRunner().invoke(
        command_line._app, ["run", "passthrough", str(clip), str(tmp_path / "out.webm"), "--set", "codec=vp9"]
    )
    assert done.exit_code == 0
    assert "vireo: note: audio stream #1 (aac) was left out" in done.stderr


def test_services_are_listed_with_all_that_a_caller_needs(loopback: Loopback) -> None:
    gain = {"type": "number", "minimum": 0, "maximum": 8}
    loopback.services["passthrough.2"] = {**DESCRIPTION, "options": {"properties": {"gain": gain}}}
    loopback.versions["passthrough"] = '{"1": 0.8, "2": 0.2}'
    done = typer.testing.CliRunner().invoke(command_line._app, ["services"])
    assert done.stdout.splitlines()[:15] == [
        "other  video -> numbers",
        "  inputs  STREAM BYTES [1], PACKETS BYTES [-1], PACKET_TIMING INT64 [-1, 4], CHUNK INT64 [1]",
        "  outputs OUTPUT_PACKETS BYTES [-1], OUTPUT_TIMING INT64 [-1, 4], REPORT BYTES [1]",
        "  options none of its own",
        "",
        "passthrough  video -> video  version 1 of passthrough: 80% of new runs",
        "  inputs  STREAM BYTES [1], PACKETS BYTES [-1], PACKET_TIMING INT64 [-1, 4], CHUNK INT64 [1]",
        "  outputs OUTPUT_PACKETS BYTES [-1], OUTPUT_TIMING INT64 [-1, 4], REPORT BYTES [1]",
        "  options none of its own",
        "",
        "passthrough.2  video -> video  version 2 of passthrough: 20% of new runs",
        "  inputs  STREAM BYTES [1], PACKETS BYTES [-1], PACKET_TIMING INT64 [-1, 4], CHUNK INT64 [1]",
        "  outputs OUTPUT_PACKETS BYTES [-1], OUTPUT_TIMING INT64 [-1, 4], REPORT BYTES [1]",
        "  options gain: number in 0..8",
        "",
    ]
    assert "codec, preset, crf" in done.stdout.splitlines()[15]
    assert done.stdout.endswith("nvdec; every extraction on_corrupt, deinterlace, sample, nvdec.\n")


def test_services_as_json(loopback: Loopback) -> None:
    loopback.versions["passthrough"] = '{"1": 1}'
    done = typer.testing.CliRunner().invoke(command_line._app, ["services", "--json"])
    other, passthrough = json.loads(done.stdout)
    assert other["kind"] == "extraction"
    assert (passthrough["name"], passthrough["version"], passthrough["share"]) == ("passthrough", 1, 1.0)
    assert passthrough["inputs"][2] == {"name": "PACKET_TIMING", "datatype": "INT64", "dims": [-1, 4]}
    assert passthrough["options"] == DESCRIPTION["options"]


def test_a_share_without_a_version_is_wrong_usage() -> None:
    done = typer.testing.CliRunner().invoke(command_line._app, ["load", "grade", "--share", "0.5"])
    assert done.exit_code == 2
    assert "name it with --version" in done.stderr


def test_a_missing_extra_says_what_to_install(tmp_path: Path) -> None:
    """A Python that cannot find PyAV."""
    (tmp_path / "av.py").write_text("raise ModuleNotFoundError(\"No module named 'av'\", name='av')")
    done = vireo("run", "a", "b.mp4", "c.mp4", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "the package 'av' is not installed; it comes with: pip install 'vireo[client]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_hands_its_options_to_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    import vireo_server.launching

    given = {}

    def serve(**keywords) -> int:
        given.update(keywords)
        return 3

    monkeypatch.setattr(vireo_server.launching, "serve", serve)
    done = typer.testing.CliRunner().invoke(
        command_line._app,
        ["serve", "--http-port", "1", "--grpc-port", "2", "--metrics-port", "3", "--repository", "r", "--service", "a",
         "--service", "b", "--address", "0.0.0.0", "--drain-seconds", "4", "--verbose",
         "--health-port", "5", "--stuck-seconds", "6", "--gpu", "1", "--log-format", "json"],
    )  # fmt: skip
    assert done.exit_code == 3
    assert given == {
        "http_port": 1,
        "grpc_port": 2,
        "metrics_port": 3,
        "repository": Path("r"),
        "services": ["a", "b"],
        "address": "0.0.0.0",
        "drain_seconds": 4.0,
        "verbose": True,
        "health_port": 5,
        "stuck_seconds": 6.0,
        "gpu": 1,
        "log_format": "json",
    }
