# SPDX-License-Identifier: MIT
"""The numbers in a model card, written from `evaluation.json` so that they are never typed by hand.

`python -m vireo_training.model_card` fills them in again.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["fill_in", "main", "numbers"]

_BEGIN, _END = "<!-- numbers: begin, written by vireo_training.model_card -->", "<!-- numbers: end -->"


def numbers(evaluation: Mapping[str, Any]) -> str:
    """Give a Markdown table of `evaluation["psnr_y"]`: photographs down, qualities across, and the mean gain.

    For restoration, which has more qualities than photographs, it lies the other way and shows gains.
    """
    photographs: Mapping[str, Mapping[str, Mapping[str, float]]] = evaluation["psnr_y"]
    run = evaluation["run"]
    if "validation_gain" in run:
        return "\n".join([*_gains(photographs), "", f"{run['steps']} steps in {run['minutes']:.0f} minutes."])
    qualities = list(next(iter(photographs.values())))
    lines = ["| photograph | " + " | ".join(qualities) + " |", "|---" * (len(qualities) + 1) + "|"]
    for name, rows in photographs.items():
        cells = [
            f"{row['bicubic']:.2f} → {row['onnx']:.2f} ({row['onnx'] - row['bicubic']:+.2f})" for row in rows.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    gains = [
        sum(rows[quality]["onnx"] - rows[quality]["bicubic"] for rows in photographs.values()) / len(photographs)
        for quality in qualities
    ]
    lines.append("| **mean gain** | " + " | ".join(f"**{gain:+.2f}**" for gain in gains) + " |")
    lines += [
        "",
        f"{run['steps']} steps in {run['minutes']:.0f} minutes; {run['validation_psnr_y']:.2f} dB on validation.",
    ]
    return "\n".join(lines)


def _gains(photographs: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Give a table with the degraded pictures' mean PSNR-Y and what each photograph gained, by how it was coded."""
    lines = [f"| | before | {' | '.join(photographs)} | mean gain |", "|---" * (len(photographs) + 3) + "|"]
    for coding in next(iter(photographs.values())):
        rows = [photograph[coding] for photograph in photographs.values()]
        gains = [row["onnx"] - row["before"] for row in rows]
        before = sum(row["before"] for row in rows) / len(rows)
        cells = " | ".join(f"{gain:+.2f}" for gain in gains)
        lines.append(f"| {coding} | {before:.2f} | {cells} | **{sum(gains) / len(gains):+.2f}** |")
    return lines


def fill_in(folder: Path) -> None:
    """Write the numbers of `folder`/evaluation.json into `folder`/README.md, between its two marks."""
    card, evaluation = folder / "README.md", json.loads((folder / "evaluation.json").read_text())
    before, _, rest = card.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    if not after:
        raise ValueError(
            f"model card: {str(card)!r} has no {_BEGIN!r} ... {_END!r}; put both marks where numbers belong"
        )
    card.write_text(f"{before}{_BEGIN}\n{numbers(evaluation)}\n{_END}{after}")


def main() -> None:
    """Fill in the card of one network."""
    parser = argparse.ArgumentParser(description="Write measured numbers into a model card.")
    parser.add_argument("folder", type=Path, nargs="?", default="model_repository/super_resolution_network")
    fill_in(parser.parse_args().folder)


if __name__ == "__main__":
    main()
