"""A Keras 3 model that is ready for pruning: its masks, training steps and state."""

import contextlib

import numpy as np

from tf_earlyticket.backends.base import UNSET, PrunedModel
from tf_earlyticket.backends.copying import scope
from tf_earlyticket.backends.keras3.compat import (
    BACKEND,
    get_global_attribute,
    keras,
    loss_gradients,
)
from tf_earlyticket.backends.keras3.masks import (
    Masks,
    MasksInFiles,
    OverridableSchedule,
    is_schedule,
    masked_array,
    named_slots,
    slots,
)
from tf_earlyticket.backends.layers import metrics_given, named_weights, recurrent_states
from tf_earlyticket.errors import InputError

_ATTRIBUTES = ("stop_training", "stop_evaluating", "history", "_initial_epoch")
_ABSENT = object()


def inner_optimizer(model):
    """Returns the optimizer that updates the weights, inside a loss-scaling one or not."""
    optimizer = getattr(model, "optimizer", None)
    return getattr(optimizer, "inner_optimizer", optimizer)


class Keras3PrunedModel(PrunedModel):
    """What serves a Keras 3 model made by `wrap_for_pruning`; arguments as for `PrunedModel`.

    Attributes:
        in_place: Whether the model is the user's own.
    """

    def __init__(self, model, weights, schedule, criterion, update, *, in_place=False):
        super().__init__(model, weights, schedule, criterion, update)
        self.in_place = in_place
        begun = schedule.sparsity()
        steps = (schedule.begin_step, schedule.ramp_steps, begun.frequency) if begun else None
        self.state = Masks(model, self._weights, steps, update)
        compile_model = model.compile

        def compile_and_attach(*arguments, **options):
            self.check_layers()
            compile_model(*arguments, **options)
            self._sync()

        load_weights = model.load_weights

        def load_and_mask(*arguments, **options):
            load_weights(*arguments, **options)
            # Files of plain models leave masks as they are.
            self.apply_masks()

        # Past Keras' tracking. So masks hold without a callback, under every optimizer.
        object.__setattr__(model, "compile", compile_and_attach)
        object.__setattr__(model, "load_weights", load_and_mask)
        object.__setattr__(model, "_early_ticket_masks", MasksInFiles(self))
        self._sync()

    @property
    def _optimizer(self):
        return inner_optimizer(self.model)

    def _sync(self) -> None:
        # Within an epoch JAX keeps the state of the training step to itself.
        getattr(self.model, "jax_state_sync", lambda: None)()
        new = self._optimizer is not None and self.state.attach(self._optimizer)
        if new and self.model.train_function is not None:
            # A step traced earlier knows nothing of the masks.
            self.model.make_train_function(force=True)

    def _read(self, variables):
        self._sync()
        return {n: np.asarray(keras.ops.convert_to_numpy(v.value)) for n, v in variables.items()}

    def _assign(self, variables, values):
        self._sync()
        for name, variable in variables.items():
            variable.assign(values[name])

    def _mask_variables(self):
        return self.state.masks

    def _write_masks(self, masks):
        self._sync()
        for name, mask in masks.items():
            weight = self._weights[name]
            self.state.masks[name].assign(mask)
            for variable in (weight, *slots(self._optimizer, weight)):
                variable.assign(masked_array(variable.value, mask))

    def _latent_variables(self):
        return self.state.rests, self.state.thresholds

    def _read_steps(self):
        self._sync()
        steps = keras.ops.convert_to_numpy(self.state.schedule_steps.value)
        return None if steps[0] == UNSET else tuple(int(value) for value in steps)

    def _write_steps(self, steps):
        self._sync()
        self.state.schedule_steps.assign(steps)

    def _optimizer_variables(self):
        found = {
            (name, kind): slot
            for name, weight in named_weights(self.model).items()
            for kind, slot in named_slots(self._optimizer, weight).items()
        }
        known = {id(variable) for variable in (*found.values(), *self.state.variables())}
        others = [v for v in self.model.optimizer.variables if id(v) not in known]
        return found | {("", str(place)): variable for place, variable in enumerate(others)}

    def _build_optimizer(self) -> None:
        if not self.model.optimizer.built:
            with scope(self.model):
                self.model.optimizer.build(self.model.trainable_variables)

    def _prepare_optimizer(self):
        self._sync()
        self._build_optimizer()
        optimizer, rate = self._optimizer, self._optimizer._learning_rate
        # One of a `fit` that was interrupted.
        self.state.learning_rate.assign(UNSET)
        changes = is_schedule(rate) or (callable(rate) and not isinstance(rate, keras.Variable))
        if changes and not isinstance(rate, OverridableSchedule):
            optimizer._learning_rate = OverridableSchedule(rate, self.state.learning_rate)
            # One made before the metrics are would not know on which devices they lie.
            if self.model.train_function is not None:
                self.model.make_train_function(force=True)

    def finish(self):
        optimizer = self._optimizer
        if isinstance(optimizer._learning_rate, OverridableSchedule):
            optimizer._learning_rate = optimizer._learning_rate.schedule
            self.state.learning_rate.assign(UNSET)
            self.model.train_function = None

    def learning_rate(self):
        self._sync()
        return float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))

    def set_learning_rate(self, value):
        if isinstance(self._optimizer._learning_rate, OverridableSchedule):
            self.state.learning_rate.assign(value)
        else:
            self._optimizer.learning_rate.assign(value)

    def step(self):
        self._sync()
        # `iterations` counts updates, which gradient accumulation makes fewer than steps.
        iterations = self._optimizer._iterations if self._optimizer is not None else 0
        return int(keras.ops.convert_to_numpy(iterations))

    def steps_per_call(self):
        return int(self.model.steps_per_execution)

    def _snapshot(self):
        self._sync()
        # Slots that come into being inside could not be put back.
        self._build_optimizer()
        model = self.model
        values = [(part, _copy(part)) for v in _variables(model) for part in _parts(v)]
        attributes = {name: getattr(model, name, _ABSENT) for name in _ATTRIBUTES}
        # A nested `fit` begins at its own first epoch, whatever a backup told the outer one.
        if getattr(model, "_initial_epoch", None) is not None:
            model._initial_epoch = None

        def restore():
            # An `evaluate` that an exception ended has not given its state back.
            self._sync()
            for part, value in values:
                part.assign(value)
            for name, value in attributes.items():
                if value is not _ABSENT:
                    setattr(model, name, value)
                elif hasattr(model, name):
                    delattr(model, name)

        return restore

    def _gradients(self, batch):
        model, variables = self.model, self.model.trainable_variables
        inputs, labels, weights = _parts_of_batch(batch)
        gradients = loss_gradients(model, variables, inputs, labels, weights)
        of_variable = {id(v): g for v, g in zip(variables, gradients, strict=True)}
        found = {name: of_variable.get(id(weight)) for name, weight in self._weights.items()}
        return {
            # A frozen weight has none.
            name: np.zeros(self._weights[name].shape)
            if gradient is None
            else np.asarray(keras.ops.convert_to_numpy(gradient))
            for name, gradient in found.items()
        }

    def _predict(self, batch):
        self._sync()
        self.model(_parts_of_batch(batch)[0], training=False)

    def train(self, dataset, steps):
        # Of which Keras makes an error, or a step that it only counts.
        if _is_empty(dataset):
            return 0
        before = self.step()
        with _without_averages(self.model.optimizer):
            self.model.fit(dataset.take(steps), epochs=1, shuffle=False, verbose=0)
        return self.step() - before

    def evaluate(self, dataset, steps=None):
        if steps is not None:
            dataset = dataset.take(steps)
        if _is_empty(dataset):
            raise InputError("The data set is empty: expected at least one batch.")
        logs = self.model.evaluate(dataset, verbose=0, return_dict=True)
        return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}

    def synchronize_replicas(self):
        for variable in self.model.non_trainable_variables:
            parts = _parts(variable)
            if len(parts) > 1 and keras.backend.is_float_dtype(variable.dtype):
                variable.assign(np.mean([part.numpy() for part in parts], axis=0))


