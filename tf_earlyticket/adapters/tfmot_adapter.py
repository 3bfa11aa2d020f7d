"""The adapter for tf_keras models in TFMOT pruning wrappers."""

import contextlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tf_earlyticket.adapters import optimizers
from tf_earlyticket.adapters.base import Arrays
from tf_earlyticket.adapters.names import named_weights, prunable_weights
from tf_earlyticket.adapters.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.adapters.snapshot import Snapshot
from tf_earlyticket.adapters.wrapper import UNSET, MaskedPruneLowMagnitude
from tf_earlyticket.core.masks import check_masks
from tf_earlyticket.core.schedule import PolynomialSparsity
from tf_earlyticket.errors import InputError
from tf_earlyticket.keras_compat import collect_prunable_layers, keras


class TfmotAdapter:
    """Implements `PruningAdapter` for a model made by `wrap_for_pruning`.

    Args:
        model: A tf_keras model with `MaskedPruneLowMagnitude` wrappers.

    Raises:
        InputError: If the model has no such wrapper.
    """

    def __init__(self, model):
        self.model = model
        self._wrappers = [
            layer
            for layer in (collect_prunable_layers(model) if isinstance(model, keras.Model) else [])
            if isinstance(layer, MaskedPruneLowMagnitude)
        ]
        if not self._wrappers:
            raise InputError(
                f"The {type(model).__name__} model has no pruning wrapper: expected a model "
                "returned by wrap_for_pruning."
            )
        self.ranking = self._wrappers[0].ranking
        self.group_size = self._wrappers[0].group_size
        self._variables = prunable_weights(model)
        self._apply = None

    @property
    def _scope(self):
        return self.model.distribute_strategy.scope

    def prepare(self) -> None:
        """Creates the optimizer's slots and makes the learning rate settable."""
        if getattr(self.model, "optimizer", None) is None:
            raise InputError("The model has no optimizer: call model.compile(...) before training.")
        with self._scope():
            optimizers.build_optimizer(self.model)
        optimizers.install_override(self.model)
        self._apply = None
        self._sync_schedule()

    def finish(self) -> None:
        """Gives the optimizer its own learning-rate schedule back."""
        optimizers.remove_override(self.model)

    def weights(self) -> Arrays:
        """Host copies of the prunable weights."""
        return _values({name: weight for name, (weight, _, _) in self._variables.items()})

    def all_weights(self) -> Arrays:
        """Host copies of every weight of the plain model."""
        return _values(named_weights(self.model))

    def set_all_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight of the plain model, then masks them.

        Raises:
            InputError: If a name is missing or unknown, or a shape differs; nothing is written.
        """
        variables = named_weights(self.model)
        for name in [*variables, *weights]:
            if name not in weights or name not in variables:
                where = "the model" if name in weights else "the given weights"
                raise InputError(f"Weight {name!r} is not in {where}.")
            if tuple(variables[name].shape) != np.shape(weights[name]):
                raise InputError(
                    f"Weight {name!r} has shape {np.shape(weights[name])}: the model's has "
                    f"{tuple(variables[name].shape)}."
                )
        keras.backend.batch_set_value([(variables[name], weights[name]) for name in variables])
        self.apply_masks()

    def masks(self) -> Arrays:
        """Host copies of the masks, bool."""
        masks = _values({name: mask for name, (_, mask, _) in self._variables.items()})
        return {name: mask.astype(bool) for name, mask in masks.items()}

    def check_masks(self, masks: Mapping[str, np.ndarray]) -> Arrays:
        """Returns the masks as bool arrays.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        shapes = {n: np.empty(tuple(v[0].shape), bool) for n, v in self._variables.items()}
        return check_masks(masks, shapes)

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes the masks; zeroes pruned weights and their optimizer slots.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        masks = self.check_masks(masks)
        if self._apply is None:
            self._apply = self._build_apply()
        with self._scope():
            self._apply([tf.constant(masks[name]) for name in self._variables], self.step())

    def _build_apply(self):
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            # Slots that did not exist yet would never be masked.
            optimizers.build_optimizer(self.model)
        targets = [
            (*variables, list(optimizers.slots(optimizer, variables[0])) if optimizer else [])
            for variables in self._variables.values()
        ]
        steps = [wrapper.pruning_step for wrapper in self._wrappers]

        @tf.function
        def apply(masks, step):
            for (weight, mask_variable, threshold, slots), mask in zip(targets, masks, strict=True):
                masked = tf.where(mask, weight, tf.zeros_like(weight))
                # For TFMOT's PruningSummaries: the least magnitude that was kept.
                kept = tf.where(mask, tf.abs(masked), tf.fill(tf.shape(mask), masked.dtype.max))
                threshold.assign(
                    tf.where(tf.reduce_any(mask), tf.reduce_min(kept), tf.zeros_like(threshold))
                )
                mask_variable.assign(tf.cast(mask, mask_variable.dtype))
                weight.assign(masked)
                for slot in slots:
                    slot.assign(tf.where(mask, slot, tf.zeros_like(slot)))
            for pruning_step in steps:
                pruning_step.assign(step)

        return lambda masks, step: apply(masks, tf.constant(step, tf.int64))

    def apply_masks(self) -> None:
        """Zeroes pruned weights and their slots again."""
        self.set_masks(self.masks())

    def violations(self) -> int:
        """Number of pruned weights that are not zero."""
        weights, masks = self.weights(), self.masks()
        return int(sum(np.count_nonzero(weights[name][~masks[name]]) for name in weights))

    def step(self) -> int:
        """Optimizer steps done so far, 0 without an optimizer."""
        optimizer = getattr(self.model, "optimizer", None)
        return int(optimizer.iterations) if optimizer is not None else 0

    @property
    def schedule(self):
        """The TFMOT schedule object of the first wrapper; all wrappers have the same."""
        return self._wrappers[0].pruning_schedule

    def early_ticket_schedule(self) -> EarlyTicketPolynomialDecay:
        """The schedule that a probe may begin.

        Raises:
                InputError: If the model was wrapped with another schedule.
        """
        if not isinstance(self.schedule, EarlyTicketPolynomialDecay):
            raise InputError(
                f"The model's schedule is a {type(self.schedule).__name__}: EarlyTicket needs an "
                "EarlyTicketPolynomialDecay; use et.MaskUpdate for other schedules."
            )
        return self.schedule

    def final_sparsity(self) -> float:
        """The sparsity at which the schedule ends, as a fraction."""
        schedule = self.schedule
        return getattr(schedule, "final_sparsity", None) or schedule.target_sparsity

    def _sync_schedule(self) -> None:
        """Brings the schedule objects in step with the variables, which checkpoints restore."""
        for wrapper in self._wrappers:
            schedule = wrapper.pruning_schedule
            if isinstance(schedule, EarlyTicketPolynomialDecay):
                begin, ramp, frequency = (int(v) for v in wrapper.schedule_steps.numpy())
                if begin == UNSET:
                    schedule.begin_step = None
                else:
                    schedule.begin(begin, ramp_steps=ramp, frequency=frequency)

    def sparsity_schedule(self) -> PolynomialSparsity | None:
        """The schedule in force as a pure function, None while its begin is unset."""
        if not isinstance(self.schedule, EarlyTicketPolynomialDecay):
            return None
        self._sync_schedule()
        return self.schedule.sparsity()

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """The sparsity of the last update due in (after_step, step], None if none is due."""
        if isinstance(self.schedule, EarlyTicketPolynomialDecay):
            sparsity = self.schedule.sparsity()
            due = sparsity.last_update_step(step) if sparsity else None
            return None if due is None or due <= after_step else sparsity.sparsity_at(due)
        for candidate in range(step, after_step, -1):
            should_prune, sparsity = self.schedule(tf.constant(candidate, tf.int64))
            if bool(should_prune):
                return float(sparsity)
        return None

    def begin_schedule(self, step: int, *, ramp_steps: int, frequency: int) -> None:
        """Sets the begin in every wrapper's variables and in the schedule objects."""
        steps = [step, ramp_steps, frequency]
        with self._scope():
            for wrapper in self._wrappers:
                wrapper.schedule_steps.assign(steps)
        self._sync_schedule()

    @contextlib.contextmanager
    def sandbox(self):
        """Everything done inside is undone bit for bit at the end, also on exceptions."""
        snapshot = Snapshot(self.model)
        try:
            yield
        finally:
            snapshot.restore()

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return optimizers.learning_rate(self.model.optimizer)

    def set_learning_rate(self, value: float) -> None:
        """Sets a constant learning rate. Inside a sandbox only."""
        optimizers.set_learning_rate(self.model.optimizer, value)

    def train(self, dataset, steps: int) -> int:
        """Runs up to `steps` training steps with the compiled step of `fit`; returns how many.

        Inside a sandbox only. Fewer where the data set is shorter. Not by `fit` itself: a nested
        one resets the counters and callbacks of the one that is running.
        """
        function = self.model.make_train_function()
        per_call = int(self.model._steps_per_execution)
        iterator = iter(self._distribute(dataset))
        done = 0
        while done < steps:
            now = min(per_call, steps - done)
            self.model._steps_per_execution.assign(now)
            try:
                function(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            done += now
        return done

    def evaluate(self, dataset, steps: int | None = None) -> dict[str, float]:
        """Loss and metrics over the data set, or its first `steps` batches. Inside a sandbox only.

        Raises:
            InputError: If the data set is empty.
        """
        function = self.model.make_test_function()
        self.model._steps_per_execution.assign(1)
        self.model.reset_metrics()
        iterator = iter(self._distribute(dataset))
        done, logs = 0, None
        while done != steps:
            try:
                logs = function(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            done += 1
        if logs is None:
            raise InputError("The data set is empty: expected at least one batch.")
        return {name: float(value) for name, value in logs.items()}

    def _distribute(self, dataset):
        return self.model.distribute_strategy.experimental_distribute_dataset(dataset)

    def synchronize_replicas(self) -> None:
        """Makes statistics that each replica keeps for itself equal to their mean."""
        if self.model.distribute_strategy.num_replicas_in_sync > 1:
            with self._scope():
                for variable in self.model.variables:
                    if variable.synchronization == tf.VariableSynchronization.ON_READ:
                        variable.assign(variable.read_value())


def _values(variables) -> Arrays:
    values = keras.backend.batch_get_value(list(variables.values()))
    return dict(zip(variables, values, strict=True))
