"""The adapter for tf_keras models in TFMOT pruning wrappers."""

import contextlib
from collections.abc import Mapping

import numpy as np

from tf_earlyticket.backends.base import Arrays, PrunedModel, check_weights
from tf_earlyticket.backends.tf_keras import names, optimizers, schedule, stepping
from tf_earlyticket.backends.tf_keras.compat import collect_prunable_layers, keras
from tf_earlyticket.backends.tf_keras.masking import MaskWriter
from tf_earlyticket.backends.tf_keras.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.backends.tf_keras.snapshot import Snapshot
from tf_earlyticket.backends.tf_keras.wrapper import UNSET, MaskedPruneLowMagnitude
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import PolynomialSparsity


class TfmotAdapter(PrunedModel):
    """What serves a model made by `wrap_for_pruning`.

    Args:
        model: A tf_keras model with `MaskedPruneLowMagnitude` wrappers.

    Raises:
        InputError: If the model has no such wrapper.
    """

    def __init__(self, model):
        super().__init__(model)
        layers = collect_prunable_layers(model) if isinstance(model, keras.Model) else []
        self._wrappers = [layer for layer in layers if isinstance(layer, MaskedPruneLowMagnitude)]
        if not self._wrappers:
            kind = f"The {type(model).__name__} model has no pruning wrapper"
            raise InputError(f"{kind}: expected a model returned by wrap_for_pruning.")
        self.ranking = self._wrappers[0].ranking
        self.group_size = self._wrappers[0].group_size
        self._variables = names.prunable_weights(model)
        self._writer = MaskWriter(
            self._variables.values(), [wrapper.pruning_step for wrapper in self._wrappers]
        )

    @property
    def _scope(self):
        return self.model.distribute_strategy.scope

    def _optimizer(self):
        return getattr(self.model, "optimizer", None)

    def _check_compiled(self) -> None:
        if self._optimizer() is None:
            raise InputError("The model has no optimizer: call model.compile(...) before training.")

    def prepare(self) -> None:
        """Creates the optimizer's slots and makes the learning rate settable.

        Raises:
            InputError: If the model is not compiled, or its optimizer is of an unknown kind.
        """
        self._check_compiled()
        with self._scope():
            optimizers.build_optimizer(self.model)
        optimizers.install_override(self.model)
        self._sync_schedule()

    def finish(self) -> None:
        """Gives the optimizer its own learning-rate schedule back."""
        optimizers.remove_override(self.model)

    def weights(self) -> Arrays:
        """Host copies of the prunable weights."""
        return names.host_copies(self._weight_variables())

    def layers(self) -> list[str]:
        """Paths of all layers that are not models themselves, in model order."""
        return [name for name, _ in names.named_layers(self.model)]

    def all_weights(self) -> Arrays:
        """Host copies of every weight of the plain model."""
        return names.host_copies(names.named_weights(self.model))

    def set_all_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight of the plain model, then masks them.

        Raises:
            InputError: If a name is missing or unknown, or a shape differs; nothing is written.
        """
        variables = names.named_weights(self.model)
        check_weights(weights, variables)
        keras.backend.batch_set_value([(variables[name], weights[name]) for name in variables])
        self.apply_masks()

    def masks(self) -> Arrays:
        """Host copies of the masks, bool."""
        masks = names.host_views({name: mask for name, (_, mask, _) in self._variables.items()})
        return {name: mask.astype(bool) for name, mask in masks.items()}

    def weight_views(self) -> Arrays:
        """The prunable weights for a short look, not copied."""
        return names.host_views(self._weight_variables())

    def _weight_variables(self):
        return {name: weight for name, (weight, _, _) in self._variables.items()}

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes the masks; zeroes pruned weights and their optimizer slots.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        masks = self.check_masks(masks)
        self._mark_attended()
        with self._scope():
            self._writer.write([masks[n] for n in self._variables], self._optimizer(), self.step())

    def _mark_attended(self) -> None:
        for wrapper in self._wrappers:
            wrapper.attended = True

    def apply_masks(self) -> None:
        """Zeroes pruned weights and their slots again; compiles nothing while nothing is pruned."""
        self._mark_attended()
        super().apply_masks()

    def step(self) -> int:
        """Optimizer steps done so far, 0 without an optimizer."""
        optimizer = self._optimizer()
        return int(optimizer.iterations.numpy()) if optimizer is not None else 0

    def steps_per_call(self) -> int:
        """Optimizer steps between two callbacks."""
        # A plain int() fails on a mirrored variable.
        return int(keras.backend.get_value(self.model._steps_per_execution))

    @property
    def schedule(self):
        """The TFMOT schedule object of the first wrapper; all wrappers have the same."""
        return self._wrappers[0].pruning_schedule

    def early_ticket_schedule(self) -> EarlyTicketPolynomialDecay:
        """The schedule that a probe may begin.

        Raises:
            InputError: If the model was wrapped with another schedule.
        """
        return schedule.check_early_ticket_schedule(self.schedule)

    def final_sparsity(self) -> float:
        """The sparsity at which the schedule ends, as a fraction.

        Raises:
            InputError: If the schedule is of a kind that does not tell.
        """
        return schedule.final_sparsity(self.schedule)

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
        return schedule.due_sparsity(self.schedule, after_step, step)

    def begin_schedule(self, step: int, *, ramp_steps: int, frequency: int) -> None:
        """Sets the begin in every wrapper's variables and in the schedule objects.

        Raises:
            InputError: If a value is out of range, or the schedule has no begin to set.
        """
        self.early_ticket_schedule().polynomial(step, ramp_steps, frequency)
        with self._scope():
            for wrapper in self._wrappers:
                wrapper.schedule_steps.assign([step, ramp_steps, frequency])
        self._sync_schedule()

    @contextlib.contextmanager
    def sandbox(self):
        """Everything done inside is undone bit for bit at the end, also on exceptions.

        Raises:
            InputError: If the model is not compiled.
        """
        self._check_compiled()
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
        """Runs up to `steps` training steps and returns how many. Inside a sandbox only."""
        return stepping.train(self.model, dataset, steps)

    def evaluate(self, dataset, steps: int | None = None) -> dict[str, float]:
        """Loss and scalar metrics over the data set or `steps` batches. Inside a sandbox only.

        Raises:
            InputError: If the data set is empty.
        """
        return stepping.evaluate(self.model, dataset, steps)

    def synchronize_replicas(self) -> None:
        """Makes statistics that each replica keeps for itself equal to their mean."""
        with self._scope():
            stepping.synchronize_replicas(self.model)
