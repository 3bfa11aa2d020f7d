"""Finished runs that several files look at, made once for all processes of the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

import tf_earlyticket as et

JOBS = Path(__file__).parents[1] / "helpers" / "jobs.py"
SHARED = ("whole", "interrupted", "dense", "rewind")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Returns a folder of `SHARED`, a copy of the file's own."""
    base = tmp_path_factory.getbasetemp()
    # Each process of xdist has a folder of its own within the common one.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    with filelock.FileLock(shared / "lock"):
        if not (shared / "made").exists():
            environment = {**os.environ, "PYTHONPATH": str(Path(et.__file__).parents[1])}
            command = [sys.executable, str(JOBS), str(shared), *SHARED]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            (shared / "made").touch()
    folder = tmp_path_factory.mktemp("runs")
    for name in SHARED:
        shutil.copytree(shared / name, folder / name)
    return folder
