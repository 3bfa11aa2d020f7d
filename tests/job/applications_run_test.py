"""Whole runs from the command line, on real pictures in a folder, of other people's networks."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from collect_applications import NETWORKS, kept
from pictures import write_digits

import tf_earlyticket
from tf_earlyticket.backends import FRAMEWORKS, backend_named
from tf_earlyticket.models.applications import classes_of
from tf_earlyticket.report.report import Report

ROOT = Path(tf_earlyticket.__file__).parents[1]
NAMES = [(keras, name) for name in NETWORKS for keras in FRAMEWORKS if name in classes_of(keras)]
CLASSES = 3


def run(folder, keras, side, *arguments):
    """Runs the job on few digits in 3 epochs of 3 steps; returns its report."""
    write_digits(folder / "pictures", CLASSES, of_each=12, size=(side, side), mode="RGB")
    command = [sys.executable, "-m", "tf_earlyticket.train", "--config=configs/finetune.py"]
    command += [f"--keras={keras}", f"--data_dir={folder / 'pictures'}", "--config.train.epochs=3"]
    command += ["--config.train.batch_size=9", "--config.train.dense_baseline=false", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, f"--workdir={folder / 'run'}"], check=True, cwd=ROOT, env=environment)
    report = Report.read(folder / "run" / "report.json")
    assert report.ticket.sparsity == pytest.approx(0.8, abs=1e-4)
    return report


@pytest.mark.slow
@pytest.mark.parametrize("keras, name", NAMES)
def test_a_network_of_each_family_becomes_a_ticket(tmp_path, keras, name):
    report = run(tmp_path, keras, NETWORKS[name], f"--config.model.name=applications/{name}")
    counted = next(each["counts"][keras] for each in kept() if each["name"] == name)
    assert len(report.ticket.layers) == counted["pruned"]["kernels"]
    dense = {reason: each["kernels"] for reason, each in counted["left_dense"].items()}
    assert Counter(each.reason for each in report.left_dense) == dense


@pytest.mark.slow
@pytest.mark.parametrize("keras", FRAMEWORKS)
def test_a_saved_network_becomes_a_ticket_of_other_classes(tmp_path, keras):
    applications = backend_named(keras).keras.applications
    saved = applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
    saved.save(tmp_path / "mine.keras")
    run(tmp_path, keras, 32, f"--config.model.file={tmp_path / 'mine.keras'}")
