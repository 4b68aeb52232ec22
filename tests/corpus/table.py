# SPDX-License-Identifier: MIT
"""The README's table of formats, from the corpus.

python tests/corpus/table.py          write it (the test run does, when every clip has passed)
python tests/corpus/table.py --check  fail when it is not what the corpus says
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- formats:begin -->", "<!-- formats:end -->"


def render(cases):
    """The table's lines, from the corpus's cases."""
    lines = ["| | what comes in | what goes out |", "|---|---|---|"]
    before = None
    for case in cases:
        group = case.group if case.group != before else ""
        before = case.group
        lines.append(f"| {f'**{group}**' if group else ''} | {case.comes} | {case.gives} |")
    return "\n".join(lines)


def replaced(text, cases):
    """The README's text with the table between its markers."""
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:begin]}\n{render(cases)}\n{text[end:]}"


def write(cases):
    """Write the table into the README, where it differs."""
    text = README.read_text()
    if replaced(text, cases) != text:
        README.write_text(replaced(text, cases))


if __name__ == "__main__":
    from clips import CASES

    if "--check" not in sys.argv:
        write(CASES)
    elif replaced(README.read_text(), CASES) != README.read_text():
        sys.exit("README.md: the table of formats is not what tests/corpus says; run: make test")
