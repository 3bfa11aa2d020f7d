"""What a Keras 3 model wrapped for pruning carries, and how its optimizer keeps it sparse."""

import contextlib
import weakref
from dataclasses import dataclass, field

import numpy as np

from tf_earlyticket.backends.keras3.compat import BACKEND, keras
from tf_earlyticket.backends.keras3.masking import (
    MaskConstraint,
    mask_gradients,
    masked_array,
    moves_each_weight_by_itself,
)
from tf_earlyticket.backends.keras3.names import host_copies
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule

UNSET = -1


@dataclass
class Pruning:
    """What is pruned of a model, how, and by which masks.

    Masks live in variables of the optimizer, since every backend hands those, and no others, to
    the training step as state. Before there is an optimizer, and whenever another one comes, they
    wait in `waiting`.

    Attributes:
        weights: The prunable variables by name.
        schedule: The model's own copy.
        ranking: "global", "layerwise" or one of the user's own.
        group_size: Weights along the input channels that live or die together.
        waiting: Masks by name, bool, that no optimizer holds yet.
        optimizer: Which holds the masks; None before training.
        masks: Its variables by the weight's name.
        schedule_steps: Its variable of begin, ramp and frequency; `UNSET` before the begin.
        learning_rate: Its variable that overrides a learning-rate schedule; `UNSET`: does not.
    """

    weights: dict[str, object]
    schedule: EarlyTicketSchedule
    ranking: str
    group_size: int
    waiting: dict[str, np.ndarray]
    optimizer: object = None
    masks: dict[str, object] = field(default_factory=dict)
    schedule_steps: object = None
    learning_rate: object = None

    def values(self) -> dict[str, np.ndarray]:
        """Returns the masks by name, bool."""
        if self.optimizer is None:
            return {name: mask.copy() for name, mask in self.waiting.items()}
        return host_copies(self.masks)


# Not attributes of the models: Keras would save them, and could not load them.
_prunings: "weakref.WeakKeyDictionary[object, Pruning]" = weakref.WeakKeyDictionary()


def remember(model, pruning: Pruning) -> None:
    """Makes a model one that is wrapped for pruning."""
    _prunings[model] = pruning


def pruning_of(model) -> Pruning | None:
    """Returns what a model carries, None if it is not wrapped."""
    return _prunings.get(model)


def inner_optimizer(model):
    """Returns the optimizer that updates the weights, inside a loss-scaling one or not."""
    optimizer = getattr(model, "optimizer", None)
    return getattr(optimizer, "inner_optimizer", optimizer)


def scope(model):
    """Returns the scope in which variables of the model are made."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def attach(model, pruning: Pruning) -> None:
    """Lets the model's present optimizer hold the masks; does nothing if it does already.

    Raises:
        InputError: If the optimizer cannot keep weights sparse.
    """
    optimizer = inner_optimizer(model)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise InputError(
            f"compile(optimizer={type(optimizer).__name__}) is not supported: expected a Keras 3 "
            "optimizer."
        )
    if optimizer.use_ema and BACKEND != "tensorflow":
        raise InputError(
            f"{type(optimizer).__name__}(use_ema=True) would bring pruned weights back at the end "
            f"of fit on the {BACKEND} backend: expected use_ema=False."
        )
    if pruning.optimizer is optimizer:
        return
    masks, begun = pruning.values(), _steps(pruning)
    with scope(model):
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = {}
        for name, weight in pruning.weights.items():
            variables[name] = optimizer.add_variable(
                weight.shape, "ones", dtype="bool", name=f"{name.replace('/', '_')}_mask"
            )
            variables[name].assign(masks[name])
            present = weight.constraint
            own = present.inner if isinstance(present, MaskConstraint) else present
            weight.constraint = MaskConstraint(variables[name], own)
        pruning.schedule_steps = optimizer.add_variable(
            (3,), "zeros", dtype="int32", name="schedule_steps"
        )
        pruning.schedule_steps.assign(begun)
        pruning.learning_rate = optimizer.add_variable(
            (), "zeros", dtype="float32", name="learning_rate_override"
        )
        pruning.learning_rate.assign(UNSET)
        if not moves_each_weight_by_itself(optimizer):
            mask_gradients(optimizer, pruning.weights, variables)
    pruning.optimizer, pruning.masks = optimizer, variables
    # A step traced earlier knows nothing of the constraints.
    model.make_train_function(force=True)


def _steps(pruning: Pruning) -> list[int]:
    if pruning.schedule_steps is not None:
        return [int(value) for value in keras.ops.convert_to_numpy(pruning.schedule_steps)]
    schedule = pruning.schedule
    if schedule.begin_step is None:
        return [UNSET] * 3
    return [schedule.begin_step, schedule.ramp_steps, schedule.sparsity().frequency]


def slots(optimizer, weight) -> list:
    """Returns the optimizer's variables that belong to a weight and have its shape."""
    if optimizer is None or not optimizer.built:
        return []
    trainable = optimizer._trainable_variables
    index = next((i for i, variable in enumerate(trainable) if variable is weight), None)
    if index is None:
        return []
    return [
        values[index]
        for name, values in vars(optimizer).items()
        if isinstance(values, (list, tuple))
        and name not in ("_trainable_variables", "_variables")
        # Adagrad's and Ftrl's running sums start above zero, and they divide by them.
        and "accumulator" not in name
        and len(values) == len(trainable)
        and getattr(values[index], "shape", None) == weight.shape
    ]


def zero(variable, mask) -> None:
    """Writes zeros into a variable where a mask is False."""
    variable.assign(masked_array(variable.value, mask))


@keras.saving.register_keras_serializable(package="tf_earlyticket")
class OverridableSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule that a probe overrides while it retrains.

    Args:
        schedule: The user's, a function of the optimizer step.
        override: The optimizer's variable; `UNSET` where the schedule counts.
    """

    def __init__(self, schedule, override):
        self.schedule, self.override = schedule, override

    def __call__(self, step):
        """Returns the override where one is set, else the schedule's value."""
        scheduled = keras.ops.cast(self.schedule(step), "float32")
        override = keras.ops.convert_to_tensor(self.override)
        return keras.ops.where(override == UNSET, scheduled, override)

    def get_config(self):
        """Returns the user's schedule alone: copies of the optimizer have no override."""
        return {"schedule": keras.optimizers.schedules.serialize(self.schedule)}

    @classmethod
    def from_config(cls, config):
        """Returns the user's schedule."""
        return keras.optimizers.schedules.deserialize(config["schedule"])
