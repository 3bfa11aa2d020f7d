"""What a run writes while it trains: metrics.csv, TensorBoard, checkpoints."""

import csv
import io
import json
import math
import time
from pathlib import Path
from typing import Protocol

import tensorflow as tf

from tf_earlyticket.adapters.select import adapter_for
from tf_earlyticket.keras_compat import keras
from tf_earlyticket.paths import write_json, write_text

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


class MetricsLog(keras.callbacks.Callback):
    """Collects a row per epoch and writes all rows so far to `metrics.csv` and TensorBoard.

    Args:
        path: The CSV file, or None to write none (processes other than the chief).
        tensorboard: Directory for summaries, or None.
        phase: Value of the column `phase`.
        earlier_rows: Rows of the phases before, written in front.
    """

    def __init__(self, path: Path | None, tensorboard: Path | None, phase: str, earlier_rows=()):
        super().__init__()
        self.rows: list[dict] = []
        self._path, self._phase = path, phase
        self._earlier_rows = list(earlier_rows)
        self._writer = None
        if tensorboard is not None:
            self._writer = tf.summary.create_file_writer(str(tensorboard / phase))

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock; notes the learning rate, which may drop at the end of the epoch."""
        self._started = time.perf_counter()
        self._learning_rate = adapter_for(self.model).learning_rate()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the row of the epoch."""
        adapter = adapter_for(self.model)
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


class Restartable(Protocol):
    """What else has a state that a restart needs, such as `EarlyTicket`."""

    def get_state(self) -> dict:
        """Returns the state as plain JSON values."""

    def set_state(self, state: dict) -> None:
        """Takes the result of `get_state`; the next `fit` continues from there."""


class RunCheckpoint(keras.callbacks.Callback):
    """Saves model, optimizer and the callbacks' state after every epoch; the last in the list.

    Args:
        directory: Where checkpoints of this phase go.
        metrics_log: Its rows are part of the state.
        searcher: Its state too; None in a phase without probes.
        keep: Checkpoints to keep, the latest ones; None for all.
        restored_from: Where `restore` looks; default `directory`.
    """

    def __init__(
        self,
        directory: Path,
        metrics_log: MetricsLog,
        searcher: Restartable | None = None,
        keep: int | None = 2,
        restored_from: Path | None = None,
    ):
        super().__init__()
        self._directory = directory
        self._restored_from = restored_from or directory
        self._metrics_log = metrics_log
        self._searcher = searcher
        self._keep = keep

    def restore(self, model, epoch: int | None = None) -> tuple[int, dict | None]:
        """Restores a checkpoint, if there is one, and the callbacks' state with it.

        Args:
            model: The model that was saved.
            epoch: Which one, of those kept; None for the latest.

        Returns:
            The epochs done, 0 if there is no checkpoint, and the state of `searcher`.
        """
        # Slots that do not exist yet would be restored later than masks are applied.
        adapter_for(model).prepare()
        path = tf.train.latest_checkpoint(str(self._restored_from))
        if epoch is not None:
            path = str(self._restored_from / f"ckpt-{epoch}")
        if path is None:
            return 0, None
        epoch = int(path.rsplit("-", 1)[1])
        state = json.loads((self._restored_from / f"state-{epoch}.json").read_text())
        self._checkpoint(model).restore(path).assert_existing_objects_matched()
        self._metrics_log.rows = state["rows"]
        if self._searcher is not None:
            self._searcher.set_state(state["early_ticket"])
        return epoch, state["early_ticket"]

    def _checkpoint(self, model) -> tf.train.Checkpoint:
        return tf.train.Checkpoint(model=model, optimizer=model.optimizer)

    def on_epoch_end(self, epoch, logs=None):
        """Saves. The state goes first: a checkpoint without one could not be continued."""
        self.save(epoch + 1)

    def save(self, epoch: int) -> None:
        """Saves everything as of the end of `epoch` (from 1)."""
        adapter_for(self.model).synchronize_replicas()
        self._directory.mkdir(parents=True, exist_ok=True)
        state = {
            "rows": self._metrics_log.rows,
            "early_ticket": self._searcher.get_state() if self._searcher is not None else None,
        }
        write_json(self._directory / f"state-{epoch}.json", state)
        manager = tf.train.CheckpointManager(
            self._checkpoint(self.model), str(self._directory), max_to_keep=self._keep
        )
        manager.save(checkpoint_number=epoch)
        for path in self._directory.glob("state-*.json") if self._keep is not None else ():
            if int(path.stem.split("-")[1]) <= epoch - self._keep:
                path.unlink()
