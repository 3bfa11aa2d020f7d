"""The habits that a machine can check: lint, format and types, in CI beside the tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)], ids=" ".join
)
def test_the_code_passes(command):
    # The modules, not the scripts: those of this environment, whatever the path is.
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_files_that_pages_name_are_there():
    pages = [ROOT / "README.md", *ROOT.glob("C*.md"), *(ROOT / "docs").glob("*.md")]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"`((?:tf_earlyticket|tests|tools|configs|docs)/[\w/]+\.\w+)`",
                               page.read_text())
    }  # fmt: skip
    assert len(named) > 20
    assert not [path for path in sorted(named) if not (ROOT / path[1]).is_file()]


def test_no_walk_through_the_code_is_long():
    page = (ROOT / "docs" / "architecture.md").read_text()
    walks = re.findall(r"## The walk of .*?(?=\n## )", page, re.DOTALL)
    assert len(walks) == 2
    for walk in walks:
        files = re.findall(r"`(tf_earlyticket/[\w/]+\.py)`", walk)
        assert 8 <= len(files) == len(set(files)) <= 12
