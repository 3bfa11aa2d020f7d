"""Every file of a run is damaged, one at a time: the same result or a refusal, never another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import damage
import pytest

ROOT = Path(__file__).parents[2]


def _damaged(output, backend, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    if backend:
        environment["KERAS_BACKEND"] = backend
        arguments = ("--keras=keras", *arguments)
    command = [sys.executable, str(ROOT / "tools/damage.py"), f"--output={output}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if line.startswith(("different", "crashed"))]
    assert not wrong and done.returncode == 0, wrong or done.stderr[-3000:]
    return json.loads(output.read_text())["counts"]


@pytest.mark.slow
def test_a_few_damages_give_the_same_result_or_a_refusal(tmp_path):
    counts = _damaged(tmp_path / "found.json", "", "--modes=continue", "--cases=8", "--seed=3")
    assert sum(counts.values()) == 8 and counts["same"] and counts["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", damage.MODES)
@pytest.mark.parametrize("backend", ["", "tensorflow", "jax"])
def test_every_file_in_every_way(tmp_path, backend, mode):
    counts = _damaged(tmp_path / "found.json", backend, f"--modes={mode}")
    assert sum(counts.values()) > 100 and counts["same"] > counts["refused"] > 0


def test_another_result_and_a_traceback_would_be_seen(tmp_path, monkeypatch):
    base, folder = tmp_path / "base", tmp_path / "folder"
    for path in (base, folder):
        path.mkdir()
    (base / "config.json").write_text("{}")
    case = damage.Case(base, "config.json", "flipped")

    def seen(run, found=("whole",)):
        monkeypatch.setattr(damage, "run", run)
        monkeypatch.setattr(damage, "outcome", lambda workdir: list(found))
        return damage.try_case(case, None, ["whole"], folder, 0).kind

    def refuse(config, workdir):
        raise damage.InputError("one line")

    def lose(config, workdir):
        (workdir / "config.json").unlink()
        raise damage.RunError("one line")

    def crash(config, workdir):
        raise KeyError("x")

    assert seen(lambda config, workdir: None) == "same"
    assert seen(lambda config, workdir: None, ["another"]) == "different"
    assert [seen(run) for run in (refuse, lose, crash)] == ["refused", "crashed", "crashed"]
