"""The command of the detector study: its flags, and how it says what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import QUICK_XLA

import tf_earlyticket as et
from tf_earlyticket.commands.study_detectors import print_table


def _process(*arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(Path(et.__file__).parents[1]), **variables}
    command = [sys.executable, "-m", "tf_earlyticket.study_detectors", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--seeds=0,x", "--seeds=0,x: expected integers"),
        ("--start_epochs=early", "--start_epochs=early: expected integers"),
        ("--config.probe.detector=psychic", "detector='psychic': expected one of"),
        ("--config.probe.detector=fixed_epoch(epoch=50)", "epoch=50: expected an integer from 1"),
        ("--seed=3", "Unknown command line flag 'seed'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, argument, message):
    done = _process(argument, f"--workdir={tmp_path / 'study'}")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_the_table_has_a_row_per_detector_and_a_dash_for_the_unknown(capsys):
    row = {
        "detector": "PPRSaturation",
        "start_epochs": [12, 13],
        "detected": 1,
        "probe_cost_epochs": 0.96,
        "gradual_accuracy": 0.8123,
        "gradual_distance": 0.0012,
        "gradual_distance_std": 0.001,
        "one_shot_accuracy": None,
        "one_shot_distance": None,
        "one_shot_distance_std": None,
    }
    print_table({"summary": [row]})
    line = next(line for line in capsys.readouterr().out.splitlines() if "PPRSaturation" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["PPRSaturation", "12 13", "1 of 2", "0.96", "81.23", "0.12", "-", "-"]


# Its fast sibling is in reproduce_test.py.
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_study_under_keras_3(tmp_path, backend):
    tiny = ("train_examples=96", "validation_examples=64")
    done = _process(
        *(f"--config.data.{field}" for field in tiny),
        *("--config.model.name=resnet8", "--config.train.drop_epochs=(2,)"),
        *("--config.train.epochs=3", "--start_epochs=1", "--modes=one_shot", "--keras=keras"),
        f"--workdir={tmp_path}",
        KERAS_BACKEND=backend,
        XLA_FLAGS=QUICK_XLA,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    study = json.loads((tmp_path / "study.json").read_text())
    assert list(study["seeds"]["0"]["tickets"]["one_shot"]) == ["1"]
    assert study["command"].startswith(f"KERAS_BACKEND={backend} python -m")