@contextlib.contextmanager
def _without_averages(optimizer):
    """Lets a `fit` end with the weights that it trained where `use_ema` would average them."""
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def _is_empty(dataset) -> bool:
    size = int(dataset.cardinality())
    # Negative: unknown or infinite.
    return size == 0 or (size < 0 and next(iter(dataset.take(1)), None) is None)


def _parts_of_batch(batch) -> tuple:
    if BACKEND != "tensorflow":
        batch = keras.tree.map_structure(lambda part: part.numpy(), batch)
    return keras.utils.unpack_x_y_sample_weight(batch)


def _variables(model) -> list:
    """Returns all that training changes: weights, statistics, seeds, slots, masks, metrics."""
    found = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    found += recurrent_states(model)
    for metric in metrics_given(model._compile_metrics):
        found += metric.variables
    # Of random numbers that are drawn without a seed.
    generator = get_global_attribute("global_seed_generator")
    found += [generator.state] if generator is not None else []
    return list({id(variable): variable for variable in found}.values())


def _parts(variable) -> list:
    if BACKEND != "tensorflow":
        return [variable]
    # Each replica has a variable of its own, and BatchNorm's statistics differ between them.
    value = variable._value
    return list(getattr(value, "values", None) or [value])


def _copy(part):
    # JAX gives the buffers of a step's state away: a reference would not survive it.
    return part.read_value() if BACKEND == "tensorflow" else keras.ops.copy(part.value)
