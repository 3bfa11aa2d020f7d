"""`EarlyTicketPolynomialDecay`: a TFMOT schedule whose begin is set later, by a probe."""

import tensorflow as tf

from tf_earlyticket.backends.tf_keras.compat import keras, tfmot
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule


@keras.utils.register_keras_serializable(package="tf_earlyticket")
class EarlyTicketPolynomialDecay(EarlyTicketSchedule, tfmot.sparsity.keras.PolynomialDecay):
    """Gradual pruning (paper eq. 6, Zhu & Gupta) that waits until it is told to begin.

    Differs from TFMOT's `PolynomialDecay` in three ways: `begin_step` may be unset (nothing is
    pruned until `begin` is called), the end step always updates, so `final_sparsity` is reached
    whatever the frequency, and begin == end (one-shot) is defined.

    `wrap_for_pruning` copies the schedule, so call `begin` before it. The begin that training uses
    lives in the wrapped model's variables, so it is part of every checkpoint; `et.EarlyTicket` and
    `et.MaskUpdate` keep the model's copy in step with them.

    Args:
        final_sparsity: Fraction in [0, 1) of the prunable weights that are zero at the end.
        initial_sparsity: Fraction in [0, final_sparsity] pruned at the begin step.
        begin_step: Optimizer step at which pruning starts; None until a probe sets it.
        ramp_steps: Optimizer steps from begin to end; 0 is one-shot; None: chosen by
            `et.EarlyTicket` from the epochs that `fit` was given.
        frequency: Optimizer steps between mask updates; None: about 20 updates in the ramp.
        power: Exponent of the polynomial, 3 in the paper.

    Raises:
        InputError: If a value is out of range, or `begin_step` is given without `ramp_steps`.

    Example:
        >>> schedule = EarlyTicketPolynomialDecay(0.8, ramp_steps=1000, frequency=100)
        >>> schedule.begin(5000)
    """

    def __call__(self, step):
        """Returns TFMOT's pair (should_prune: bool scalar, sparsity: float32 scalar in [0, 1))."""
        if self.begin_step is None:
            return tf.constant(False), tf.constant(0.0)
        step = tf.cast(step, tf.int64)
        begin, end = self.begin_step, self.end_step
        frequency = self.sparsity().frequency
        should_prune = (
            (step >= begin)
            & (step <= end)
            & ((tf.math.floormod(step - begin, frequency) == 0) | (step == end))
        )
        left = tf.cast(tf.clip_by_value(end - step, 0, self.ramp_steps), tf.float32)
        left = tf.math.divide_no_nan(left, float(self.ramp_steps)) ** self.power
        final = tf.constant(self.final_sparsity, tf.float32)
        return should_prune, final + (self.initial_sparsity - final) * left


def final_sparsity(schedule) -> float:
    """Returns the sparsity at which a TFMOT schedule ends, as a fraction.

    Raises:
        InputError: If the schedule is of a kind that does not tell.
    """
    sparsity = getattr(schedule, "final_sparsity", getattr(schedule, "target_sparsity", None))
    if sparsity is None:
        raise InputError(
            f"The model's schedule is a {type(schedule).__name__}: expected one with a "
            "final_sparsity or target_sparsity."
        )
    return sparsity


def due_sparsity(schedule, after_step: int, step: int) -> float | None:
    """Returns the sparsity of the last update due in (after_step, step], None if none is due."""
    if isinstance(schedule, EarlyTicketPolynomialDecay):
        return schedule.due_sparsity(after_step, step)
    for candidate in range(step, after_step, -1):
        should_prune, sparsity = schedule(tf.constant(candidate, tf.int64))
        if bool(should_prune):
            return float(sparsity)
    return None


def check_early_ticket_schedule(schedule) -> EarlyTicketPolynomialDecay:
    """Returns the schedule of a model if a probe may begin it.

    Raises:
        InputError: If it is of another kind.
    """
    if not isinstance(schedule, EarlyTicketPolynomialDecay):
        raise InputError(
            f"The model's schedule is a {type(schedule).__name__}: EarlyTicket needs an "
            "EarlyTicketPolynomialDecay; use et.MaskUpdate for other schedules."
        )
    return schedule
