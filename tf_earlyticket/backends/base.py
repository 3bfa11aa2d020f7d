"""What every Keras gives to pruning: `PrunedModel`, one of each wrapped model, and `Backend`.

What is shared is here, on names and NumPy arrays; what only a framework can do is abstract.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import check_masks
from tf_earlyticket.pruning.schedule import PolynomialSparsity
from tf_earlyticket.pruning.select import Criterion, resolve_criterion

logger = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]
# Of a wrapped model. With this beginning, neither Keras looks into it when it saves a model.
_ATTRIBUTE = "__tf_earlyticket__"


@dataclass
class TrainingRecord:
    """What the callbacks learn while a model trains and its ticket should tell.

    Attributes:
        rewind_weights: Every weight of the plain model at the end of `rewind_epoch`.
        rewind_epoch: Epochs done when they were copied, 0 for the initial weights.
        start_epoch: Epoch at whose end pruning started, from 1; None if not by a probe.
        start_reason: Why then.
    """

    rewind_weights: Arrays = field(default_factory=dict)
    rewind_epoch: int | None = None
    start_epoch: int | None = None
    start_reason: str = ""

    def start(self, epoch: int, reason: str) -> None:
        """Notes that pruning started at the end of `epoch`, and why."""
        self.start_epoch, self.start_reason = epoch, reason


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


class PrunedModel(ABC):
    """What callbacks, probe and export need of a wrapped model; knows nothing of when or why.

    Arrays are keyed by the weight's name in model order. Masks are bool, True = kept.

    Attributes:
        model: The wrapped model.
        ranking: As for `wrap_for_pruning`.
        group_size: As for `wrap_for_pruning`.
        record: What its ticket should tell of its training in this process.
    """

    ranking: str
    group_size: int

    def __init__(self, model):
        self.model = model
        self.record = TrainingRecord()

    @classmethod
    def of(cls, model):
        """Returns the object of a model: the same one at every call, gone when the model is.

        Raises:
            InputError: If the model was not made by `wrap_for_pruning`.
        """
        kept = vars(model).get(_ATTRIBUTE)
        if kept is None:
            kept = cls(model)
            kept.remember()
        return kept

    def remember(self) -> None:
        """Makes this the object of its model."""
        # Past Keras' tracking, which would save it with the model.
        object.__setattr__(self.model, _ATTRIBUTE, self)

    @abstractmethod
    def prepare(self) -> None:
        """Call once before training: creates optimizer slots, makes the learning rate settable."""

    @abstractmethod
    def finish(self) -> None:
        """Undoes what `prepare` changed in the user's optimizer."""

    @abstractmethod
    def weights(self) -> Arrays:
        """Host copies of the prunable weights."""

    @abstractmethod
    def layers(self) -> list[str]:
        """Paths of all layers that are not models themselves, in model order."""

    @abstractmethod
    def all_weights(self) -> Arrays:
        """Host copies of every weight of the plain model: kernels, biases, BatchNorm."""

    @abstractmethod
    def set_all_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight of the plain model, then masks them."""

    @abstractmethod
    def masks(self) -> Arrays:
        """Host copies of the masks."""

    @abstractmethod
    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes the masks; zeroes pruned weights and their optimizer slots. Never retraces."""

    @abstractmethod
    def step(self) -> int:
        """Optimizer steps done so far."""

    @abstractmethod
    def steps_per_call(self) -> int:
        """Optimizer steps between two callbacks: `steps_per_execution`."""

    @abstractmethod
    def sparsity_schedule(self) -> PolynomialSparsity | None:
        """The schedule in force, None while its begin is unset."""

    @abstractmethod
    def early_ticket_schedule(self):
        """The `EarlyTicketPolynomialDecay` of the model, as the user set it and as it stands."""

    @abstractmethod
    def final_sparsity(self) -> float:
        """The sparsity at which the schedule ends, as a fraction."""

    @abstractmethod
    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """The sparsity of the last update due in (after_step, step], None if none is due."""

    @abstractmethod
    def begin_schedule(self, step: int, *, ramp_steps: int, frequency: int) -> None:
        """Sets the begin, length and frequency of the schedule, in every wrapper."""

    @abstractmethod
    def sandbox(self) -> AbstractContextManager[None]:
        """Everything done inside is undone bit for bit at the end, also on exceptions."""

    @abstractmethod
    def learning_rate(self) -> float:
        """The learning rate of the next step."""

    @abstractmethod
    def set_learning_rate(self, value: float) -> None:
        """Sets a constant learning rate. Inside a sandbox only."""

    @abstractmethod
    def train(self, dataset, steps: int) -> int:
        """Runs up to `steps` training steps and returns how many. Inside a sandbox only."""

    @abstractmethod
    def evaluate(self, dataset, steps: int | None = None) -> dict[str, float]:
        """Loss and scalar metrics over the data set. Inside a sandbox only."""

    @abstractmethod
    def synchronize_replicas(self) -> None:
        """Makes statistics that each replica keeps for itself (BatchNorm) equal to their mean."""

    @cached_property
    def criterion(self) -> Criterion:
        """Which weights are kept, as `wrap_for_pruning` was told."""
        return resolve_criterion(self.ranking, self.group_size)

    @abstractmethod
    def weight_views(self) -> Arrays:
        """The prunable weights for a short look: read-only, copied only where that is needed."""

    def ranked_masks(self, sparsity: float, previous: Arrays | None = None) -> Arrays:
        """Masks of the present weights at `sparsity`, by the model's ranking and group size.

        Args:
            sparsity: Fraction to prune, in [0, 1).
            previous: Masks in which pruned weights stay pruned; default the present ones.

        Raises:
            InputError: If `sparsity` is below that of `previous`, or weights are not finite.
        """
        previous = self.masks() if previous is None else previous
        return self.criterion.masks(self.weight_views(), sparsity, previous)

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

    def record_rewind_weights(self, epoch: int, wanted_epoch: int) -> None:
        """Copies the weights that a ticket of the model rewinds to: those after `epoch` epochs.

        Args:
            epoch: Epochs done, 0 for the initial weights.
            wanted_epoch: After how many the user wants them; a warning says if it is too late.
        """
        if epoch > wanted_epoch:
            logger.warning("Rewind weights: those of epoch %d; earlier ones are gone.", epoch)
        self.record.rewind_weights, self.record.rewind_epoch = self.all_weights(), epoch


