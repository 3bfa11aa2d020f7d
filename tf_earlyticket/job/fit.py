"""`fit` of a phase: data from where it stands, progress, checkpoints, an end to what diverges."""

import contextlib

import numpy as np
import tensorflow as tf

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.job.checkpoint import RunCheckpoint
from tf_earlyticket.job.progress import make_progress
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.job.termination import TERMINATION


class StopIfDiverged(Callback):
    """Ends the run at a loss that is not finite, before anything is saved with it.

    Losses are read every few steps, so that an accelerator need not wait for each one; the first
    that is not finite is told exactly.

    Args:
        checkpoint: What the message names as the last state that is good.
    """

    _EVERY = 20

    def __init__(self, checkpoint: RunCheckpoint):
        super().__init__()
        self._checkpoint = checkpoint
        self._losses: list = []

    def on_epoch_begin(self, epoch, logs=None):
        """Begins to collect losses."""
        self._epoch, self._losses = epoch, []

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the losses, every few steps."""
        self._losses.append((batch + 1, (logs or {}).get("loss", 0.0)))
        if len(self._losses) >= self._EVERY:
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the rest."""
        self._check()

    def _check(self):
        for step, loss in self._losses:
            if not np.isfinite(float(loss)):
                raise RunError(
                    f"The loss is {float(loss)} at step {step} of epoch {self._epoch + 1}: "
                    f"training diverged. The last good state is {self._checkpoint.latest()}. Try "
                    "a smaller config.train.learning_rate in a new --workdir."
                )
        self._losses = []


def fit(run: Run, done: int, callbacks: list, phase: str, last_epoch: int | None = None) -> None:
    """Trains from `done` epochs to `last_epoch` or the schedule's end; the last callback saves."""
    config = run.config.train
    *callbacks, checkpoint = callbacks
    # The cell of a grid is too long a name for a line per epoch.
    progress = make_progress(run.display, phase.partition("-")[0] if "=" in phase else phase)
    train = run.data.train(config.batch_size, seed=run.config.seed, first_epoch=done + 1)
    if checkpoint.first_step:
        train = train.skip(checkpoint.first_step)
        # Keras makes its metrics with the first batch, and what they had counted goes into them.
        pruned(run.model).evaluate(run.data.validation(config.batch_size), 1)
    # One worker cannot stop by itself: the others would wait for it.
    alone = not isinstance(run.strategy, tf.distribute.MultiWorkerMirroredStrategy)
    try:
        with TERMINATION.noticed() if alone else contextlib.nullcontext():
            run.model.fit(
                train,
                epochs=last_epoch or config.epochs,
                initial_epoch=done,
                steps_per_epoch=run.steps_per_epoch,
                validation_data=run.data.validation(config.batch_size),
                callbacks=[StopIfDiverged(checkpoint), *callbacks, progress, checkpoint],
                # The data set has its own order.
                shuffle=False,
                verbose=0,
            )
    except tf.errors.DataLossError as error:
        reason = " ".join(str(error.message).split())
        raise InputError(
            f"data.name={run.config.data.name!r}: a file of it is damaged ({reason:.300}); "
            "expected a complete prepared data set."
        ) from error
    finally:
        progress.close()
