"""A run with probes ends bit for bit as one without that starts pruning at the same step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tf_earlyticket as et

SCRIPT = Path(__file__).parents[1] / "helpers" / "undisturbed.py"


@pytest.mark.parametrize(
    "devices", ["one_device", pytest.param("mirrored", marks=pytest.mark.slow)]
)
def test_probes_leave_the_run_bit_for_bit_as_it_was(devices):
    environment = {**os.environ, "PYTHONPATH": str(Path(et.__file__).parents[1])}
    command = [sys.executable, str(SCRIPT), devices]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "equal"
