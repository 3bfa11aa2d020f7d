"""How a Keras 3 optimizer keeps pruned weights at zero, and out of what moves the others."""

import numpy as np

from tf_earlyticket.backends.base import CLOSED, UNSET
from tf_earlyticket.backends.copying import scope
from tf_earlyticket.backends.keras3.compat import KerasSaveable, keras
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.updates import Update

_optimizers = keras.optimizers
# Exactly these: a subclass may do otherwise.
_ELEMENT_WISE = (
    _optimizers.SGD,
    _optimizers.Adam,
    _optimizers.AdamW,
    _optimizers.Adamax,
    _optimizers.Adagrad,
    _optimizers.Adadelta,
    _optimizers.Ftrl,
    _optimizers.Lion,
    _optimizers.Nadam,
    _optimizers.RMSprop,
)


class MaskConstraint(keras.constraints.Constraint):
    """Keeps pruned weights at zero: every optimizer applies it after every update.

    Args:
        mask: A variable, True = kept.
        inner: The user's own constraint of the weight, applied first.
    """

    def __init__(self, mask, inner=None):
        self.mask, self.inner = mask, inner

    def __call__(self, w):
        """Returns the weight with zeros where the mask is False."""
        if self.inner is not None:
            w = self.inner(w)
        return masked_array(w, self.mask)


class LatentConstraint(MaskConstraint):
    """Lets pruned weights train out of sight: what the optimizer did to a weight stays in the rest.

    Args:
        mask: A variable, True = kept.
        rest: A variable: what the network does not see of the weight.
        threshold: A variable: of what is seen, or `CLOSED`.
        power: As `Update.power`.
        inner: The user's own constraint of the weight, applied first.
    """

    def __init__(self, mask, rest, threshold, power, inner=None):
        super().__init__(mask)
        self.rest, self.threshold, self.power, self.latent_inner = rest, threshold, power, inner

    def __call__(self, w):
        """Returns what is seen of the weight, and writes the rest."""
        ops = keras.ops
        latent = ops.convert_to_tensor(w) + ops.convert_to_tensor(self.rest)
        if self.latent_inner is not None:
            latent = self.latent_inner(latent)
        weight, threshold = latent, ops.convert_to_tensor(self.threshold)
        if self.power is not None:
            low = ops.maximum(ops.cast(threshold, latent.dtype), 0)
            hidden = ops.divide_no_nan(low, ops.maximum(ops.abs(latent), low))
            weight = latent * (1 - hidden**self.power)
        weight = masked_array(weight, self.mask)
        self.rest.assign(masked_array(latent - weight, threshold != CLOSED))
        return weight


def masked_array(values, mask):
    """Returns values as a tensor, zero where a mask is False, whatever they are there."""
    values = keras.ops.convert_to_tensor(values)
    return keras.ops.where(keras.ops.convert_to_tensor(mask), values, keras.ops.zeros_like(values))


def variable(initial, dtype: str, name: str):
    """Returns a new variable that no gradient reaches."""
    return keras.Variable(initial, dtype=dtype, trainable=False, name=name)


class Masks:
    """The masks of a model, the begin of its schedule and a learning rate, as variables.

    They are state of the training step in every optimizer that the model is compiled with: every
    backend hands the variables of the optimizer, and no others, to the step as state.

    Attributes:
        weights: The prunable variables by name.
        masks: Bool variables by the weight's name.
        schedule_steps: Begin, ramp and frequency; `UNSET` before the begin.
        learning_rate: Overrides a learning-rate schedule; `UNSET`: does not.
        rests: What the network does not see of weights that train while they are pruned, by name.
        thresholds: Of what it sees, see `seen`; `CLOSED`: they do not.
    """

    def __init__(self, model, weights: dict[str, object], steps, update: Update):
        self.weights = weights
        self.rests, self.thresholds = {}, {}
        with scope(model):
            self.masks = {
                name: variable(
                    keras.ops.ones(weight.shape, "bool"), "bool", f"{name.replace('/', '_')}_mask"
                )
                for name, weight in weights.items()
            }
            self.schedule_steps = variable(steps or (UNSET,) * 3, "int32", "schedule_steps")
            self.learning_rate = variable(UNSET, "float32", "learning_rate_override")
            for name, weight in weights.items() if update.latent else ():
                flat = name.replace("/", "_")
                zeros = keras.ops.zeros(weight.shape, weight.dtype)
                self.rests[name] = variable(zeros, weight.dtype, f"{flat}_rest")
                self.thresholds[name] = variable(CLOSED, "float32", f"{flat}_threshold")
        for name, weight in weights.items():
            mask, inner = self.masks[name], weight.constraint
            if update.latent:
                rest, threshold = self.rests[name], self.thresholds[name]
                weight.constraint = LatentConstraint(mask, rest, threshold, update.power, inner)
            else:
                weight.constraint = MaskConstraint(mask, inner)

    def variables(self) -> list:
        """Returns all of them, in the order in which they are saved."""
        own = [*self.masks.values(), self.schedule_steps, self.learning_rate]
        return own + [*self.rests.values(), *self.thresholds.values()]

    def trained(self, name: str):
        """Returns which of a weight's numbers train, as a tensor: kept ones, or all."""
        mask = keras.ops.convert_to_tensor(self.masks[name])
        if name not in self.thresholds:
            return mask
        return keras.ops.logical_or(mask, self.thresholds[name] != CLOSED)

    def attach(self, optimizer) -> bool:
        """Makes the variables state of an optimizer; returns whether they were not before.

        Raises:
            InputError: If it is no optimizer of Keras 3.
        """
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise InputError(
                f"compile(optimizer={type(optimizer).__name__}) is not supported: expected a "
                "Keras 3 optimizer."
            )
        tracked = {id(each) for each in optimizer.variables}
        if id(self.schedule_steps) in tracked:
            return False
        for each in self.variables():
            optimizer._track_variable(each)
        if not _moves_each_weight_by_itself(optimizer):
            self._mask_gradients(optimizer)
        return True

    def _mask_gradients(self, optimizer) -> None:
        """Lets an optimizer see no gradient of a pruned weight, as in the norm of all gradients.

        The constraint keeps pruned weights at zero, but comes after the others have been moved.
        """
        of_weight = {id(weight): name for name, weight in self.weights.items()}
        apply = optimizer.apply

        def apply_masked(grads, trainable_variables=None):
            if trainable_variables is not None:
                trainable_variables = list(trainable_variables)
            weights = trainable_variables or optimizer._trainable_variables
            masked = [
                gradient
                if gradient is None or id(weight) not in of_weight
                else masked_array(gradient, self.trained(of_weight[id(weight)]))
                for gradient, weight in zip(grads, weights, strict=True)
            ]
            return apply(masked, trainable_variables)

        # The training step of every backend ends in this method.
        optimizer.apply = apply_masked


