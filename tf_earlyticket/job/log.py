"""What a run tells while it trains: metrics.csv and TensorBoard."""

import csv
import io
import math
import time
from pathlib import Path

import tensorflow as tf

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.files import write_text

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "sparsity",
    "ppr_accuracy",
    "seconds",
    "phase",
)


class MetricsLog(Callback):
    """Collects a row per epoch and writes all rows so far to `metrics.csv` and TensorBoard.

    Args:
        path: The CSV file, or None to write none (processes other than the chief).
        tensorboard: Directory for summaries, or None.
        phase: Value of the column `phase`.
        earlier_rows: Rows of the phases before, written in front.
        histograms: Also summarize the distribution of every weight.
    """

    def __init__(
        self,
        path: Path | None,
        tensorboard: Path | None,
        phase: str,
        earlier_rows=(),
        *,
        histograms: bool = False,
    ):
        super().__init__()
        self._histograms = histograms
        self.rows: list[dict] = []
        self._path, self._phase = path, phase
        self._earlier_rows = list(earlier_rows)
        self._writer = None
        if tensorboard is not None:
            self._writer = tf.summary.create_file_writer(str(tensorboard / phase))

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock; notes the learning rate, which may drop at the end of the epoch."""
        self._started = time.perf_counter()
        self._learning_rate = pruned(self.model).learning_rate()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the row of the epoch."""
        adapter = pruned(self.model)
        known = {
            "epoch": epoch + 1,
            "step": adapter.step(),
            "learning_rate": self._learning_rate,
            "seconds": time.perf_counter() - self._started,
            "phase": self._phase,
        }
        values = {**(logs or {}), **known}
        self.rows.append({column: _plain(values.get(column)) for column in COLUMNS})
        if self._path is not None:
            write_text(self._path, to_csv(self._earlier_rows + self.rows))
        if self._writer is not None:
            with self._writer.as_default(step=epoch + 1):
                for column, value in self.rows[-1].items():
                    if isinstance(value, float):
                        tf.summary.scalar(column, value)
                if self._histograms:
                    for name, weight in adapter.all_weights().items():
                        tf.summary.histogram(name, weight)
            self._writer.flush()


def _plain(value):
    """Returns numbers as Python's own, None for a missing or infinite one, text as it is."""
    if value is None or isinstance(value, (str, int)):
        return value
    # Keras computes in float32: more digits would say 0.10000000149 for 0.1.
    value = float(f"{float(value):.7g}")
    return value if math.isfinite(value) else None


def to_csv(rows: list[dict]) -> str:
    """Returns the rows as CSV text; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
