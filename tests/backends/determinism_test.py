"""Bit-for-bit equality of whole runs, on one device and on two replicas: see the program."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Its fast sibling is undisturbed_test.py.
pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).parents[1] / "helpers" / "determinism_checks.py"
CHECKS = re.findall(r"^def (check_\w+)", PROGRAM.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def outcome():
    root = str(PROGRAM.parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("check", CHECKS)
def test_whole_runs(check, outcome):
    if outcome[check]:
        pytest.fail(outcome[check])
