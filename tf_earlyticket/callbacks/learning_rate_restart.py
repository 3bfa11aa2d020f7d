"""`LearningRateRestart`: after the ramp the learning rate begins anew and falls to zero."""

from tf_earlyticket import checks
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.callbacks.callback import Callback

# Of an epoch: in each the rate is constant. Setting it takes time, which every step would cost.
_PARTS = 20


def restarted_rate(highest: float, epoch: float, first: int, epochs: int) -> float:
    """Returns the learning rate at a moment after a restart: evenly down, to zero at the end.

    Args:
        highest: That of the beginning.
        epoch: The moment, in epochs from the beginning of the training, in [first, epochs).
        first: The epoch at which it began anew, from 0.
        epochs: Of the whole training.

    Example:
        >>> [restarted_rate(0.1, epoch, 6, 10) for epoch in (6, 8, 9.5)]
        [0.1, 0.05, 0.0125]
    """
    return highest * (epochs - epoch) / (epochs - first)


class LearningRateRestart(Callback):
    """Lets the learning rate begin anew when the ramp has ended, and fall evenly to zero.

    Weights that are left can then move again (learning-rate rewinding, within the epochs that are
    left: Renda et al. 2020, Le & Hua 2021, Zimmer et al. 2023). From the first epoch that begins
    after the last mask update on, this rate takes the place of the optimizer's own schedule, which
    is back after `fit`; a rate that is a plain number stays at its last value. It falls in 20 equal
    parts of each epoch; `logs["learning_rate"]` has that of an epoch's beginning. Must stand after
    `et.EarlyTicket` or `et.MaskUpdate` in the list of callbacks.

    Args:
        learning_rate: At the restart; default the rate when `fit` starts.
        end_step: Optimizer step from which on an epoch counts as after the ramp; default: that of
            the model's schedule. For a dense network that is to have the same learning rates.

    Raises:
        InputError: A value is out of range; when `fit` starts, if the model is not wrapped or not
            compiled.

    Example:
        >>> callbacks = [et.EarlyTicket(train, val), et.LearningRateRestart()]
        >>> model.fit(train, epochs=60, validation_data=val, callbacks=callbacks)
    """

    def __init__(self, learning_rate: float | None = None, end_step: int | None = None):
        super().__init__()
        if learning_rate is not None:
            checks.number("learning_rate", learning_rate, above=0)
        if end_step is not None:
            checks.integer("end_step", end_step, 0)
        self._given, self._end_step = learning_rate, end_step
        self.adapter: PrunedModel | None = None

    def on_train_begin(self, logs=None):
        """Notes the learning rate."""
        self.adapter = pruned(self.model)
        self.adapter.prepare()
        self._highest = self.adapter.learning_rate() if self._given is None else self._given
        if self._highest <= 0:
            expected = "one above 0: that of the optimizer is 0 when fit starts"
            raise checks.refuse("learning_rate", self._given, expected)
        if not self.params.get("steps"):
            raise checks.refuse(
                "steps_per_epoch", None, "it in fit(...), to restart after the ramp"
            )
        self._first, self._next = None, 0
        self._rate: float | None = None

    def on_epoch_begin(self, epoch, logs=None):
        """Notes that the next step is the first of an epoch."""
        self._epoch, self._part = epoch, None

    def on_train_batch_begin(self, batch, logs=None):
        """Sets the rate of a part of an epoch after the ramp, before its first step."""
        part = batch * _PARTS // self.params["steps"]
        if part == self._part:
            return
        begins, self._part = self._part is None, part
        # JAX has variables of its own within an epoch, which this brings back.
        step = self.adapter.step()
        if begins:
            self._decide(step, batch)
        if self._first is not None:
            now, last = self._epoch + part / _PARTS, self.params["epochs"]
            self.adapter.set_learning_rate(restarted_rate(self._highest, now, self._first, last))
        if begins:
            self._rate = self.adapter.learning_rate()

    def _decide(self, step: int, batch: int) -> None:
        """Notes the epoch of the restart once the ramp has ended."""
        end, steps = self._end(), self.params["steps"]
        if end is None:
            return
        # Of the epoch's beginning, also where training goes on within it. Steps that a loss scale
        # skips are no steps to the optimizer, but count here as they do for masks.
        step = max(step - batch, self._next)
        self._next = step + steps
        if self._first is None and step >= end:
            self._first = self._epoch - (step - end) // steps

    def on_epoch_end(self, epoch, logs=None):
        """Adds the rate that the epoch began with as `logs["learning_rate"]`."""
        if logs is not None and self._rate is not None:
            logs["learning_rate"] = self._rate

    def _end(self) -> int | None:
        if self._end_step is not None:
            return self._end_step
        schedule = self.adapter.sparsity_schedule()
        return None if schedule is None else schedule.end_step

    def on_train_end(self, logs=None):
        """Gives the optimizer its own learning-rate schedule back."""
        self.adapter.finish()