class MasksInFiles(KerasSaveable):
    """Puts masks beside the weights in files of a model, and reads them with these.

    Those among the optimizer's variables are passed over unless a model is compiled and has
    trained. Models that are not wrapped pass these over.

    Args:
        pruned: The model's `PrunedModel`.
    """

    def __init__(self, pruned):
        self._pruned = pruned

    def _obj_type(self):
        # Which decides what Keras looks for in it: nothing.
        return "Loss"

    def save_own_variables(self, store):
        """Writes each mask under its place, eight bits to a byte."""
        for place, mask in enumerate(self._pruned.masks().values()):
            store[str(place)] = np.packbits(mask)

    def load_own_variables(self, store):
        """Sets the masks of a file, if it has any."""
        masks = self._pruned.masks()
        if len(store.keys()) == len(masks):
            found = {
                name: np.unpackbits(np.asarray(store[str(place)]), count=mask.size)
                for place, (name, mask) in enumerate(masks.items())
            }
            found = {name: found[name].reshape(mask.shape) for name, mask in masks.items()}
            self._pruned.take_masks(self._pruned.check_masks(found))


def _moves_each_weight_by_itself(optimizer) -> bool:
    """Tells whether what the optimizer knows of a pruned weight moves no other, nor itself later.

    Averages are taken before constraints, and become the weights at the end of `fit`.
    """
    clips = optimizer.clipnorm is not None or optimizer.global_clipnorm is not None
    return type(optimizer) in _ELEMENT_WISE and not clips and not optimizer.use_ema


def slots(optimizer, weight) -> list:
    """Returns the optimizer's variables that belong to a weight and have its shape."""
    return [
        slot
        for name, slot in named_slots(optimizer, weight).items()
        # Adagrad's and Ftrl's running sums start above zero, and they divide by them.
        if "accumulator" not in name and slot.shape == weight.shape
    ]


def named_slots(optimizer, weight) -> dict[str, object]:
    """Returns every variable of the optimizer that belongs to a weight, by name."""
    if optimizer is None or not optimizer.built:
        return {}
    trainable = optimizer._trainable_variables
    index = next((i for i, variable in enumerate(trainable) if variable is weight), None)
    if index is None:
        return {}
    return {
        name: values[index]
        for name, values in vars(optimizer).items()
        if isinstance(values, (list, tuple))
        and name not in ("_trainable_variables", "_variables")
        and len(values) == len(trainable)
        and hasattr(values[index], "shape")
    }


def is_schedule(rate) -> bool:
    """Tells a learning rate that is a function of the step from others."""
    return isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)


@keras.saving.register_keras_serializable(package="tf_earlyticket")
class OverridableSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule that a probe overrides while it retrains.

    Args:
        schedule: The user's, a function of the optimizer step, or one without arguments.
        override: The optimizer's variable; `UNSET` where the schedule counts.
    """

    def __init__(self, schedule, override):
        self.schedule, self.override = schedule, override

    def __call__(self, step):
        """Returns the override where one is set, else the schedule's value."""
        scheduled = self.schedule(step) if is_schedule(self.schedule) else self.schedule()
        scheduled = keras.ops.cast(scheduled, "float32")
        override = keras.ops.convert_to_tensor(self.override)
        return keras.ops.where(override == UNSET, scheduled, override)

    def get_config(self):
        """Returns the user's schedule alone: copies of the optimizer have no override."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule)}

    @classmethod
    def from_config(cls, config):
        """Returns the user's schedule."""
        return keras.optimizers.schedules.deserialize(config["schedule"])


@keras.saving.register_keras_serializable(package="tf_earlyticket")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in equal steps to another, which it then follows.

    Args:
        learning_rate: A number, or a schedule, a function of the optimizer step.
        steps: Until the whole of it counts.
    """

    def __init__(self, learning_rate, steps: int):
        self.learning_rate, self.steps = learning_rate, steps

    def __call__(self, step):
        """Returns the learning rate of the step after so many."""
        rate = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        part = keras.ops.minimum((keras.ops.cast(step, "float32") + 1) / self.steps, 1.0)
        return keras.ops.cast(rate, "float32") * part

    def get_config(self):
        """Returns a config that holds the learning rate."""
        rate = self.learning_rate
        if callable(rate):
            rate = keras.optimizers.schedules.serialize(rate)
        return {"learning_rate": rate, "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        """Rebuilds the learning rate."""
        rate = config["learning_rate"]
        if isinstance(rate, dict):
            rate = keras.optimizers.schedules.deserialize(rate)
        return cls(rate, config["steps"])
