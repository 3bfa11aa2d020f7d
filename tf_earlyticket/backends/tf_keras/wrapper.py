"""TFMOT's schedule with a begin that is set later, and TFMOT's wrapper with masked gradients
instead of masking weights in the forward pass."""

import contextlib
import re
import warnings

import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.backends.base import CLOSED, UNSET
from tf_earlyticket.backends.layer_kinds import (
    cannot_be_pruned,
    kind_of,
    prunable_weights,
    weights_of_kind,
)
from tf_earlyticket.backends.layers import layers_inside
from tf_earlyticket.backends.tf_keras.compat import (
    PruneLowMagnitude,
    enable_auto_cast_variables,
    keras,
    tfmot,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.pruning.updates import resolve_update

UNATTENDED = (
    "A model wrapped for pruning is being trained without et.EarlyTicket or et.MaskUpdate among "
    "the callbacks: no further weight will be pruned."
)
# Their gradient is zero where the weight is.
_KEEP_ZEROS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
# Of activities it is no loss of weights.
_REGULARIZER = re.compile("(?!_|activity_).*_regularizer")


@keras.utils.register_keras_serializable(package="tf_earlyticket")
class EarlyTicketPolynomialDecay(EarlyTicketSchedule, tfmot.sparsity.keras.PolynomialDecay):
    """Gradual pruning (paper eq. 6, Zhu & Gupta) that waits until it is told to begin.

    Differs from TFMOT's `PolynomialDecay` in three ways: `begin_step` may be unset (nothing is
    pruned until `begin` is called), the end step always updates, so `final_sparsity` is reached
    whatever the frequency, and begin == end (one-shot) is defined.

    `wrap_for_pruning` copies the schedule, so call `begin` before it. The begin that training uses
    lives in the wrapped model's variables, so it is part of every checkpoint.

    Args:
        final_sparsity: Fraction in [0, 1) of the prunable weights that are zero at the end.
        initial_sparsity: Fraction in [0, final_sparsity] pruned at the begin step.
        begin_step: Optimizer step at which pruning starts; None until a probe sets it.
        ramp_steps: Optimizer steps from begin to end; 0 is one-shot; None: chosen by
            `et.EarlyTicket` from the epochs that `fit` was given.
        frequency: Optimizer steps between mask updates; None: about 20 updates in the ramp.
        power: Exponent of the polynomial, 3 in the paper.
        shape: What takes the polynomial's place: "linear", "one_shot", or "one_cycle", with which
            `et.EarlyTicket` looks for no start and prunes over the whole training.

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
        left = self._shape.left(1 - tf.math.divide_no_nan(left, float(self.ramp_steps)))
        final = tf.constant(self.final_sparsity, tf.float32)
        return should_prune, final + (self.initial_sparsity - final) * left


@tf.custom_gradient
def masked_gradient(weight: tf.Tensor, mask: tf.Tensor):
    """Returns `weight` unchanged; its gradient is zero where `mask` is.

    A NaN or -0.0 of a pruned weight's gradient does not pass.
    """

    def gradient(upstream):
        # An embedding's arrives as IndexedSlices.
        return _masked(upstream, mask), None

    return tf.identity(weight), gradient


@keras.utils.register_keras_serializable(package="tf_earlyticket")
class MaskedPruneLowMagnitude(PruneLowMagnitude):
    """A `PruneLowMagnitude` whose masks are written from outside and whose weights stay sparse.

    The forward pass uses the layer's weights as they are; the backward pass zeroes the gradients
    of pruned weights. Pruned weights are set to zero, with their optimizer slots, when a mask is
    written (`PrunedModel.set_masks`), and from then on nothing moves them: weights are exactly
    sparse after every optimizer step.

    Args:
        layer: A layer with prunable weights, which are attributes of it or of layers inside.
        pruning_schedule: A TFMOT `PruningSchedule`, usually `EarlyTicketPolynomialDecay`.
        ranking: As for `wrap_for_pruning`, read by the callback that computes masks.
        group_size: As for `wrap_for_pruning`.
        inside: Which of the layer and those inside it are pruned, as places in model order.
        structure: As for `wrap_for_pruning`, a name.
        update: As for `wrap_for_pruning`.
        **kwargs: As for `PruneLowMagnitude`.

    Raises:
        InputError: If the layer cannot be pruned; on build, if a prunable weight is not an
            attribute of the layer or one inside.
    """

    def __init__(
        self,
        layer,
        pruning_schedule,
        ranking="global",
        group_size=1,
        structure=None,
        inside=(0,),
        update="shrink",
        **kwargs,
    ):
        # Without the layer's own policy the wrapper would read its variables in another type.
        kwargs.setdefault("dtype", layer.dtype_policy)
        self.inside = tuple(inside)
        if self.inside != (0,) or not hasattr(layer, "get_prunable_weights"):
            if self.inside == (0,) and not kind_of(layer).weights:
                raise cannot_be_pruned(layer)
            layer.get_prunable_weights = _weights_inside(layer, self.inside)
        super().__init__(layer, pruning_schedule, **kwargs)
        if tuple(self.block_size) != (1, 1) or self.sparsity_m_by_n is not None:
            raise InputError("block_size and sparsity_m_by_n are not supported: use group_size.")
        # The layer's own __call__, which sees to these, is never run.
        self.supports_masking = layer.supports_masking
        self._activity_regularizer = getattr(layer, "_activity_regularizer", None)
        self.criterion = resolve_criterion(ranking, group_size, structure)
        self.update = update
        self.latent = []
        self.attended = False

    def build(self, input_shape):
        """Creates the masks (ones) and the schedule's steps, unset unless it has a begin."""
        super().build(input_shape)
        self._owners, self._held = [], []
        update = resolve_update(self.update)
        if update.latent and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise checks.refuse("update", self.update, "'shrink' on several devices")
        for weight, mask, _ in self.pruning_vars:
            # The innermost computes with it.
            self._owners.append(_owners_of(self.layer, weight)[-1])
            if update.latent:
                # As stored: within a model being built both may read as what it computes in.
                stored = getattr(mask, "true_dtype", mask.dtype)
                rest = self.add_weight("rest", weight.shape, stored, "zeros", trainable=False)
                threshold = self.add_weight(
                    "latent_threshold",
                    [],
                    tf.float32,
                    keras.initializers.Constant(CLOSED),
                    trainable=False,
                )
                self.latent.append((rest, threshold))
                _constrain(weight, _latent_values(weight, mask, rest, threshold, update.power))
                continue
            self._held.append((weight, weight.constraint, _masked_values(weight, mask)))
        self.hold_zeros(everywhere=True)
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

    def hold_zeros(self, *, everywhere: bool) -> None:
        """Lets constraints hold zeros whoever trains, or where the model's own step needs them.

        Past the layer, regularizers, losses of layers, other layers that read the weight, and the
        momentum of an optimizer that is not the model's may move zeros. Where nothing of that is in
        the model's own step, masked gradients are enough, and cheaper.
        """
        moved = everywhere or _moves_zeros(self.layer)
        for weight, own, constraint in self._held:
            owners = {id(owner) for owner, _ in _owners_of(self.layer, weight)}
            needed = moved or own is not None or len(owners) > 1
            _constrain(weight, constraint if needed else None)

    def call(self, inputs, *arguments, training=None, mask=None, **kwargs):
        """Calls the layer with masked gradients; adds no other operation."""
        if training is True and not self.attended:
            # While the step is traced, so once. TFMOT's in-graph assertion would cost every step.
            _warn_unattended()
        if self.layer._expects_training_arg:
            kwargs["training"] = training
        if self.layer._expects_mask_arg:
            kwargs["mask"] = mask
        with self._masked_gradients():
            return self.layer.call(inputs, *arguments, **kwargs)

    def reset_states(self, states=None):
        """Lets a stateful recurrent layer begin anew; its model calls this for any stateful one."""
        if hasattr(self.layer, "reset_states"):
            self.layer.reset_states(states)

    def compute_mask(self, inputs, mask=None):
        """Returns the layer's mask of its output, such as that of `Embedding(mask_zero=True)`."""
        return self.layer.compute_mask(inputs, mask)

    @contextlib.contextmanager
    def _masked_gradients(self):
        variables = []
        try:
            for place, (owner, name) in enumerate(self._owners):
                _, mask, _ = self.pruning_vars[place]
                variable = getattr(owner, name)
                variables.append((owner, name, variable))
                compute_dtype = variable.dtype
                # In the variable's own type: XLA may otherwise fuse the cast differently.
                with enable_auto_cast_variables(None):
                    trained = tf.convert_to_tensor(mask)
                    if self.latent:
                        _, threshold = self.latent[place]
                        trained = tf.maximum(trained, tf.cast(threshold != CLOSED, trained.dtype))
                    weight = masked_gradient(tf.convert_to_tensor(variable), trained)
                # Past Keras' attribute tracking, which would forget the variable.
                object.__setattr__(owner, name, tf.cast(weight, compute_dtype))
            yield
        finally:
            for owner, name, variable in variables:
                object.__setattr__(owner, name, variable)

    def get_config(self):
        """Returns the wrapper's config; the layer and the schedule are nested in it."""
        own = {"inside": list(self.inside), "update": self.update}
        return {**super().get_config(), **self.criterion.names, **own}


@tf.autograph.experimental.do_not_convert
def _warn_unattended():
    warnings.warn(UNATTENDED, stacklevel=2)


def _weights_inside(layer, inside):
    named = getattr(layer, "get_prunable_weights", None)

    def chosen() -> list:
        found = []
        for place in inside:
            each = layers_inside(layer)[place]
            if each is layer:
                found += named() if named else weights_of_kind(layer)
            elif prunable_weights(each):
                found += prunable_weights(each)
            else:
                raise cannot_be_pruned(each)
        return list({id(weight): weight for weight in found}.values())

    return chosen


def _owners_of(layer, weight) -> list[tuple[object, str]]:
    owners = [
        (owner, name)
        for owner in layer._flatten_layers()
        for name, value in vars(owner).items()
        if value is weight
    ]
    if owners:
        return owners
    raise InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned: its weight "
        f"{weight.name!r} is an attribute neither of the layer nor of one inside. Leave the layer "
        "out with wrap_for_pruning(prunable=...)."
    )


