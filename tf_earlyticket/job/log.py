"""What a run tells: rows for metrics.csv and TensorBoard, and what it shows while it trains.

Nothing here changes what a run computes.
"""

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from tf_earlyticket import checks
from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.config import flatten
from tf_earlyticket.files import write_csv
from tf_earlyticket.pruning.masks import sparsity_in_words
from tf_earlyticket.report.report import Report

COLUMNS = (
    *("epoch", "step", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"),
    *("sparsity", "ppr_accuracy", "seconds", "phase", "network_sparsity"),
)
# The trainings of a run, in the order of their rows in metrics.csv.
TRAININGS = ("search", "shrunk", "retrain", "dense")
PROGRESS_MODES = ("auto", "line", "plain", "json", "quiet")
_LABELS = {
    "accuracy": "accuracy",
    "val_accuracy": "validation",
    "sparsity": "sparsity",
    "ppr_accuracy": "PPR",
}


class MetricsLog(Callback):
    """Collects a row per epoch and writes all rows so far to `metrics.csv` and TensorBoard.

    Args:
        phase: Value of the column `phase`.
        path: The CSV file, or None to write none.
        tensorboard: Directory for summaries, or None.
        other_rows: Of the other trainings, which the file keeps.
        histograms: Also summarize the distribution of every weight.
    """

    def __init__(
        self,
        phase: str,
        path: Path | None = None,
        tensorboard: Path | None = None,
        other_rows: Sequence[dict] = (),
        *,
        histograms: bool = False,
    ):
        super().__init__()
        self.rows: list[dict] = []
        self._path, self._phase, self._histograms = path, phase, histograms
        self._other_rows, self._writer = other_rows, None
        if tensorboard is not None:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(tensorboard / phase))

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()
        # It may drop at the end of the epoch.
        self._learning_rate = pruned(self.model).learning_rate()

    def on_epoch_end(self, epoch, logs=None):
        values = {
            # Of `LearningRateRestart`, which sets it after the epoch began.
            "learning_rate": self._learning_rate,
            **(logs or {}),
            "epoch": epoch + 1,
            "step": pruned(self.model).step(),
            "seconds": time.perf_counter() - self._started,
        }
        self.add(values)
        if self._path is not None:
            rows = sorted(
                [*self._other_rows, *self.rows], key=lambda row: TRAININGS.index(row["phase"])
            )
            write_csv(self._path, rows, COLUMNS)
        if self._writer is not None:
            self._summarize(epoch + 1)

    def add(self, values: Mapping) -> None:
        """Appends a row of this phase with those of the values that have a column."""
        values = {**values, "phase": self._phase}
        self.rows.append({column: _plain(values.get(column)) for column in COLUMNS})

    def _summarize(self, epoch: int) -> None:
        import tensorflow as tf

        with self._writer.as_default(step=epoch):
            for column, value in self.rows[-1].items():
                if isinstance(value, float):
                    tf.summary.scalar(column, value)
            if self._histograms:
                for name, weight in pruned(self.model).all_weights().items():
                    tf.summary.histogram(name, weight)
        self._writer.flush()


def _plain(value):
    """Returns numbers as Python's own, None for a missing or infinite one, text as it is."""
    if value is None or isinstance(value, (str, int)):
        return value
    # Keras computes in float32: more digits would say 0.10000000149 for 0.1.
    value = float(f"{float(value):.7g}")
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Display:
    """What a run shows while it trains.

    Attributes:
        progress: "line": one live line; "plain": a line per epoch; "json": a JSON object per line,
            for programs; "quiet": nothing; "auto": "line" on a terminal, else "plain".
        histograms: Also write histograms of all weights to TensorBoard, every epoch.

    Raises:
        InputError: For another progress.
    """

    progress: str = "auto"
    histograms: bool = False

    def __post_init__(self):
        checks.choice("progress", self.progress, PROGRESS_MODES)

    def say(self, text: str) -> None:
        """Prints a text for people: neither where programs read nor in silence."""
        if self.progress not in ("json", "quiet"):
            print(text, flush=True)

    def tell(self, event: str, **values) -> None:
        """Prints {"event": event, **values} as one line, where programs read."""
        if self.progress == "json":
            print(json.dumps({"event": event, **values}), flush=True)


