"""Progress of a `fit`: a live line on a terminal, a line per epoch in a log, or JSON lines."""

import math
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.job.display import Display

_LABELS = {
    "accuracy": "accuracy",
    "val_accuracy": "validation",
    "sparsity": "sparsity",
    "ppr_accuracy": "PPR",
}


class PlainProgress(Callback):
    """Prints a line per epoch: accuracy, sparsity, the latest probe, seconds and time left.

    Args:
        phase: Shown in front.
    """

    def __init__(self, phase: str):
        super().__init__()
        self._phase = phase

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock; notes whether pruning has started already."""
        self._started = time.perf_counter()
        self._start_epoch = pruned(self.model).record.start_epoch

    def on_epoch_end(self, epoch, logs=None):
        """Tells of the epoch, and of the start of pruning if it was decided in it."""
        seconds = time.perf_counter() - self._started
        epochs = self.params["epochs"]
        values = {name: _finite((logs or {}).get(name)) for name in _LABELS}
        row = {"phase": self._phase, "epoch": epoch + 1, "epochs": epochs, **values}
        left = (epochs - epoch - 1) * seconds
        self.show_epoch({**row, "seconds": seconds, "seconds_left": left})
        record = pruned(self.model).record
        if record.start_epoch != self._start_epoch:
            self.show_start(record.start_epoch, record.start_reason)

    def on_train_end(self, logs=None):
        """Ends what is shown."""
        self.close()

    def show_epoch(self, row: dict) -> None:
        """Tells of an epoch; values that are not known are None, shares are fractions."""
        print(
            f"{row['phase']:<7} epoch {row['epoch']}/{row['epochs']}  {_text(row)}  "
            f"{row['seconds']:.1f} s/epoch, {row['seconds_left']:.0f} s left",
            flush=True,
        )

    def show_start(self, epoch: int, reason: str) -> None:
        """Tells that pruning starts at the end of an epoch, and why."""
        print(f"Pruning starts after epoch {epoch}: {reason}.", flush=True)

    def close(self) -> None:
        """Ends what is shown; may be called twice."""


class LiveProgress(PlainProgress):
    """One line on a terminal that moves with every batch; what is printed goes above it.

    Args:
        phase: Shown in front.
        console: Where to; default the terminal.
    """

    def __init__(self, phase: str, console: Console | None = None):
        super().__init__(phase)
        self._console = console
        self._progress: Progress | None = None
        self._probe = ""

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the line, at the epoch where a resumed run continues."""
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch
        if self._progress is None:
            # Within 80 columns.
            self._progress = Progress(
                TextColumn("{task.description} {task.fields[epoch]}/{task.total}"),
                BarColumn(bar_width=8),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                TextColumn("left"),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task(
                self._phase, total=self.params["epochs"], completed=epoch, epoch=epoch + 1, text=""
            )
        self._progress.update(self._task, epoch=epoch + 1)

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar."""
        part = (batch + 1) / (self.params.get("steps") or math.inf)
        self._progress.update(self._task, completed=self._epoch + min(part, 1.0))

    def show_epoch(self, row):
        """Shows the epoch's validation accuracy until that of the next is there."""
        if row["ppr_accuracy"] is not None:
            self._probe = f"PPR {100 * row['ppr_accuracy']:.1f} % at {row['epoch']}"
        text = _text({**row, "accuracy": row["val_accuracy"]}, ("accuracy", "sparsity"))
        self._progress.update(
            self._task, completed=row["epoch"], text=f"{text}  {self._probe}".rstrip()
        )

    def show_start(self, epoch, reason):
        """Prints it above the line, which tells of it from now on."""
        super().show_start(epoch, reason)
        self._probe = f"pruning since {epoch}"

    def close(self):
        """Ends the line, if it still runs, and gives the terminal its cursor back."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class JsonProgress(PlainProgress):
    """Prints one JSON object per line, for programs."""

    def show_epoch(self, row):
        """Prints {"event": "epoch", ...}."""
        Display("json").tell("epoch", **row)

    def show_start(self, epoch, reason):
        """Prints {"event": "start", ...}."""
        Display("json").tell("start", phase=self._phase, epoch=epoch, reason=reason)


class NoProgress(PlainProgress):
    """Prints nothing."""

    def show_epoch(self, row):
        """Prints nothing."""

    def show_start(self, epoch, reason):
        """Prints nothing."""


_CALLBACKS = {
    "line": LiveProgress,
    "plain": PlainProgress,
    "json": JsonProgress,
    "quiet": NoProgress,
}


def make_progress(display: Display, phase: str) -> PlainProgress:
    """Returns the callback that tells of a `fit`.

    Args:
        display: How to tell.
        phase: Name of the part of the run.
    """
    mode = display.progress
    if mode == "auto":
        mode = "line" if Console().is_terminal else "plain"
    return _CALLBACKS[mode](phase)


def _finite(value) -> float | None:
    if value is None or not math.isfinite(float(value)):
        return None
    # Keras computes in float32: more digits would say 0.10000000149 for 0.1.
    return float(f"{float(value):.7g}")


def _text(row: dict, names=tuple(_LABELS)) -> str:
    """Returns the named shares of an epoch in percent, those that are known."""
    return "  ".join(
        f"{_LABELS[name]} {100 * row[name]:.1f} %" for name in names if row[name] is not None
    )
