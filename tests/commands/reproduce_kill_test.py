"""A reproduction that is killed again and again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tf_earlyticket as et

ROOT = Path(et.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def _command(*arguments):
    return [sys.executable, "-m", "tf_earlyticket.reproduce", *map(str, arguments)]


def _process(*arguments):
    return subprocess.run(_command(*arguments), env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_numbers(tmp_path):
    def numbers(folder):
        results = json.loads((folder / "items/fig4/results.json").read_text())
        for record in results["records"]:
            record.pop("seconds")
        return results["records"], results["summary"]

    arguments = ["--item=fig4", "--scale=smoke", "--learning_rates=0.01"]
    assert _process(*arguments, f"--workdir={tmp_path / 'whole'}").returncode == 0
    killed = tmp_path / "killed"
    for _ in range(3):
        with open(os.devnull, "w") as nowhere:
            process = subprocess.Popen(
                _command(*arguments, f"--workdir={killed}"),
                env=ENVIRONMENT,
                stdout=nowhere,
                stderr=nowhere,
            )
            before = _files(killed)
            # At whatever it does after something new was written.
            while _files(killed) == before and process.poll() is None:
                time.sleep(0.02)
            time.sleep(0.3)
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert _process(*arguments, f"--workdir={killed}").returncode == 0
    assert numbers(killed) == numbers(tmp_path / "whole")


def _files(folder):
    return len(list(folder.glob("seed0/checkpoints/*/*")))