class Progress(Callback):
    """Tells of each epoch, to people a line: accuracy, sparsity, latest probe, time left."""

    def __init__(self, display: Display, phase: str):
        super().__init__()
        self._display, self._phase = display, phase

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()
        self._start_epoch = pruned(self.model).record.start_epoch

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._started
        epochs = self.params["epochs"]
        names = (*_LABELS, "network_sparsity")
        values = {name: _plain((logs or {}).get(name)) for name in names}
        row = {"phase": self._phase, "epoch": epoch + 1, "epochs": epochs, **values}
        left = (epochs - epoch - 1) * seconds
        self.show_epoch({**row, "seconds": seconds, "seconds_left": left})
        record = pruned(self.model).record
        if record.start_epoch != self._start_epoch:
            self.show_start(record.start_epoch, record.start_reason)

    def on_train_end(self, logs=None):
        self.close()

    def show_epoch(self, row: dict) -> None:
        """Tells of an epoch; values that are not known are None, shares are fractions."""
        self._display.say(
            f"{row['phase']:<7} epoch {row['epoch']}/{row['epochs']}  {_text(row)}  "
            f"{row['seconds']:.1f} s/epoch, {row['seconds_left']:.0f} s left"
        )
        self._display.tell("epoch", **row)

    def show_start(self, epoch: int, reason: str) -> None:
        self._display.say(f"Pruning starts after epoch {epoch}: {reason}.")
        self._display.tell("start", phase=self._phase, epoch=epoch, reason=reason)

    def close(self) -> None:
        """Ends what is shown; may be called twice."""


class LiveProgress(Progress):
    """One line on a terminal that moves with every batch; what is printed goes above it."""

    def __init__(self, display: Display, phase: str, console: Console | None = None):
        super().__init__(display, phase)
        self._console, self._line, self._probe = console, None, ""

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch
        if self._line is None:
            # Within 80 columns.
            self._line = RichProgress(
                TextColumn("{task.description} {task.fields[epoch]}/{task.total}"),
                BarColumn(bar_width=8),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                TextColumn("left"),
                console=self._console,
            )
            self._line.start()
            self._task = self._line.add_task(
                self._phase, total=self.params["epochs"], completed=epoch, epoch=epoch + 1, text=""
            )
        self._line.update(self._task, epoch=epoch + 1)

    def on_train_batch_end(self, batch, logs=None):
        part = (batch + 1) / (self.params.get("steps") or math.inf)
        self._line.update(self._task, completed=self._epoch + min(part, 1.0))

    def show_epoch(self, row):
        # The epoch's validation accuracy stays until that of the next is there.
        pruning = bool(row["network_sparsity"])
        if row["ppr_accuracy"] is not None:
            self._probe = f"PPR {100 * row['ppr_accuracy']:.1f} % at {row['epoch']}"
        text = _text({**row, "accuracy": row["val_accuracy"]}, ("accuracy", "sparsity"))
        # Both are too long for the line.
        text = text.replace(" of all kernels", " of all") if pruning else f"{text}  {self._probe}"
        self._line.update(self._task, completed=row["epoch"], text=text.rstrip())

    def show_start(self, epoch, reason):
        super().show_start(epoch, reason)
        self._probe = f"pruning since {epoch}"

    def close(self):
        if self._line is not None:
            self._line.stop()
            self._line = None


def make_progress(display: Display, phase: str) -> Progress:
    """Returns the callback that tells of a `fit`, the name of a part of a run in front."""
    live = display.progress == "line"
    if live or (display.progress == "auto" and Console().is_terminal):
        return LiveProgress(display, phase)
    return Progress(display, phase)


def _text(row: dict, names: Sequence[str] = tuple(_LABELS)) -> str:
    """Returns the named shares of an epoch in percent, those that are known."""
    texts = {name: f"{100 * row[name]:.1f} %" for name in names if row[name] is not None}
    if row["network_sparsity"]:
        texts["sparsity"] = sparsity_in_words(row["sparsity"], row["network_sparsity"])
    return "  ".join(f"{_LABELS[name]} {text}" for name, text in texts.items())


def write_outcome(report: Report, figures: Mapping[str, Path], folder: Path) -> None:
    """Writes what a finished run came to for TensorBoard, in place of what was there.

    Args:
        report: The run's report: its hyperparameters and final numbers.
        figures: The PNG files by name.
        folder: The run's directory of summaries; a directory `outcome` is made in it.
    """
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    shutil.rmtree(folder / "outcome", ignore_errors=True)
    numbers = {
        "ticket_test_accuracy": report.ticket.test_accuracy,
        "dense_test_accuracy": report.dense and report.dense.test_accuracy,
        "ticket_sparsity": report.ticket.sparsity,
        "ticket_network_sparsity": report.ticket.network_sparsity,
        "start_epoch": report.start_epoch,
        "probe_epochs": report.cost.probe_epochs,
        "total_epochs": report.cost.total_epochs,
    }
    # TensorBoard compares booleans, numbers and texts.
    fields = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in flatten(report.config).items()
    }
    writer = tf.summary.create_file_writer(str(folder / "outcome"))
    with writer.as_default(step=report.recipe.train.epochs):
        hparams.hparams(fields)
        for name, value in numbers.items():
            if value is not None:
                tf.summary.scalar(name, value)
        for name, path in figures.items():
            tf.summary.image(name, tf.io.decode_png(path.read_bytes(), channels=3)[None])
    writer.close()