class Backend(ABC):
    """What a Keras does for pruning, for models and for a job.

    Attributes:
        framework: Its name, as `config.model.keras` has it.
        keras: Its module.
        computes_with: "tensorflow" or, Keras 3 only, "jax".
        command_prefix: What a command line needs in front to compute with the same.
        schedule_class: Of the schedules of its models.
        starts_within_epochs: Whether a `fit` can begin within an epoch.
        state_index: End of the name of the file without which a saved state is none.
        state_others: Pattern of the ends of the other files.
    """

    framework: str
    keras: ModuleType
    computes_with = "tensorflow"
    command_prefix = ""
    schedule_class: type
    starts_within_epochs: bool
    state_index: str
    state_others: str

    @property
    def always_compiled(self) -> bool:
        """Whether it computes by compiled steps only."""
        return self.computes_with == "jax"

    @abstractmethod
    def pruned(self, model) -> PrunedModel:
        """Returns what serves a wrapped model: the same object at every call."""

    @abstractmethod
    def wrap(self, model, schedule, *, prunable, ranking: str, group_size: int):
        """Returns a copy of a model that is ready for pruning; see `wrap_for_pruning`."""

    @abstractmethod
    def strip(self, model):
        """Returns a plain copy of a wrapped model, weights exactly as sparse."""

    @abstractmethod
    def float32_copy(self, model):
        """Returns a copy of a plain model that computes in float32, whatever it trained in."""

    @abstractmethod
    def prunable_layers(self, model, prunable=None) -> list[str]:
        """Returns the names of the layers that `wrap_for_pruning` would prune, in model order."""

    @abstractmethod
    def named_weights(self, model) -> dict[str, Any]:
        """Returns every weight variable of a plain or wrapped model by name, without masks."""

    @abstractmethod
    def save_model(self, model, directory: Path) -> None:
        """Writes a plain model as a SavedModel, endpoints `serve` and `serving_default`."""

    @abstractmethod
    def write_state(self, model, path: Path) -> None:
        """Writes model, masks and optimizer to files whose names begin with `path`.

        Raises:
            OSError: If they cannot be written.
        """

    @abstractmethod
    def read_state(self, model, path: Path) -> None:
        """Reads what `write_state` wrote.

        Raises:
            ValueError: If it is not whole or not of this model.
        """

    def point_to(self, directory: Path, name: str) -> None:  # noqa: B027
        """Tells the framework's own tools which saved state is the latest, where they ask."""

    def start_within(self, model, step: int) -> None:
        """Lets the first epoch of the next `fit` begin at a step; 0: as usual again."""
        raise NotImplementedError

    def metric_values(self, model) -> list:
        """Returns what the metrics have counted so far, as plain lists."""
        raise NotImplementedError

    def set_metric_values(self, model, values: list) -> None:
        """Takes the result of `metric_values`."""
        raise NotImplementedError

    @abstractmethod
    def dtype_policy(self, name: str) -> AbstractContextManager[None]:
        """Sets the global dtype policy and puts the former one back."""

    @abstractmethod
    def sgd(self, learning_rate, momentum: float, *, loss_scale: bool = False):
        """Returns SGD with momentum, for float16 with a loss scale."""

    def stepwise_learning_rate(self, boundaries: list[int], values: list[float]):
        """Returns a learning rate that changes after the steps `boundaries`."""
        return self.keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)

    def set_random_seed(self, seed: int) -> None:
        """Seeds Python, NumPy and the framework."""
        self.keras.utils.set_random_seed(seed)
