"""What pruning needs of an optimizer: its slots per weight, and a learning rate that can be set."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.errors import InputError

NO_OVERRIDE = -1.0


def inner_optimizer(optimizer):
    """Returns the optimizer inside a loss-scaling one, else the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def is_legacy(optimizer) -> bool:
    """Tells Keras' optimizers of before 2.11 (`keras.optimizers.legacy`) from today's."""
    return isinstance(inner_optimizer(optimizer), keras.optimizers.legacy.Optimizer)


def build_optimizer(model) -> None:
    """Creates the optimizer's slots now, so that they can be masked before the first step.

    Raises:
        InputError: If the optimizer is of a kind whose slots cannot be found.
    """
    optimizer = inner_optimizer(model.optimizer)
    if is_legacy(optimizer):
        optimizer._create_all_weights(model.trainable_variables)
    elif isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer.build(model.trainable_variables)
    else:
        raise InputError(
            f"compile(optimizer={type(optimizer).__name__}) is not supported: expected a "
            "tf_keras optimizer."
        )


def slots(optimizer, weight) -> Iterator[tf.Variable]:
    """Yields the optimizer's variables that belong to `weight` and have its shape.

    The running sums that Ftrl and Adagrad divide by are left out: they start above zero, and a
    zero gradient leaves a zero weight where it is whatever their value.
    """
    for name, slot in named_slots(optimizer, weight):
        if "accumulator" not in name and getattr(slot, "shape", None) == weight.shape:
            yield slot


def named_slots(optimizer, weight) -> Iterator[tuple[str, tf.Variable]]:
    """Yields every variable of the optimizer that belongs to `weight`, with its name."""
    optimizer = inner_optimizer(optimizer)
    if optimizer is None:
        return
    yield from (_legacy_slots if is_legacy(optimizer) else _slots)(optimizer, weight)


def _slots(optimizer, weight):
    # None before the optimizer is built, and for frozen weights.
    indices = getattr(optimizer, "_index_dict", {})
    index = indices.get(optimizer._var_key(weight))
    if index is not None:
        for name, values in vars(optimizer).items():
            if isinstance(values, list) and name != "_variables" and len(values) == len(indices):
                yield name, values[index]


def _legacy_slots(optimizer, weight):
    for name in optimizer.get_slot_names():
        # A frozen weight has none.
        with contextlib.suppress(KeyError):
            yield name, optimizer.get_slot(weight, name)


def variables(optimizer) -> list[tf.Variable]:
    """Returns every variable of the optimizer, with its learning rate and its loss scale."""
    inner = inner_optimizer(optimizer)
    found = list(inner.variables() if callable(inner.variables) else inner.variables)
    # Attributes as well: neither the learning rate nor Nadam's running product is among them.
    attributes = [*vars(inner).values(), *getattr(inner, "_hyper", {}).values()]
    found += [value for value in attributes if isinstance(value, tf.Variable)]
    found += [value.override for value in attributes if isinstance(value, OverridableSchedule)]
    loss_scale = getattr(optimizer, "_loss_scale", None)
    found += list(getattr(loss_scale, "_weights", {}).values())
    unique = {id(variable): variable for variable in found}
    return list(unique.values())


@keras.utils.register_keras_serializable(package="tf_earlyticket")
class OverridableSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule whose value can be overridden while a probe runs.

    Keras refuses to assign to the learning rate of an optimizer that has a schedule.

    Args:
        schedule: The schedule, a function of the optimizer step.
        temporary: Whether a callback put this in and will take it out again.
    """

    def __init__(self, schedule, temporary: bool = False):
        self.schedule = schedule
        self.temporary = temporary
        with tf.init_scope():
            self.override = tf.Variable(NO_OVERRIDE, trainable=False, name="learning_rate_override")

    def __call__(self, step):
        """Returns the override where one is set, else the schedule's value at `step`."""
        scheduled = tf.cast(self.schedule(step), tf.float32)
        return tf.where(self.override == NO_OVERRIDE, scheduled, self.override)

    def get_config(self):
        """Returns a config that holds the wrapped schedule."""
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "temporary": self.temporary}

    @classmethod
    def from_config(cls, config):
        """Rebuilds the wrapped schedule."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["temporary"])


@keras.utils.register_keras_serializable(package="tf_earlyticket")
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
        part = tf.minimum((tf.cast(step, "float32") + 1) / self.steps, 1.0)
        return tf.cast(rate, "float32") * part

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


# For .h5 files, in which Keras looks schedules up by their bare class name.
for _schedule_class in (OverridableSchedule, WarmUp):
    keras.utils.get_custom_objects()[_schedule_class.__name__] = _schedule_class


def install_override(model) -> None:
    """Makes the learning rate settable where the optimizer has a schedule. Call before training."""
    optimizer = inner_optimizer(model.optimizer)
    schedule = _schedule(optimizer)
    if schedule is not None and not isinstance(schedule, OverridableSchedule):
        with model.distribute_strategy.scope():
            _set_schedule(optimizer, OverridableSchedule(schedule, temporary=True))
        # A step traced earlier holds the bare schedule.
        model.make_train_function(force=True)
    elif schedule is not None:
        # That of a `fit` that was interrupted.
        schedule.override.assign(NO_OVERRIDE)


def remove_override(model) -> None:
    """Gives the optimizer its own schedule back."""
    optimizer = inner_optimizer(model.optimizer)
    schedule = _schedule(optimizer)
    if isinstance(schedule, OverridableSchedule) and schedule.temporary:
        _set_schedule(optimizer, schedule.schedule)
        model.train_function = None


def _schedule(optimizer):
    if is_legacy(optimizer):
        value = optimizer._hyper.get("learning_rate")
    else:
        value = optimizer._learning_rate
    return value if isinstance(value, keras.optimizers.schedules.LearningRateSchedule) else None


def _set_schedule(optimizer, schedule) -> None:
    if is_legacy(optimizer):
        optimizer._hyper["learning_rate"] = schedule
    else:
        optimizer._learning_rate = schedule


def learning_rate(optimizer) -> float:
    """Returns the learning rate of the next step, without decay that legacy optimizers add."""
    optimizer = inner_optimizer(optimizer)
    schedule = _schedule(optimizer)
    if schedule is not None:
        return float(schedule(optimizer.iterations))
    return float(keras.backend.get_value(optimizer.learning_rate))


def set_learning_rate(optimizer, value: float) -> None:
    """Sets a constant learning rate; undo it by restoring a snapshot."""
    optimizer = inner_optimizer(optimizer)
    schedule = _schedule(optimizer)
    if schedule is not None:
        schedule.override.assign(value)
    else:
        keras.backend.set_value(optimizer.learning_rate, value)
