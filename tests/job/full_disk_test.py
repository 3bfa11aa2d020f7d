"""A disk that is full, or says so: a clear error, and the earlier results as they were."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.job import workdir as paths
from tf_earlyticket.job.checkpoint import RunCheckpoint
from tf_earlyticket.job.log import MetricsLog

ROOT = Path(__file__).parents[2]


def _model():
    layers = keras.layers
    network = keras.Sequential(
        [layers.Input((4,)), layers.Dense(8, name="hidden"), layers.Dense(2, name="out")]
    )
    model = et.wrap_for_pruning(network)
    model.compile("sgd", "mse")
    pruned(model).prepare()
    return model


@pytest.mark.parametrize("part", ["state", "variables"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, part):
    checkpoint = RunCheckpoint(tmp_path / "search", MetricsLog("search"))
    checkpoint.set_model(_model())
    checkpoint.save(1)

    def fail(*arguments, **options):
        if part == "state":
            raise OSError(28, "No space left on device", "state-2.json")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patch:
        if part == "state":
            patch.setattr(paths.os, "replace", fail)
        else:
            patch.setattr(tf.train.Checkpoint, "write", fail)
        with pytest.raises(OSError, match="-2.* cannot be written: No space left on device"):
            checkpoint.save(2)
    model = _model()
    other = RunCheckpoint(tmp_path / "search", MetricsLog("search"))
    assert other.restore(model) == 1
    checkpoint.save(2)
    assert other.restore(model) == 2


@pytest.mark.slow
def test_the_program_says_what_it_cannot_write_and_goes_on_once_it_can(tmp_path):
    command = [
        *(sys.executable, "-m", "tf_earlyticket.train", f"--workdir={tmp_path / 'run'}"),
        *("--config.model.name=resnet8", "--config.train.epochs=3"),
        *("--config.data.train_examples=64", "--config.data.validation_examples=32"),
        "--config.train.dense_baseline=false",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}

    def small_files():
        # A file that reaches the limit fails to be written on, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    options = {"env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, preexec_fn=small_files, **options)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "checkpoints/rewind_weights.safetensors cannot be written: File too large" in line
    assert "finished before is kept" in line and "Traceback" not in done.stderr
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.json").exists()
