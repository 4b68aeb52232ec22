# SPDX-License-Identifier: MIT
"""The command line of a training program: every setting is an option; what came of it lies beside the model card."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["read_arguments", "write_network"]

_S = TypeVar("_S")


def read_arguments(
    settings: type[_S], arguments: Sequence[str] | None, *, description: str, steps: int, output: str
) -> tuple[_S, int, Path]:
    """The settings, the number of steps and the model's folder; each setting's default is that of its dataclass."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--output", type=Path, default=Path(output))
    defaults = asdict(settings())  # type: ignore[call-overload]
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args(arguments))
    return settings(**{name: options[name] for name in defaults}), options["steps"], options["output"]


def write_network(folder: Path, network: bytes, judge: Callable[[Path], Mapping[str, Any]]) -> None:
    """Write 1/model.onnx into a model's folder, and what `judge` says of that file into evaluation.json."""
    model = folder / "1" / "model.onnx"
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(network)
    (folder / "evaluation.json").write_text(json.dumps(judge(model), indent=2) + "\n")
    print(f"wrote {model}, {model.stat().st_size} bytes")
