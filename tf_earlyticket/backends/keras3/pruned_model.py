"""The adapter for Keras 3 models, on the TensorFlow and the JAX backend."""

import contextlib
from collections.abc import Mapping

import numpy as np

from tf_earlyticket.backends.base import Arrays, PrunedModel, check_weights
from tf_earlyticket.backends.keras3 import names
from tf_earlyticket.backends.keras3.compat import keras
from tf_earlyticket.backends.keras3.masks import (
    UNSET,
    OverridableSchedule,
    attach,
    inner_optimizer,
    pruning_of,
    scope,
    slots,
    zero,
)
from tf_earlyticket.backends.keras3.snapshot import Keras3Snapshot
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule, PolynomialSparsity


class _Steps(keras.callbacks.Callback):
    """Counts the training steps of a `fit`."""

    def __init__(self):
        super().__init__()
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        self.done = batch + 1


class Keras3Adapter(PrunedModel):
    """What serves a Keras 3 model made by `wrap_for_pruning`.

    Raises:
        InputError: If the model was not made by `wrap_for_pruning`.
    """

    def __init__(self, model):
        pruning = pruning_of(model)
        if pruning is None:
            raise InputError(
                f"The {type(model).__name__} model is not wrapped: expected a model returned by "
                "wrap_for_pruning in this process."
            )
        super().__init__(model)
        self._pruning = pruning
        self.ranking, self.group_size = pruning.ranking, pruning.group_size

    def _sync(self) -> None:
        # Within an epoch JAX keeps the state of the training step to itself.
        getattr(self.model, "jax_state_sync", lambda: None)()

    def _check_compiled(self) -> None:
        if inner_optimizer(self.model) is None:
            raise InputError("The model has no optimizer: call model.compile(...) before training.")

    def prepare(self) -> None:
        """Lets the optimizer hold the masks; makes the learning rate settable.

        Raises:
            InputError: If the model is not compiled, or its optimizer cannot keep weights sparse.
        """
        self._check_compiled()
        self._sync()
        attach(self.model, self._pruning)
        optimizer = self._pruning.optimizer
        rate = optimizer._learning_rate
        schedules = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(rate, schedules) and not isinstance(rate, OverridableSchedule):
            optimizer._learning_rate = OverridableSchedule(rate, self._pruning.learning_rate)
            self.model.make_train_function(force=True)
        self._read_schedule()

    def finish(self) -> None:
        """Gives the optimizer its own learning-rate schedule back."""
        optimizer = inner_optimizer(self.model)
        if isinstance(optimizer._learning_rate, OverridableSchedule):
            optimizer._learning_rate = optimizer._learning_rate.schedule
            self.model.train_function = None
        if optimizer.use_ema:
            # At the end of `fit`, Keras wrote the averages into the weights.
            self.apply_masks()

    def weights(self) -> Arrays:
        """Host copies of the prunable weights."""
        self._sync()
        return names.host_copies(self._pruning.weights)

    def weight_views(self) -> Arrays:
        """The prunable weights for a short look, not copied."""
        self._sync()
        return names.host_views(self._pruning.weights)

    def layers(self) -> list[str]:
        """Paths of all layers that are not models themselves, in model order."""
        return [name for name, _ in names.named_layers(self.model)]

    def all_weights(self) -> Arrays:
        """Host copies of every weight."""
        self._sync()
        return names.host_copies(names.named_weights(self.model))

    def set_all_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight, then masks them.

        Raises:
            InputError: If a name is missing or unknown, or a shape differs; nothing is written.
        """
        self._sync()
        variables = names.named_weights(self.model)
        check_weights(weights, variables)
        for name, variable in variables.items():
            variable.assign(weights[name])
        self.apply_masks()

    def masks(self) -> Arrays:
        """Host copies of the masks, bool."""
        self._sync()
        return self._pruning.values()

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes the masks; zeroes pruned weights and their optimizer slots.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        masks = self.check_masks(masks)
        self._sync()
        pruning, optimizer = self._pruning, inner_optimizer(self.model)
        for name, mask in masks.items():
            weight = pruning.weights[name]
            if pruning.optimizer is not None:
                pruning.masks[name].assign(mask)
            else:
                pruning.waiting[name] = mask.copy()
            for variable in (weight, *slots(optimizer, weight)):
                zero(variable, mask)

    def step(self) -> int:
        """Training steps done so far, 0 without an optimizer."""
        self._sync()
        optimizer = inner_optimizer(self.model)
        # `iterations` counts updates, which gradient accumulation makes fewer than steps.
        return 0 if optimizer is None else int(keras.ops.convert_to_numpy(optimizer._iterations))

    def steps_per_call(self) -> int:
        """Training steps between two callbacks."""
        return int(self.model.steps_per_execution)

    def _read_schedule(self) -> EarlyTicketSchedule:
        # The variable counts: checkpoints restore it.
        pruning = self._pruning
        if pruning.schedule_steps is not None:
            self._sync()
            steps = keras.ops.convert_to_numpy(pruning.schedule_steps)
            begin, ramp, frequency = (int(value) for value in steps)
            if begin == UNSET:
                pruning.schedule.begin_step = None
            else:
                pruning.schedule.begin(begin, ramp_steps=ramp, frequency=frequency)
        return pruning.schedule

    def early_ticket_schedule(self) -> EarlyTicketSchedule:
        """The schedule that a probe may begin."""
        return self._pruning.schedule

    def final_sparsity(self) -> float:
        """The sparsity at which the schedule ends, as a fraction."""
        return self._pruning.schedule.final_sparsity

    def sparsity_schedule(self) -> PolynomialSparsity | None:
        """The schedule in force as a pure function, None while its begin is unset."""
        return self._read_schedule().sparsity()

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """The sparsity of the last update due in (after_step, step], None if none is due."""
        return self._pruning.schedule.due_sparsity(after_step, step)

    def begin_schedule(self, step: int, *, ramp_steps: int, frequency: int) -> None:
        """Sets the begin of the schedule, in the optimizer's variable and in the object.

        Raises:
            InputError: If a value is out of range.
        """
        self._pruning.schedule.polynomial(step, ramp_steps, frequency)
        self._sync()
        self._pruning.schedule_steps.assign([step, ramp_steps, frequency])
        self._read_schedule()

    @contextlib.contextmanager
    def sandbox(self):
        """Everything done inside is undone bit for bit at the end, also on exceptions.

        Raises:
            InputError: If the model is not compiled.
        """
        self._check_compiled()
        self._sync()
        snapshot = Keras3Snapshot(self.model)
        try:
            yield
        finally:
            snapshot.restore()

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        self._sync()
        return float(keras.ops.convert_to_numpy(inner_optimizer(self.model).learning_rate))

    def set_learning_rate(self, value: float) -> None:
        """Sets a constant learning rate. Inside a sandbox only."""
        optimizer = inner_optimizer(self.model)
        if isinstance(optimizer._learning_rate, OverridableSchedule):
            self._pruning.learning_rate.assign(value)
        else:
            optimizer.learning_rate.assign(value)

    def train(self, dataset, steps: int) -> int:
        """Runs up to `steps` training steps and returns how many. Inside a sandbox only."""
        counter = _Steps()
        self.model.fit(dataset.take(steps), epochs=1, shuffle=False, verbose=0, callbacks=[counter])
        return counter.done

    def evaluate(self, dataset, steps: int | None = None) -> dict[str, float]:
        """Loss and scalar metrics over the data set or `steps` batches. Inside a sandbox only.

        Raises:
            InputError: If the data set is empty.
        """
        if steps is not None:
            dataset = dataset.take(steps)
        if int(dataset.cardinality()) == 0:
            raise InputError("The data set is empty: expected at least one batch.")
        logs = self.model.evaluate(dataset, verbose=0, return_dict=True)
        return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}

    def synchronize_replicas(self) -> None:
        """Makes statistics that each replica keeps for itself equal to their mean."""
        self._sync()
        with scope(self.model):
            for variable in self.model.variables:
                variable.assign(keras.ops.convert_to_numpy(variable.value))
