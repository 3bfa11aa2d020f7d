"""The wrapper that holds a layer's masks: TFMOT's, with masked gradients instead of masking
weights in the forward pass."""

import contextlib
import inspect

import tensorflow as tf

from tf_earlyticket.adapters.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.errors import InputError
from tf_earlyticket.keras_compat import (
    PruneLowMagnitude,
    enable_auto_cast_variables,
    keras,
)

UNSET = -1


@tf.custom_gradient
def masked_gradient(weight: tf.Tensor, mask: tf.Tensor):
    """Returns `weight` unchanged; its gradient is zero where `mask` is.

    `tf.where`, not a product, so that a NaN or -0.0 of a pruned weight's gradient does not pass.
    """

    def gradient(upstream):
        # An embedding's gradient arrives as IndexedSlices.
        upstream = tf.convert_to_tensor(upstream)
        return tf.where(mask > 0, upstream, tf.zeros_like(upstream)), None

    return tf.identity(weight), gradient


@keras.utils.register_keras_serializable(package="tf_earlyticket")
class MaskedPruneLowMagnitude(PruneLowMagnitude):
    """A `PruneLowMagnitude` whose masks are written from outside and whose weights stay sparse.

    The forward pass uses the layer's weights as they are; the backward pass zeroes the gradients
    of pruned weights. Pruned weights are set to zero, with their optimizer slots, when a mask is
    written (`TfmotAdapter.set_masks`), and from then on nothing moves them: weights are exactly
    sparse after every optimizer step.

    Args:
        layer: A layer that TFMOT can prune and that owns its prunable weights as attributes.
        pruning_schedule: A TFMOT `PruningSchedule`, usually `EarlyTicketPolynomialDecay`.
        ranking: "global" or "layerwise", read by the callback that computes masks.
        group_size: Consecutive weights along the input channels that live or die together.
        **kwargs: As for `PruneLowMagnitude`.

    Raises:
        InputError: On build, if a prunable weight is not an attribute of the layer itself.
    """

    def __init__(self, layer, pruning_schedule, ranking="global", group_size=1, **kwargs):
        # Without the layer's own policy the wrapper would read its variables in another type.
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, pruning_schedule, **kwargs)
        self.ranking = ranking
        self.group_size = group_size

    def build(self, input_shape):
        """Creates the masks (ones) and the schedule's steps, unset unless it has a begin."""
        super().build(input_shape)
        self.weight_attributes = [
            _attribute_of(self.layer, weight) for weight, _, _ in self.pruning_vars
        ]
        self._layer_takes_training = "training" in inspect.signature(self.layer.call).parameters
        if isinstance(self.pruning_schedule, EarlyTicketPolynomialDecay):
            schedule = self.pruning_schedule
            begun = schedule.begin_step is not None
            # A weight, not an attribute of the schedule: it then survives every way of saving
            # and can change without retracing the training step.
            self.schedule_steps = self.add_weight(
                "schedule_steps",
                shape=[3],
                dtype=tf.int64,
                trainable=False,
                initializer=keras.initializers.Constant(
                    [schedule.begin_step, schedule.ramp_steps, schedule.frequency or 1]
                    if begun
                    else [UNSET] * 3
                ),
            )

    def call(self, inputs, training=None, **kwargs):
        """Calls the layer with masked gradients; adds no other operation."""
        with self._masked_gradients():
            if self._layer_takes_training:
                kwargs["training"] = training
            return self.layer.call(inputs, **kwargs)

    @contextlib.contextmanager
    def _masked_gradients(self):
        variables = []
        try:
            for name, (_, mask, _) in zip(self.weight_attributes, self.pruning_vars, strict=True):
                variable = getattr(self.layer, name)
                variables.append((name, variable))
                compute_dtype = variable.dtype
                # In the variable's own type: XLA may otherwise fuse the cast differently.
                with enable_auto_cast_variables(None):
                    weight = masked_gradient(
                        tf.convert_to_tensor(variable), tf.convert_to_tensor(mask)
                    )
                # Past Keras' attribute tracking, which would forget the variable.
                object.__setattr__(self.layer, name, tf.cast(weight, compute_dtype))
            yield
        finally:
            for name, variable in variables:
                object.__setattr__(self.layer, name, variable)

    def get_config(self):
        """Returns the wrapper's config; the layer and the schedule are nested in it."""
        return {**super().get_config(), "ranking": self.ranking, "group_size": self.group_size}


def _attribute_of(layer, weight) -> str:
    for name, value in vars(layer).items():
        if value is weight:
            return name
    raise InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned: its weight "
        f"{weight.name!r} is not an attribute of the layer itself. Leave the layer out with "
        "wrap_for_pruning(prunable=...)."
    )
