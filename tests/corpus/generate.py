# SPDX-License-Identifier: MIT
"""python tests/corpus/generate.py FOLDER: write every clip of the corpus there."""

import sys
from pathlib import Path

from clips import CASES

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for case in CASES:
    case.write(folder)
    print(f"{case.name}{case.suffix}: {case.comes}")
