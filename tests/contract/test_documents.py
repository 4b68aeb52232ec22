# SPDX-License-Identifier: MIT
"""What the documents point to is in the repository, and so in every clone."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("model_repository/*/README.md")))


@pytest.fixture(scope="module")
def tracked():
    """The files of the repository; None outside a checkout."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {ROOT / name for name in done.stdout.splitlines()} if done.returncode == 0 else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document, tracked):
    for link in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if "://" not in link:
            target = (document.parent / link).resolve()
            assert target.exists(), link
            assert tracked is None or target.is_dir() or target in tracked, f"{link} is not in the repository"
