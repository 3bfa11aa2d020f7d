"""A tf_keras model in TFMOT pruning wrappers: its masks, training steps and state."""

import contextlib
from collections import Counter

import numpy as np
import tensorflow as tf

from tf_earlyticket.backends.base import UNSET, PrunedModel
from tf_earlyticket.backends.layers import (
    called_layers,
    metrics_given,
    named_weights,
    recurrent_states,
    variables_of,
)
from tf_earlyticket.backends.tf_keras import optimizers
from tf_earlyticket.backends.tf_keras.compat import is_network, keras
from tf_earlyticket.backends.tf_keras.wrapper import MaskedPruneLowMagnitude
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.updates import resolve_update


class TfKerasPrunedModel(PrunedModel):
    """What serves a model with `MaskedPruneLowMagnitude` wrappers.

    Args:
        model: Made by `wrap_for_pruning` or loaded from its file.

    Raises:
        InputError: If the model has no such wrapper.
    """

    def __init__(self, model):
        layers = model._flatten_layers()
        self._wrappers = [layer for layer in layers if isinstance(layer, MaskedPruneLowMagnitude)]
        if not self._wrappers:
            kind = f"The {type(model).__name__} model has no pruning wrapper"
            raise InputError(f"{kind}: expected a model returned by wrap_for_pruning.")
        first = self._wrappers[0]
        by_id = {id(variable): name for name, variable in named_weights(model).items()}
        self._pruning_variables = {
            by_id[id(weight)]: (weight, mask, threshold)
            for wrapper in self._wrappers
            for weight, mask, threshold in wrapper.pruning_vars
        }
        weights = {name: weight for name, (weight, _, _) in self._pruning_variables.items()}
        super().__init__(
            model, weights, first.pruning_schedule, first.criterion, resolve_update(first.update)
        )
        self._slots: list[list[tf.Variable]] = []
        self._masking = None

    @property
    def _scope(self):
        return self.model.distribute_strategy.scope

    @property
    def _optimizer(self):
        return optimizers.inner_optimizer(getattr(self.model, "optimizer", None))

    def _read(self, variables):
        # Of replicas that differ, the mean.
        return {name: np.asarray(variable.read_value()) for name, variable in variables.items()}

    def _assign(self, variables, values):
        keras.backend.batch_set_value([(variables[name], values[name]) for name in variables])

    def _mask_variables(self):
        return {name: mask for name, (_, mask, _) in self._pruning_variables.items()}

    def apply_masks(self) -> None:
        """As documented; also tells the wrappers that their masks are seen to."""
        self._attend()
        super().apply_masks()

    def _attend(self) -> None:
        for wrapper in self._wrappers:
            wrapper.attended = True

    def _write_masks(self, masks):
        self._attend()
        slots = [list(optimizers.slots(self._optimizer, w)) for w in self._weights.values()]
        if self._masking is None or _ids(slots) != _ids(self._slots):
            # Traced for a new optimizer only.
            self._slots, self._masking = slots, tf.function(self._masked_variables)
        with self._scope():
            masks = [tf.constant(masks[name]) for name in self._weights]
            self._masking(masks, tf.constant(self.step(), tf.int64))

    def _masked_variables(self, masks, step):
        for (weight, mask_variable, threshold), slots, mask in zip(
            self._pruning_variables.values(), self._slots, masks, strict=True
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
        for wrapper in self._wrappers:
            wrapper.pruning_step.assign(step)

    def _latent_variables(self):
        latent = [each for wrapper in self._wrappers for each in wrapper.latent]
        pairs = dict(zip(self._weights, latent, strict=False))
        return {n: rest for n, (rest, _) in pairs.items()}, {n: t for n, (_, t) in pairs.items()}

    def _read_steps(self):
        # All wrappers have the same; another kind of schedule has none.
        variable = getattr(self._wrappers[0], "schedule_steps", None)
        steps = tuple(int(v) for v in variable.numpy()) if variable is not None else (UNSET,)
        return None if steps[0] == UNSET else steps

    def _write_steps(self, steps):
        with self._scope():
            for wrapper in self._wrappers:
                wrapper.schedule_steps.assign(steps)

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """As documented; other schedules of TFMOT are asked step by step."""
        if hasattr(self._wrappers[0], "schedule_steps"):
            return super().due_sparsity(after_step, step)
        schedule = self._schedule
        # Outside of these nothing is due, and far away it would take long to find that out.
        first = getattr(schedule, "begin_step", step if after_step < 0 else 0)
        last = getattr(schedule, "end_step", -1)
        step = min(step, last) if last >= 0 else step
        for candidate in range(step, max(after_step, first - 1), -1):
            should_prune, sparsity = schedule(tf.constant(candidate, tf.int64))
            # TFMOT's never end where their frequency does not divide the ramp.
            if bool(should_prune) or candidate == last:
                return float(sparsity)
        return None

    def _optimizer_variables(self):
        found = {
            (name, kind): slot
            for name, weight in named_weights(self.model).items()
            for kind, slot in optimizers.named_slots(self._optimizer, weight)
        }
        slots = {id(slot) for slot in found.values()}
        others = [v for v in optimizers.variables(self.model.optimizer) if id(v) not in slots]
        return found | {("", str(place)): variable for place, variable in enumerate(others)}

    def _prepare_optimizer(self):
        with self._scope():
            optimizers.build_optimizer(self.model)
        optimizers.install_override(self.model)
        self._hold_zeros(everywhere=not self._trains_as_keras_does())

    def finish(self):
        optimizers.remove_override(self.model)
        self._hold_zeros(everywhere=True)

    def _hold_zeros(self, everywhere: bool) -> None:
        called = called_layers(self.model, is_network)
        layers = [each for each in called if not is_network(each)]
        readers = Counter(id(variable) for each in layers for variable in variables_of(each))
        for wrapper in self._wrappers:
            shared = any(readers[id(weight)] > 1 for weight, _, _ in wrapper.pruning_vars)
            wrapper.hold_zeros(everywhere=everywhere or shared)

    def _trains_as_keras_does(self) -> bool:
        """Tells whether a step of the model moves weights by masked gradients alone."""
        own, optimizer = type(self.model), self._optimizer
        changed = ("train_step", "compute_loss", "make_train_function")
        return (
            all(getattr(own, name) is getattr(keras.Model, name) for name in changed)
            and type(optimizer).__module__.startswith("tf_keras.src.optimizers.")
            # What it writes now and then is of earlier weights.
            and not getattr(optimizer, "use_ema", False)
        )

    def learning_rate(self):
        return optimizers.learning_rate(self._optimizer)

    def set_learning_rate(self, value):
        optimizers.set_learning_rate(self._optimizer, value)

    def step(self):
        return int(self._optimizer.iterations.numpy()) if self._optimizer is not None else 0

    def steps_per_call(self):
        # A plain int() fails on a mirrored variable.
        return int(keras.backend.get_value(self.model._steps_per_execution))

    def _snapshot(self):
        # Each replica's component by itself: BatchNorm statistics differ between replicas.
        parts = [part for v in _state_variables(self.model) for part in _parts(v)]
        values = [(part, part.read_value()) for part in parts]
        stop_training = self.model.stop_training

        def restore():
            for part, value in values:
                part.assign(value)
            self.model.stop_training = stop_training

        return restore

    def _gradients(self, batch):
        strategy = self.model.distribute_strategy
        # Each replica computes its share of the loss, as in training.
        found = strategy.run(self._gradients_of_replica, (batch,))
        return {
            name: strategy.reduce("SUM", gradient, axis=None).numpy()
            for name, gradient in found.items()
        }

    def _gradients_of_replica(self, batch):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            loss = self.model.compute_loss(images, labels, outputs, weights)
        variables = list(self._weights.values())
        # A frozen weight has none; an embedding's is sparse.
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        return {
            name: tf.convert_to_tensor(gradient)
            for name, gradient in zip(self._weights, gradients, strict=True)
        }

    def _predict(self, batch):
        self.model(keras.utils.unpack_x_y_sample_weight(batch)[0], training=False)

    def train(self, dataset, steps):
        # Not by `fit` itself: a nested one resets counters and callbacks of the one running.
        function = self.model.make_train_function()
        # A call that runs out of data in its middle does not tell how many steps it made.
        available = int(dataset.cardinality())
        steps = min(steps, available) if available >= 0 else steps
        done = 0
        with self._steps_per_execution() as (per_call, set_steps):
            iterator = self._iterator(dataset)
            while done < steps:
                now = min(per_call, steps - done)
                set_steps(now)
                try:
                    function(iterator)
                except (StopIteration, tf.errors.OutOfRangeError):
                    break
                done += now
        return done

    def evaluate(self, dataset, steps=None):
        function = self.model.make_test_function()
        self.model.reset_metrics()
        done, logs = 0, None
        with self._steps_per_execution() as (_, set_steps):
            set_steps(1)
            iterator = self._iterator(dataset)
            while done != steps:
                try:
                    logs = function(iterator)
                except (StopIteration, tf.errors.OutOfRangeError):
                    break
                done += 1
        if logs is None:
            raise InputError("The data set is empty: expected at least one batch.")
        # Several workers' values come added up from a step; the metrics themselves know better.
        results = self.model.get_metrics_result()
        logs = results if set(results) == set(logs) else logs
        return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}

    @contextlib.contextmanager
    def _steps_per_execution(self):
        # Put back at once: Keras builds a step function not there yet for the present number.
        variable = self.model._steps_per_execution
        per_call = self.steps_per_call()
        try:
            yield per_call, variable.assign
        finally:
            variable.assign(per_call)

    def _iterator(self, dataset):
        return iter(self.model.distribute_strategy.experimental_distribute_dataset(dataset))

    def synchronize_replicas(self):
        with self._scope():
            for variable in self.model.variables:
                if variable.synchronization == tf.VariableSynchronization.ON_READ:
                    variable.assign(variable.read_value())


def _ids(slots):
    return [[id(slot) for slot in of_weight] for of_weight in slots]


def _parts(variable):
    return getattr(variable, "values", None) or [variable]


def _state_variables(model) -> list[tf.Variable]:
    """Returns all that training changes: weights, masks, slots, metrics, counters, generators."""
    found = list(model.variables) + optimizers.variables(model.optimizer)
    for metric in [*model.metrics, *metrics_given(model.compiled_metrics)]:
        found += metric.variables
    found += [model._train_counter, model._test_counter, model._predict_counter]
    found.append(model._steps_per_execution)
    found += [*(generator.state for generator in generators(model)), *recurrent_states(model)]
    unique = {id(variable): variable for variable in found if isinstance(variable, tf.Variable)}
    return list(unique.values())


def generators(model):
    """Yields the generators of random numbers of a model or layer."""
    for layer in model._flatten_layers():
        keras_generator = getattr(layer, "_random_generator", None)
        for value in (*vars(layer).values(), getattr(keras_generator, "_generator", None)):
            if isinstance(value, tf.random.Generator):
                yield value
