"""Progress for people: a live line on a terminal, a plain line per epoch in a log."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tf_earlyticket.keras_compat import keras


class ProgressLine(keras.callbacks.Callback):
    """Shows epoch, accuracy, sparsity, the last probe and the time left.

    Args:
        phase: Shown in front.
    """

    def __init__(self, phase: str):
        super().__init__()
        self._phase = phase
        self._console = Console()
        self._progress = None
        self._text = ""

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the line, at the epoch where a resumed run continues."""
        if self._progress is None and self._console.is_terminal:
            self._progress = Progress(
                TextColumn(f"{self._phase:<7} epoch {{task.completed:.0f}}/{{task.total}}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task(
                self._phase, total=self.params["epochs"], completed=epoch, text=""
            )
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Updates the line, or prints one."""
        logs = logs or {}
        parts = [
            f"{label} {100 * logs[name]:.1f} %"
            for name, label in (
                ("accuracy", "accuracy"),
                ("val_accuracy", "validation"),
                ("sparsity", "sparsity"),
                ("ppr_accuracy", "PPR"),
            )
            if logs.get(name) is not None and logs[name] == logs[name]
        ]
        text = "  ".join(parts)
        if self._progress is not None:
            self._progress.update(self._task, completed=epoch + 1, text=text)
            return
        seconds = time.perf_counter() - self._started
        total = self.params["epochs"]
        print(
            f"{self._phase:<7} epoch {epoch + 1}/{total}  {text}  {seconds:.1f} s/epoch, "
            f"{(total - epoch - 1) * seconds:.0f} s left",
            flush=True,
        )

    def on_train_end(self, logs=None):
        """Ends the line."""
        self.close()

    def close(self) -> None:
        """Ends the line, if it still runs, and gives the terminal its cursor back."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
