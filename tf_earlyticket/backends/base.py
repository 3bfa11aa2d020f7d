"""The protocol between everything that decides and the framework that holds the model."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import check_masks
from tf_earlyticket.pruning.rankings import compute_masks
from tf_earlyticket.pruning.schedule import PolynomialSparsity

Arrays = dict[str, np.ndarray]


class PruningAdapter(Protocol):
    """What the callbacks, the probe and the export need of a model; knows nothing of when or why.

    Arrays are keyed by the weight's name in model order. Masks are bool, True = kept.
    """

    ranking: str
    group_size: int

    def prepare(self) -> None:
        """Call once before training: creates optimizer slots, makes the learning rate settable."""

    def finish(self) -> None:
        """Undoes what `prepare` changed in the user's optimizer."""

    def weights(self) -> Arrays:
        """Host copies of the prunable weights."""

    def layers(self) -> list[str]:
        """Paths of all layers that are not models themselves, in model order."""

    def all_weights(self) -> Arrays:
        """Host copies of every weight of the plain model: kernels, biases, BatchNorm."""

    def set_all_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight of the plain model, then masks them."""

    def masks(self) -> Arrays:
        """Host copies of the masks."""

    def ranked_masks(self, sparsity: float, previous: Arrays | None = None) -> Arrays:
        """Masks of the present weights, in which what `previous` (default: now) prunes stays so."""

    def check_masks(self, masks: Mapping[str, np.ndarray]) -> Arrays:
        """The masks as bool arrays; raises InputError if they do not fit the model."""

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes the masks; zeroes pruned weights and their optimizer slots. Never retraces."""

    def apply_masks(self) -> None:
        """Zeroes pruned weights again, after something else has written weights."""

    def violations(self) -> int:
        """Number of pruned weights that are not zero: 0 unless something else wrote weights."""

    def step(self) -> int:
        """Optimizer steps done so far."""

    def steps_per_call(self) -> int:
        """Optimizer steps between two callbacks: `steps_per_execution`."""

    def sparsity_schedule(self) -> PolynomialSparsity | None:
        """The schedule in force, None while its begin is unset."""

    def early_ticket_schedule(self):
        """The `EarlyTicketPolynomialDecay` of the model, as the user set it and as it stands."""

    def final_sparsity(self) -> float:
        """The sparsity at which the schedule ends, as a fraction."""

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """The sparsity of the last update due in (after_step, step], None if none is due."""

    def begin_schedule(self, step: int, *, ramp_steps: int, frequency: int) -> None:
        """Sets the begin, length and frequency of the schedule, in every wrapper."""

    def sandbox(self) -> AbstractContextManager[None]:
        """Everything done inside is undone bit for bit at the end, also on exceptions."""

    def learning_rate(self) -> float:
        """The learning rate of the next step."""

    def set_learning_rate(self, value: float) -> None:
        """Sets a constant learning rate. Inside a sandbox only."""

    def train(self, dataset, steps: int) -> int:
        """Runs up to `steps` training steps and returns how many. Inside a sandbox only."""

    def evaluate(self, dataset, steps: int | None = None) -> dict[str, float]:
        """Loss and scalar metrics over the data set. Inside a sandbox only."""

    def synchronize_replicas(self) -> None:
        """Makes statistics that each replica keeps for itself (BatchNorm) equal to their mean."""


def check_weights(weights: Mapping[str, np.ndarray], variables: Mapping[str, object]) -> None:
    """Checks arrays against a model's variables, by name.

    Raises:
        InputError: If a name is missing or unknown, or a shape differs.
    """
    for name in [*variables, *weights]:
        if name not in weights or name not in variables:
            where = "the model" if name in weights else "the given weights"
            raise InputError(f"Weight {name!r} is not in {where}.")
        if tuple(variables[name].shape) != np.shape(weights[name]):
            raise InputError(
                f"Weight {name!r} has shape {np.shape(weights[name])}: the model's has "
                f"{tuple(variables[name].shape)}."
            )


class MaskedWeights:
    """What adapters share: all that follows from a look at weights and masks."""

    ranking: str
    group_size: int

    def weight_views(self) -> Arrays:
        """The prunable weights for a short look: read-only, copied only where that is needed."""
        raise NotImplementedError

    def ranked_masks(self, sparsity: float, previous: Arrays | None = None) -> Arrays:
        """Masks of the present weights at `sparsity`, by the model's ranking and group size.

        Args:
            sparsity: Fraction to prune, in [0, 1).
            previous: Masks in which pruned weights stay pruned; default the present ones.

        Raises:
            InputError: If `sparsity` is below that of `previous`, or weights are not finite.
        """
        return compute_masks(
            self.weight_views(),
            sparsity,
            ranking=self.ranking,
            group_size=self.group_size,
            previous=self.masks() if previous is None else previous,
        )

    def check_masks(self, masks: Mapping[str, np.ndarray]) -> Arrays:
        """Returns the masks as bool arrays.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        return check_masks(masks, self.weight_views())

    def apply_masks(self) -> None:
        """Zeroes pruned weights and their slots again; compiles nothing while nothing is pruned."""
        masks = self.masks()
        if not all(mask.all() for mask in masks.values()):
            self.set_masks(masks)

    def violations(self) -> int:
        """Number of pruned weights that are not zero."""
        weights, masks = self.weight_views(), self.masks()
        return sum(np.count_nonzero((weights[name] != 0) & ~masks[name]) for name in weights)
