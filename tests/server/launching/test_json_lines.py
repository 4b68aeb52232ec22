# SPDX-License-Identifier: MIT
"""The log as JSON: what a line is about stands in its fields."""

import json
import signal

import pytest
from vireo_server.launching.json_lines import json_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "vireo: warning: decode: stream vireo:sr:my-run:12:0a1b failed at chunk 3: decode: bad [INVALID_ARG]",
            {"level": "warning", "model": "decode", "stream": "vireo:sr:my-run:12:0a1b", "chunk": 3, "service": "sr",
             "request": "my-run", "segment": 12},
        ),
        (
            "vireo: error: sr_network (process 71) died (signal 9, SIGKILL)",
            {"level": "error", "model": "sr_network", "process": 71},
        ),
        ("vireo: decode is back after 1.1 s", {"level": "info", "model": "decode"}),
        ("vireo: decode: stream 0b2c of another client", {"level": "info", "model": "decode", "stream": "0b2c"}),
        ("vireo serve: port 1 is taken", {"level": "error"}),
        ("vireo: stopped", {"level": "info", "message": "stopped"}),
        ("vireo: warning: ✓ \"quoted\"\nsecond line", {"level": "warning", "message": "✓ \"quoted\"\nsecond line"}),
    ],
)  # fmt: skip
def test_fields_are_taken_from_the_text(text, expected):
    line = json_line(text, source="vireo")
    assert "\n" not in line
    values = json.loads(line)
    assert values["time"].endswith("+00:00")
    assert values.items() >= expected.items()
    optional = {"model", "process", "stream", "chunk", "service", "request", "segment"}
    assert optional & set(values) == optional & set(expected)


@pytest.mark.server
@pytest.mark.parametrize("verbose", [False, True])
def test_every_line_of_serve_is_an_object(make_repository, start_program, verbose):
    program = start_program(repository=make_repository({"echo": "echo"}), log_format="json", verbose=verbose)
    ready = json.loads(program.line_with("ready  http"))
    assert "health 127.0.0.1:" in ready["message"]
    program.send(signal.SIGTERM)
    code, lines = program.finish()
    assert code == 0
    values = [json.loads(line) for line in lines]
    assert values[-1]["message"] == "stopped"
    assert any(value["source"] == "triton" for value in values) is verbose
