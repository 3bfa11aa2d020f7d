"""The wrapper that holds a layer's masks: TFMOT's, with masked gradients instead of masking
weights in the forward pass."""

import contextlib
import warnings

import tensorflow as tf

from tf_earlyticket.backends.layer_kinds import cannot_be_pruned
from tf_earlyticket.backends.tf_keras.compat import (
    PruneLowMagnitude,
    PruneRegistry,
    enable_auto_cast_variables,
    keras,
)
from tf_earlyticket.backends.tf_keras.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.errors import InputError

UNSET = -1
UNATTENDED = (
    "A model wrapped for pruning is being trained without et.EarlyTicket or et.MaskUpdate among "
    "the callbacks: no further weight will be pruned."
)
_KERNEL_LAYERS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
)


@tf.custom_gradient
def masked_gradient(weight: tf.Tensor, mask: tf.Tensor):
    """Returns `weight` unchanged; its gradient is zero where `mask` is.

    Not a plain product, so that a NaN or -0.0 of a pruned weight's gradient does not pass. One
    operation, since it is all that a step pays for being pruned.
    """

    def gradient(upstream):
        # An embedding's gradient arrives as IndexedSlices.
        upstream = tf.convert_to_tensor(upstream)
        return tf.math.multiply_no_nan(upstream, mask), None

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
        InputError: If the layer cannot be pruned; on build, if a prunable weight is not an
            attribute of the layer itself, or its regularizer would move pruned weights.
    """

    def __init__(self, layer, pruning_schedule, ranking="global", group_size=1, **kwargs):
        # Without the layer's own policy the wrapper would read its variables in another type.
        kwargs.setdefault("dtype", layer.dtype_policy)
        if not is_prunable(layer):
            raise cannot_be_pruned(layer)
        if not (hasattr(layer, "get_prunable_weights") or PruneRegistry.supports(layer)):
            layer.get_prunable_weights = lambda: [layer.kernel]
        super().__init__(layer, pruning_schedule, **kwargs)
        if tuple(self.block_size) != (1, 1) or self.sparsity_m_by_n is not None:
            raise InputError("block_size and sparsity_m_by_n are not supported: use group_size.")
        # The layer's own __call__, which sees to these, is never run.
        self.supports_masking = layer.supports_masking
        self._activity_regularizer = getattr(layer, "_activity_regularizer", None)
        self.ranking = ranking
        self.group_size = group_size
        self.attended = False

    def build(self, input_shape):
        """Creates the masks (ones) and the schedule's steps, unset unless it has a begin."""
        super().build(input_shape)
        self.weight_attributes = [
            _attribute_of(self.layer, weight) for weight, _, _ in self.pruning_vars
        ]
        _check_regularizers(self.layer)
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
                    [schedule.begin_step, schedule.ramp_steps, schedule.sparsity().frequency]
                    if begun
                    else [UNSET] * 3
                ),
            )

    def call(self, inputs, training=None, mask=None, **kwargs):
        """Calls the layer with masked gradients; adds no other operation."""
        if training is True and not self.attended:
            # While the step is traced, so once. TFMOT's in-graph assertion would cost every step.
            _warn_unattended()
        if self.layer._expects_training_arg:
            kwargs["training"] = training
        if self.layer._expects_mask_arg:
            kwargs["mask"] = mask
        with self._masked_gradients():
            return self.layer.call(inputs, **kwargs)

    def compute_mask(self, inputs, mask=None):
        """Returns the layer's mask of its output, such as that of `Embedding(mask_zero=True)`."""
        return self.layer.compute_mask(inputs, mask)

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


@tf.autograph.experimental.do_not_convert
def _warn_unattended():
    warnings.warn(UNATTENDED, stacklevel=2)


def is_prunable(layer) -> bool:
    """Tells whether a layer has weights that can be pruned, as far as its type tells."""
    if hasattr(layer, "get_prunable_weights"):
        return True
    # The prunable weights of these belong to layers inside them, out of the wrapper's reach.
    if PruneRegistry._is_rnn_layer(layer) or PruneRegistry._is_mha_layer(layer):
        return False
    # TFMOT's registry knows exact classes only, and not all of these.
    return PruneRegistry.supports(layer) or isinstance(layer, _KERNEL_LAYERS)


def _check_regularizers(layer) -> None:
    for name, value in vars(layer).items():
        # Its gradient is not zero where the weight is.
        if isinstance(value, keras.regularizers.OrthogonalRegularizer):
            raise InputError(
                f"{name} of layer {layer.name!r} is an OrthogonalRegularizer, which moves pruned "
                "weights: expected an L1 or L2 regularizer."
            )


def _attribute_of(layer, weight) -> str:
    for name, value in vars(layer).items():
        if value is weight:
            return name
    raise InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned: its weight "
        f"{weight.name!r} is not an attribute of the layer itself. Leave the layer out with "
        "wrap_for_pruning(prunable=...)."
    )