def _masked(value, mask):
    """Returns a value, zero where a mask of ones and zeros is, whatever the value is there.

    One operation, since every step pays for it: `tf.where` would also compare, and write zeros.
    """
    return tf.math.multiply_no_nan(tf.convert_to_tensor(value), tf.convert_to_tensor(mask))


def _moves_zeros(layer) -> bool:
    """Tells whether a loss of a layer may have a gradient in a weight that is zero."""
    for each in layer._flatten_layers():
        found = [v for n, v in vars(each).items() if v is not None and _REGULARIZER.fullmatch(n)]
        others = len(each._callable_losses) > len(found)
        if others or any(type(one) not in _KEEP_ZEROS for one in found):
            return True
    return False


def _masked_values(weight, mask):
    """Keeps zeros also from what moves a weight past the layer: constraints, regularizers."""
    own = weight.constraint

    def constraint(value):
        value = value if own is None else own(value)
        return _masked(value, mask)

    return constraint


def _latent_values(weight, mask, rest, threshold, power):
    """Lets pruned weights train out of sight: what the optimizer did to one stays in the rest."""
    own = weight.constraint

    def constraint(value):
        latent = tf.convert_to_tensor(value) + tf.convert_to_tensor(rest)
        latent = seen = latent if own is None else own(latent)
        if power is not None:
            low = tf.maximum(tf.cast(threshold, latent.dtype), 0)
            hidden = tf.math.divide_no_nan(low, tf.maximum(tf.abs(latent), low))
            seen = latent * (1 - hidden**power)
        seen = _masked(seen, mask)
        rest.assign(_masked(latent - seen, tf.cast(threshold != CLOSED, latent.dtype)))
        return seen

    return constraint


def _constrain(weight, constraint) -> None:
    # An automatically cast variable has the variable inside, one of several replicas one of each.
    inside = getattr(weight, "_variable", weight)
    for part in getattr(inside, "values", None) or [inside]:
        part._constraint = constraint
