"""The outcome of a run for TensorBoard: hyperparameters, final numbers and the figures."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tf_earlyticket.config import flatten
from tf_earlyticket.report.report import Report


def write_outcome(report: Report, figures: Mapping[str, Path], folder: Path) -> None:
    """Writes what a finished run came to, in place of what an earlier call wrote.

    Args:
        report: The run's report.
        figures: The PNG files by name.
        folder: The run's directory of summaries; a directory `outcome` is made in it.
    """
    shutil.rmtree(folder / "outcome", ignore_errors=True)
    numbers = {
        "ticket_test_accuracy": report.ticket.test_accuracy,
        "dense_test_accuracy": report.dense and report.dense.test_accuracy,
        "ticket_sparsity": report.ticket.sparsity,
        "start_epoch": report.start_epoch,
        "probe_epochs": report.cost.probe_epochs,
        "total_epochs": report.cost.total_epochs,
    }
    fields = flatten(report.config)
    writer = tf.summary.create_file_writer(str(folder / "outcome"))
    with writer.as_default(step=report.recipe.train.epochs):
        hparams.hparams({name: _plain(value) for name, value in fields.items()})
        for name, value in numbers.items():
            if value is not None:
                tf.summary.scalar(name, value)
        for name, path in figures.items():
            tf.summary.image(name, tf.io.decode_png(path.read_bytes(), channels=3)[None])
    writer.close()


def _plain(value):
    # TensorBoard compares booleans, numbers and texts.
    return value if isinstance(value, (bool, int, float, str)) else str(value)
