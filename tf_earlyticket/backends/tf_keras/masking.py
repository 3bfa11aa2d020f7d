"""Writing masks into a model in one compiled function, weights and optimizer slots with them."""

import tensorflow as tf

from tf_earlyticket.backends.tf_keras import optimizers


class MaskWriter:
    """Writes masks, zeroes pruned weights and their optimizer slots, and sets TFMOT's variables.

    Args:
        variables: TFMOT's (weight, mask, threshold) per prunable weight.
        pruning_steps: The wrappers' `pruning_step` variables.
    """

    def __init__(self, variables, pruning_steps):
        self._variables = list(variables)
        self._pruning_steps = list(pruning_steps)
        self._slots: list[list[tf.Variable]] | None = None
        self._function = None

    def write(self, masks, optimizer, step: int) -> None:
        """Writes bool masks, in the order of the variables. Traces for a new optimizer only."""
        slots = [
            list(optimizers.slots(optimizer, weight)) if optimizer is not None else []
            for weight, _, _ in self._variables
        ]
        if self._function is None or _ids(slots) != _ids(self._slots):
            self._slots = slots
            self._function = tf.function(self._write)
        self._function([tf.constant(mask) for mask in masks], tf.constant(step, tf.int64))

    def _write(self, masks, step):
        for (weight, mask_variable, threshold), slots, mask in zip(
            self._variables, self._slots, masks, strict=True
        ):
            masked = tf.where(mask, weight, tf.zeros_like(weight))
            # For TFMOT's PruningSummaries: the least magnitude that was kept.
            kept = tf.where(mask, tf.abs(masked), masked.dtype.max)
            threshold.assign(
                tf.where(tf.reduce_any(mask), tf.reduce_min(kept), tf.zeros_like(threshold))
            )
            mask_variable.assign(tf.cast(mask, mask_variable.dtype))
            weight.assign(masked)
            for slot in slots:
                slot.assign(tf.where(mask, slot, tf.zeros_like(slot)))
        for pruning_step in self._pruning_steps:
            pruning_step.assign(step)


def _ids(slots):
    return [[id(slot) for slot in of_weight] for of_weight in slots]
