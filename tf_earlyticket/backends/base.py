"""What every Keras gives to pruning: `PrunedModel`, one of each wrapped model, and `Backend`.

What is shared is here, on names and NumPy arrays; what only a framework can do is abstract.
"""

import contextlib
import logging
import math
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends.channel_graph import walk
from tf_earlyticket.backends.copying import Copier, weights_were_written
from tf_earlyticket.backends.layer_kinds import (
    FROZEN,
    Choice,
    Prunable,
    choose_layers,
    kind_of,
    matrix_shapes,
    multiplies_its_input,
    not_plain,
    output_layers,
    prunable_weights,
)
from tf_earlyticket.backends.layers import (
    as_computed,
    called_as,
    named_layers,
    named_weights,
    recurrent_states,
)
from tf_earlyticket.backends.strategies import make_strategy
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.channels import CARRIES, ChannelGraph, LayerCost
from tf_earlyticket.pruning.masks import check_masks, is_kernel, network_sparsity
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule, PolynomialSparsity
from tf_earlyticket.pruning.scores import ScoreContext
from tf_earlyticket.pruning.select import Criterion
from tf_earlyticket.pruning.structures import Channels
from tf_earlyticket.pruning.updates import Update, progress, resolve_update, seen
from tf_earlyticket.version import __version__, installed_versions

logger = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]
# The threshold of latent weights that are no more: of pruned weights nothing is kept.
CLOSED = -1.0
# Where a schedule has no begin yet, or nothing overrides a learning rate.
UNSET = -1
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
        shape, wanted = np.shape(weights[name]), tuple(variables[name].shape)
        # Some variables of statistics have a free axis.
        fits = all(size in (None, given) for size, given in zip(wanted, shape, strict=False))
        if len(shape) != len(wanted) or not fits:
            raise InputError(f"Weight {name!r} has shape {shape}: the model's has {wanted}.")


class RandomState:
    """A copy of the state of Python's, NumPy's and, where it is in use, TensorFlow's numbers."""

    def __init__(self):
        self._numpy = np.random.get_state()
        self._python = random.getstate()
        self._operation_seeds = None
        if "tensorflow" in sys.modules:
            from tensorflow.python.eager import context

            # Absent until tf.random.set_seed is called.
            self._operation_seeds = getattr(context.context(), "_rng", None)
        if self._operation_seeds is not None:
            self._operation_state = self._operation_seeds.getstate()

    def restore(self) -> None:
        """Puts the state back. May be called more than once."""
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        if self._operation_seeds is not None:
            self._operation_seeds.setstate(self._operation_state)


class PrunedModel(ABC):
    """What callbacks, probe and export need of a wrapped model; knows nothing of when or why.

    Arrays are keyed by the weight's name in model order. Masks are bool, True = kept.

    Args:
        model: The wrapped model.
        weights: Its prunable variables by name.
        schedule: Its own, a copy of the user's.
        criterion: Which weights are kept.
        update: What becomes of masks at the steps of the schedule.

    Attributes:
        model: As given.
        criterion: As given.
        update: As given.
        record: What its ticket should tell of its training in this process.
        score_data: Returns batches for scores that look at more than weights, the same each time;
            set by callbacks that have training data.
    """

    def __init__(
        self, model, weights: Mapping[str, Any], schedule, criterion: Criterion, update: Update
    ):
        self.model, self.criterion, self.update = model, criterion, update
        self._weights, self._schedule = dict(weights), schedule
        if criterion.of_channels:
            layers = named_layers(model)
            graph = walk(model, layers, named_weights(model)).only(weights)
            self.criterion = criterion.bound(graph, _multiple(layers))
        else:
            shapes = matrix_shapes(named_layers(model).values())
            known = {n: shapes[id(w)] for n, w in weights.items() if id(w) in shapes}
            self.criterion = criterion.in_matrices(known, self._inputs_last())
        self.record = TrainingRecord()
        self.score_data: Callable[[], Any] | None = None
        # Masks and steps of the schedule as they were last written or noted.
        self._kept: tuple[Arrays, tuple[int, int, int] | None] = {}, None
        self._adds_to_loss = False
        # Past Keras' tracking, which would save it with the model.
        object.__setattr__(model, _ATTRIBUTE, self)

    # What each framework does in its own way.

    @property
    @abstractmethod
    def _optimizer(self):
        """The optimizer that updates the weights, inside a loss-scaling one or not, or None."""

    @abstractmethod
    def _read(self, variables: Mapping[str, Any]) -> Arrays:
        """Values of variables as read-only arrays, copied only where that is needed."""

    @abstractmethod
    def _assign(self, variables: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
        """Writes variables."""

    @abstractmethod
    def _mask_variables(self) -> dict[str, Any]:
        """The variables that hold the masks."""

    @abstractmethod
    def _write_masks(self, masks: Arrays) -> None:
        """Writes masks; zeroes pruned weights and their optimizer slots."""

    @abstractmethod
    def _latent_variables(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the network does not see of each weight, and its threshold; none unless latent.

        Where the threshold is not `CLOSED`, every optimizer step moves weight and rest together.
        """

    @abstractmethod
    def _read_steps(self) -> tuple[int, int, int] | None:
        """Begin, ramp and frequency as checkpoints restore them; None before the begin."""

    @abstractmethod
    def _write_steps(self, steps: tuple[int, int, int]) -> None:
        """Sets begin, ramp and frequency."""

    @abstractmethod
    def _optimizer_variables(self) -> dict[tuple[str, str], Any]:
        """Every variable of the optimizer, not the masks, by weight ("": of none) and name."""

    @abstractmethod
    def _prepare_optimizer(self) -> None:
        """Creates the optimizer's slots and makes the learning rate settable."""

    @abstractmethod
    def _snapshot(self) -> Callable[[], None]:
        """Copies everything that training changes; returns a function that puts it back."""

    @abstractmethod
    def _gradients(self, batch) -> Arrays:
        """Gradients of the compiled loss in the prunable weights. Inside a sandbox only."""

    @abstractmethod
    def _predict(self, batch) -> None:
        """Calls the layers one by one, not compiled, on the inputs of a batch."""

    @abstractmethod
    def finish(self) -> None:
        """Undoes what `prepare` changed in the user's optimizer."""

    @abstractmethod
    def step(self) -> int:
        """Training steps done so far, 0 without an optimizer."""

    @abstractmethod
    def steps_per_call(self) -> int:
        """Training steps between two callbacks: `steps_per_execution`."""

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
        """Loss and scalar metrics over the data set or `steps` batches. Inside a sandbox only.

        Raises:
            InputError: If the data set is empty.
        """

    @abstractmethod
    def synchronize_replicas(self) -> None:
        """Makes statistics that each replica keeps for itself (BatchNorm) equal to their mean."""

    # What follows from that, the same for all.

    def _check_compiled(self) -> None:
        if self._optimizer is None:
            raise InputError("The model has no optimizer: call model.compile(...) before training.")

    def prepare(self) -> None:
        """Call once before training: creates optimizer slots, makes the learning rate settable.

        Raises:
            InputError: If the model is not compiled, or its optimizer cannot keep weights sparse.
        """
        self._check_compiled()
        self.check_layers()
        if self.update.latent and getattr(self._optimizer, "use_ema", False):
            raise checks.refuse("use_ema", True, f"False with {self.update}, or update='shrink'")
        self._prepare_optimizer()

    def check_layers(self) -> None:
        """Checks that zeros in the pruned weights still mean what they did when it was wrapped.

        Raises:
            InputError: If not: LoRA was enabled since, or the model quantised.
        """
        layers = self.named_layers()
        for name in self._weights:
            layer = name.rpartition("/")[0]
            if reason := not_plain(layers.get(layer)):
                raise InputError(
                    f"Layer {layer!r} has changed since wrap_for_pruning ({reason}): expected that "
                    "of what et.strip_pruning returns, or of the exported network."
                )

    def named_layers(self) -> dict[str, Any]:
        """All layers that are not models themselves by path, in model order, without wrappers."""
        return named_layers(self.model)

    def weights(self) -> Arrays:
        """Host copies of the prunable weights."""
        return _copies(self.weight_views())

    def weight_views(self) -> Arrays:
        """The prunable weights for a short look: read-only, copied only where that is needed."""
        return self._read(self._weights)

    def all_weights(self) -> Arrays:
        """Host copies of every weight of the plain model: kernels, biases, BatchNorm."""
        return _copies(self._read(named_weights(self.model)))

    def set_all_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight of the plain model, then masks them.

        Raises:
            InputError: If a name is missing or unknown, or a shape differs; nothing is written.
        """
        variables = named_weights(self.model)
        check_weights(weights, variables)
        self._assign(variables, weights)
        weights_were_written(self.model)
        self._close()
        self.apply_masks()

    def masks(self) -> Arrays:
        """Host copies of the masks, bool."""
        views = self._read(self._mask_variables())
        return {name: np.array(mask, bool) for name, mask in views.items()}

    def network_sparsity(self, masks: Mapping[str, np.ndarray]) -> float:
        """The part of all kernels that masks prune, a fraction."""
        named = named_weights(self.model).items()
        return network_sparsity(masks, {name: tuple(weight.shape) for name, weight in named})

    def layer_costs(self, masks: Mapping[str, np.ndarray] | None = None) -> list[LayerCost]:
        """What each layer with weights costs, dense, masked and with channels taken out.

        Args:
            masks: Instead of the present ones.
        """
        masks = self.masks() if masks is None else masks
        graph = walk(self.model, self.named_layers(), named_weights(self.model), needed=False)
        return graph.layer_costs(graph.without_readers({**self.all_weights(), **masks}), masks)

    def ranked_masks(self, sparsity: float, previous: Arrays | None = None) -> Arrays:
        """Masks of the present weights at `sparsity`, by the model's criterion.

        Args:
            sparsity: Fraction to prune, in [0, 1).
            previous: Masks in which pruned weights stay pruned; default the present ones.

        Raises:
            InputError: If `sparsity` is below that of `previous`, or weights are not finite.
        """
        previous = self.masks() if previous is None else previous
        return self.criterion.masks(self.score_context(), sparsity, previous)

    def updated_masks(self, sparsity: float, step: int, *, again: bool = False) -> Arrays | None:
        """Masks that are due at a step by the model's update, None if the present ones are.

        Args:
            sparsity: As `due_sparsity` gave it.
            step: Training steps done.
            again: Whether the update may have been made before: a run that goes on asks for it.

        Raises:
            InputError: As `ranked_masks`, or if gradients are asked for and not finite.
        """
        present, ramp = self.masks(), self.sparsity_schedule()
        part = 1.0 if ramp is None else progress(ramp, step)
        # Steps past the ramp's end that nobody attended may have left weights that train on unseen.
        closing = self._is_open() and not self.masks_may_grow(step)
        done = self.update.is_done(self.criterion, sparsity, present, part, again)
        if done and not closing:
            return None
        criterion = self.criterion.towards(self.final_sparsity_in_force())
        return self.update.masks(criterion, self.score_context(), sparsity, present, part)

    def masks_may_grow(self, step: int) -> bool:
        """Whether pruned weights may still return after a step."""
        ramp = self.sparsity_schedule()
        return self.update.grows and (ramp is None or step < ramp.end_step)

    def score_context(self) -> ScoreContext:
        """What the criterion's score may look at: more than weights once `score_data` is set."""
        weights = self._latent_weights()
        if self.score_data is None:
            return ScoreContext(weights)
        return ScoreContext(
            weights,
            gradients=self._mean_gradients,
            activations=self._mean_activations,
            inputs_last=self._inputs_last(),
        )

    def _inputs_last(self) -> set[str]:
        """Returns the names of the prunable kernels [..., c_out, c_in]."""
        layers = self.named_layers()
        kernels = {name for name, weight in self._weights.items() if len(weight.shape) > 1}
        return {n for n in kernels if kind_of(layers.get(n.rpartition("/")[0])).inputs_last}

    def _latent_weights(self) -> Arrays:
        """The prunable weights with what the network does not see of them."""
        weights, (rests, _) = self.weight_views(), self._latent_variables()
        return {name: weights[name] + rest for name, rest in self._read(rests).items()} or weights

    def _mean_gradients(self, batches: int) -> Arrays:
        sums = {name: np.zeros(w.shape) for name, w in self.weight_views().items()}
        count = 0
        with self.sandbox():
            # Also of pruned weights, which are zero: they may return.
            masks = self._mask_variables()
            self._assign(masks, {name: np.ones(w.shape, bool) for name, w in self._weights.items()})
            for batch in self._score_batches(batches):
                for name, gradient in self._gradients(batch).items():
                    sums[name] += gradient
                count += 1
        return {name: (total / count).astype(np.float32) for name, total in sums.items()}

    def _mean_activations(self, batches: int) -> Arrays:
        layers = self.named_layers()
        seen: dict[str, list[np.ndarray]] = {name: [] for name in self._weights}
        # Recurrent layers may remember what they are called with.
        with self.sandbox(), contextlib.ExitStack() as stack:
            for name, values in seen.items():
                layer = layers[name.rpartition("/")[0]]
                if not multiplies_its_input(layer):
                    raise _no_activations(name)
                stack.enter_context(_recorded_inputs(layer, values))
            for batch in self._score_batches(batches):
                self._predict(batch)
        for name, values in seen.items():
            if not values or values[0].size not in self._weights[name].shape[-2:]:
                raise _no_activations(name)
        return {name: np.mean(values, axis=0) for name, values in seen.items()}

    def _score_batches(self, batches: int):
        batch = None
        for batch in as_computed(self.model, self.score_data()).take(batches):
            yield batch
        if batch is None:
            raise InputError("train_data is empty: expected at least one batch for the score.")

    def check_masks(self, masks: Mapping[str, np.ndarray]) -> Arrays:
        """Returns the masks as bool arrays.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        return check_masks(masks, self.weight_views())

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes the masks; zeroes pruned weights and their optimizer slots. Never retraces.

        Raises:
            InputError: If names or shapes differ from the model's, or a mask is not 0/1.
        """
        masks = self.check_masks(masks)
        self.take_masks(masks)
        self._kept = masks, self._kept[1]

    def take_masks(self, masks: Arrays) -> None:
        """As `set_masks`, with masks of a file, which a `fit` under way need not keep."""
        self._write_masks(masks)
        self._close()

    def write_update(self, masks: Arrays, step: int) -> None:
        """Writes the masks of `updated_masks`; pruned weights go on training if they may return."""
        if self.update.latent and self.masks_may_grow(step):
            self._write_latent(masks)
        else:
            self.set_masks(masks)

    def _write_latent(self, masks: Arrays) -> None:
        self._kept = masks, self._kept[1]
        rests, thresholds = self._latent_variables()
        latent = self._latent_weights()
        found = {n: seen(weight, masks[n], self.update.power) for n, weight in latent.items()}
        self._assign(self._mask_variables(), masks)
        self._assign(self._weights, {name: weight for name, (weight, _) in found.items()})
        self._assign(rests, {name: latent[name] - weight for name, (weight, _) in found.items()})
        self._assign(thresholds, {n: np.float32(threshold) for n, (_, threshold) in found.items()})

    def _close(self) -> None:
        """Forgets latent weights: what is pruned is gone."""
        rests, thresholds = self._latent_variables()
        self._assign(rests, {name: np.zeros(rest.shape) for name, rest in rests.items()})
        self._assign(thresholds, dict.fromkeys(thresholds, np.float32(CLOSED)))

    def _is_open(self) -> bool:
        _, thresholds = self._latent_variables()
        return any(value != CLOSED for value in self._read(thresholds).values())

    def note_masks(self) -> None:
        """Takes the present masks and schedule for those that `keep_masks` puts back."""
        self._kept = self.masks(), self._read_steps()

    def keep_masks(self) -> bool:
        """Writes masks and schedule as this object last did, where something else has since.

        Such as a callback that writes weights of an earlier time, with the masks of that time.

        Returns:
            Whether something else had, or had written pruned weights.
        """
        masks, steps = self._kept
        present = self._read(self._mask_variables())
        same = all(np.array_equal(present[name], mask) for name, mask in masks.items())
        if self._read_steps() != steps:
            same = False
            self._write_steps(steps or (UNSET,) * 3)
        if same and not self.violations():
            return False
        self.write_update(masks, self.step())
        return True

    def apply_masks(self) -> None:
        """Zeroes pruned weights and their slots again, after something else wrote weights."""
        masks = self.masks()
        if self._is_open():
            if self.violations():
                self._write_latent(masks)
        # Compiles nothing while nothing is pruned.
        elif not all(mask.all() for mask in masks.values()):
            self._write_masks(masks)

    def violations(self) -> int:
        """Number of pruned weights that are not zero: 0 unless something else wrote weights."""
        weights, masks = self.weight_views(), self.masks()
        return sum(np.count_nonzero((weights[name] != 0) & ~masks[name]) for name in weights)

    def finite(self) -> bool:
        """Whether all prunable weights are finite numbers: not where training diverged."""
        return all(np.isfinite(weight).all() for weight in self.weight_views().values())

    @property
    def schedule(self):
        """The schedule as it stands, with the begin that was set; another kind as it is."""
        steps = self._read_steps()
        if not isinstance(self._schedule, EarlyTicketSchedule) or steps is None:
            return self._schedule
        names = ("begin_step", "ramp_steps", "frequency")
        values = self._schedule.get_config()["config"] | dict(zip(names, steps, strict=True))
        return type(self._schedule)(**values)

    def early_ticket_schedule(self) -> EarlyTicketSchedule:
        """The schedule as it stands, which a probe may begin.

        Raises:
            InputError: If the model was wrapped with another kind of schedule.
        """
        if not isinstance(self._schedule, EarlyTicketSchedule):
            raise InputError(
                f"The model's schedule is a {type(self._schedule).__name__}: EarlyTicket needs an "
                "EarlyTicketPolynomialDecay; use et.MaskUpdate for other schedules."
            )
        return self.schedule

    def sparsity_schedule(self) -> PolynomialSparsity | None:
        """The schedule in force as a pure function, None while its begin is unset."""
        schedule, steps = self._schedule, self._read_steps()
        if not isinstance(schedule, EarlyTicketSchedule) or steps is None:
            return None
        # Asked for at every step, so not made and checked anew.
        if self._in_force is None or self._in_force[0] != steps:
            self._in_force = steps, schedule.polynomial(*steps)
        return self._in_force[1]

    _in_force: tuple[tuple[int, int, int], PolynomialSparsity] | None = None

    def final_sparsity(self) -> float:
        """The sparsity at which the schedule ends, as a fraction.

        Raises:
            InputError: If the schedule is of a kind that does not tell.
        """
        schedule = self._schedule
        sparsity = getattr(schedule, "final_sparsity", getattr(schedule, "target_sparsity", None))
        if sparsity is None:
            raise InputError(
                f"The model's schedule is a {type(schedule).__name__}: expected one with a "
                "final_sparsity or target_sparsity."
            )
        return sparsity

    def final_sparsity_in_force(self) -> float | None:
        """As `final_sparsity`; None while the schedule has no begin, or does not tell."""
        if isinstance(self._schedule, EarlyTicketSchedule) and self._read_steps() is None:
            return None
        names = ("final_sparsity", "target_sparsity")
        return next((getattr(self._schedule, n) for n in names if hasattr(self._schedule, n)), None)

    def final_step_in_words(self) -> str:
        """When the schedule in force reaches its final sparsity."""
        end = getattr(self.schedule, "end_step", None) or -1
        return f"at step {end}" if end >= 0 else "later"

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """The sparsity of the last update due in (after_step, step], None if none is due."""
        schedule = self.sparsity_schedule()
        due = schedule.last_update_step(step) if schedule else None
        if due is None or due <= after_step:
            return None
        return self.update.sparsity_at(schedule, due)

    def begin_schedule(self, step: int, *, ramp_steps: int, frequency: int) -> None:
        """Sets begin, length and frequency of the schedule.

        Raises:
            InputError: If a value is out of range, or the schedule has no begin to set.
        """
        self.early_ticket_schedule().polynomial(step, ramp_steps, frequency)
        self._write_steps((step, ramp_steps, frequency))
        self._kept = self._kept[0], self._read_steps()

    def continue_from(
        self, other: "PrunedModel", cut: Callable[[str, np.ndarray], np.ndarray]
    ) -> None:
        """Goes on where the training of another model is: weights, masks, optimizer and schedule.

        Args:
            other: Has the same layers, with more channels, and the same kind of optimizer.
            cut: Takes the name of a weight of `other`, and an array of its shape, and returns
                the part that this model has.

        Raises:
            InputError: If a model is not compiled, or its optimizer keeps what cannot be cut.
        """
        self.prepare()
        other.prepare()
        # By place: Keras numbers weights without a name anew.
        own = dict(zip(named_weights(other.model), named_weights(self.model), strict=True))
        shapes = {name: tuple(v.shape) for name, v in named_weights(other.model).items()}
        variables, found = self._optimizer_variables(), {}
        for (name, kind), value in other._read(other._optimizer_variables()).items():
            place = own.get(name, ""), kind
            found[place] = cut(name, value) if value.shape == shapes.get(name) else value
            if place not in variables or found[place].shape != tuple(variables[place].shape):
                raise InputError(
                    f"The optimizer's {kind!r} of {name!r} has shape {list(value.shape)}: expected "
                    "an optimizer that keeps numbers of the weight's own shape."
                )
        self._assign(variables, found)
        self.set_all_weights({own[n]: cut(n, w) for n, w in other.all_weights().items()})
        self.set_masks({own[name]: cut(name, mask) for name, mask in other.masks().items()})
        steps = other._read_steps()
        if steps is not None:
            self._write_steps(steps)

    @contextlib.contextmanager
    def sandbox(self):
        """Everything done inside is undone bit for bit at the end, also on exceptions.

        Raises:
            InputError: If the model is not compiled.
        """
        self._check_compiled()
        restore, numbers, kept = self._snapshot(), RandomState(), self._kept
        try:
            yield
        finally:
            restore()
            self._kept = kept
            numbers.restore()

    def add_to_loss(self, more: Callable[[Any, Any, Any, Any], Any] | None) -> None:
        """Adds something to the loss of training steps, which are traced anew.

        Evaluation, and the gradients that scores look at, are without it.

        Args:
            more: Called as more(loss, inputs, outputs, sample_weight) where a step is traced, it
                returns the loss with what it adds; None: the loss is the model's own again.
        """
        if more is None and not self._adds_to_loss:
            return
        model, within = self.model, []
        if self._adds_to_loss:
            del model.__dict__["train_step"], model.__dict__["compute_loss"]
        self._adds_to_loss = more is not None
        if more is not None:
            step, loss = model.train_step, model.compute_loss

            def train_step(*arguments, **options):
                within.append(0)
                try:
                    result = step(*arguments, **options)
                    added = within[-1]
                finally:
                    within.pop()
                if not added:
                    raise InputError("The model's train_step does not call its compute_loss.")
                return result

            def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, **options):
                found = loss(x, y, y_pred, sample_weight, **options)
                if not within:
                    return found
                within[-1] += 1
                return more(found, x, y_pred, sample_weight)

            # Past Keras' tracking.
            object.__setattr__(model, "train_step", train_step)
            object.__setattr__(model, "compute_loss", compute_loss)
        if model.train_function is not None:
            model.make_train_function(force=True)

    def record_rewind_weights(self, epoch: int, wanted_epoch: int) -> None:
        """Copies the weights that a ticket of the model rewinds to: those after `epoch` epochs.

        Args:
            epoch: Epochs done, 0 for the initial weights.
            wanted_epoch: After how many the user wants them; a warning says if it is too late.
        """
        if epoch > wanted_epoch:
            logger.warning("Rewind weights: those of epoch %d; earlier ones are gone.", epoch)
        self.record.rewind_weights, self.record.rewind_epoch = self.all_weights(), epoch


def _no_activations(name: str) -> InputError:
    return InputError(
        f"score asks for the activations of {name!r}: expected a convolution without groups or a "
        "dense layer, which multiplies its kernel with its input; leave others out with "
        "prunable=..."
    )


def _recorded_inputs(layer, values: list[np.ndarray]) -> contextlib.AbstractContextManager[None]:
    """Appends the mean magnitude of each channel of what the layer is called with."""
    call = layer.call

    def recording(inputs, *arguments, **options):
        array = np.asarray(inputs)
        # Not the numbers of words that an embedding looks up.
        if array.dtype.kind not in "iub":
            # None where it cannot be another axis than the last.
            first = getattr(layer, "data_format", None) == "channels_first"
            array = np.moveaxis(np.abs(array.astype(np.float32)), 1 if first else -1, -1)
            values.append(array.reshape(-1, array.shape[-1]).mean(axis=0))
        return call(inputs, *arguments, **options)

    return called_as(layer, recording)


def _multiple(layers: Mapping[str, Any]) -> int:
    """Returns the multiple of channels that the layers' number type is fast with."""
    types = {getattr(layer, "compute_dtype", None) for layer in layers.values()}
    return 16 if "bfloat16" in types else 8


def _copies(views: Arrays) -> Arrays:
    # NumPy itself has no bfloat16.
    return {
        name: np.array(view, None if view.dtype.kind in "biuf" else np.float32)
        for name, view in views.items()
    }


def kept_object(model) -> PrunedModel | None:
    """Returns what serves a model, None if there is none yet."""
    return vars(model).get(_ATTRIBUTE)


class Backend(ABC):
    """What a Keras does for pruning, for models and for a job.

    Attributes:
        framework: Its name, as `config.model.keras` has it.
        keras: Its module.
        computes_with: "tensorflow" or, Keras 3 only, "jax".
        command_prefix: What a command line needs in front to compute with the same.
        schedule_class: Of the schedules of its models, if the user gives none.
        schedule_kind: What a schedule has to be.
        starts_within_epochs: Whether a `fit` can begin within an epoch.
        shortens_calls: Whether the last of several steps at once end with an epoch of a stream.
        prunes_in_place: Whether a model can be pruned without a copy.
        instead: What else to do with a model that cannot be copied, as the end of a sentence.
        state_index: End of the name of the file without which a saved state is none.
        state_others: Pattern of the ends of the other files.
    """

    framework: str
    keras: ModuleType
    computes_with = "tensorflow"
    command_prefix = ""
    schedule_class: type
    schedule_kind: type = EarlyTicketSchedule
    starts_within_epochs: bool
    shortens_calls: bool
    prunes_in_place: bool
    instead = ""
    state_index: str
    state_others: str

    @property
    def always_compiled(self) -> bool:
        """Whether it computes by compiled steps only."""
        return self.computes_with == "jax"

    @property
    def even_batches(self) -> bool:
        """Whether several devices take only batches that they can share equally."""
        return self.computes_with == "jax"

    def made_with(self) -> dict[str, str]:
        """Returns what has to be the same where a state is gone on from, by name."""
        packages = {"tensorflow", self.computes_with, self.keras.__name__.partition(".")[0]}
        versions = {name: v for name, v in installed_versions().items() if name in packages}
        return {
            "KERAS_BACKEND": self.computes_with,
            "floatx": self.keras.backend.floatx(),
            "tf_earlyticket": __version__,
            **versions,
        }

    # What each framework does in its own way.

    @abstractmethod
    def pruned(self, model) -> PrunedModel:
        """Returns what serves a wrapped model: the same object at every call.

        Raises:
            InputError: If the model was not made by `wrap_for_pruning`.
        """

    @abstractmethod
    def _check_model(self, model) -> None:
        """Raises InputError if a model cannot be wrapped."""

    @abstractmethod
    def _wrapped(
        self, model, schedule, chosen: list[str], criterion: Criterion, update: str, copy: bool
    ):
        """Returns a copy of a model, or itself, in which layers are ready for pruning."""

    @abstractmethod
    def is_network(self, layer) -> bool:
        """Tells whether a layer is a functional or sequential model."""

    @abstractmethod
    def copy_network(self, model, copied: Callable[[Any], Any]):
        """Returns a plain functional or sequential copy of a model.

        Args:
            model: A functional or sequential model.
            copied: Returns the copy of a layer.
        """

    @abstractmethod
    def ends_of(self, model) -> tuple:
        """Returns the structures of symbolic inputs and outputs of a functional model."""

    @abstractmethod
    def transfer_variables(self, old, new) -> None:
        """Gives a layer the variables of another: weights, and what random numbers come from.

        Raises:
            ValueError: If they do not fit.
        """

    @abstractmethod
    def _inputs_as_given(self, model):
        """Returns the structure of symbolic inputs that a model was made of; None: it has none."""

    @abstractmethod
    def _tracked(self, layer) -> list:
        """Returns Keras' own list of the layers that are attributes of a layer."""

    def _forget(self, owner, layer) -> None:  # noqa: B027
        """Takes a layer from that list, where Keras does not by itself."""

    def give_layer(self, owner, name: str, layer) -> None:
        """Makes a layer an attribute of another one, at the place of the one that is there."""
        former, before = getattr(owner, name, None), list(self._tracked(owner))
        if former is layer:
            return
        self._forget(owner, former)
        setattr(owner, name, layer)
        # At the end now, and weights are listed in this order.
        tracked = self._tracked(owner)
        place = next((i for i, each in enumerate(before) if each is former), len(before))
        if tracked[-1:] == [layer]:
            tracked.insert(place, tracked.pop())

    def trusted(self) -> AbstractContextManager:
        """Lets functions be made of configs: those of this process are no risk."""
        return contextlib.nullcontext()

    def strip(self, model):
        """Returns a plain copy of a wrapped model, weights exactly as sparse."""
        return Copier(self).copy(model)

    def float32_copy(self, model):
        """Returns a copy of a plain model that computes in float32, whatever it trained in.

        Raises:
            InputError: If a layer cannot be copied.
        """
        return Copier(self, float32=True).copy(model)

    def exportable(self, model):
        """Returns the plain model of a wrapped one, in float32 where that can be."""
        plain = self.float32_copy(self.strip(model))
        for state in recurrent_states(plain):
            # What is served begins a series of its own.
            state.assign(np.zeros(state.shape))
        return plain

    def named_layers(self, model) -> dict[str, Any]:
        """Returns every layer that is not itself a model by path, without pruning wrappers."""
        return named_layers(model)

    def named_weights(self, model) -> dict[str, Any]:
        """Returns every weight variable of a plain or wrapped model by name, without masks."""
        return named_weights(model)

    def write_weights(self, model, weights: Mapping[str, np.ndarray]) -> None:
        """Writes every weight of a plain model.

        Raises:
            InputError: If a name is missing or unknown, or a shape differs; nothing is written.
        """
        variables = self.named_weights(model)
        check_weights(weights, variables)
        for name, variable in variables.items():
            dtype = getattr(variable.dtype, "as_numpy_dtype", None)
            variable.assign(np.asarray(weights[name], dtype))
        weights_were_written(model)

    def resized(self, model, configs: Mapping[str, Callable[[dict], dict]], weights: Arrays):
        """Returns a plain copy of a plain model whose layers have other sizes.

        Args:
            model: A functional or sequential model.
            configs: What changes the config of a layer, by its name.
            weights: Every weight of the new model by name.

        Raises:
            InputError: If a layer cannot be copied, or a weight does not fit.
        """
        layers = self.named_layers(model)
        copy = Copier(
            self, changes={id(layers[name]): change for name, change in configs.items()}
        ).copy(model)
        # By place: Keras numbers weights without a name anew.
        names = zip(self.named_weights(copy), self.named_weights(model), strict=True)
        self.write_weights(copy, {new: weights[old] for new, old in names})
        return copy

    def inputs_of(self, model):
        """Returns what a model takes: an input, or a list, tuple or dict of several.

        One in a list is the one itself. None for a model that does not tell (a subclassed one).
        """
        inputs = self._inputs_as_given(model)
        one = isinstance(inputs, (list, tuple)) and len(inputs) == 1
        return inputs[0] if one else inputs

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
    def reset_names(self) -> None:
        """Lets unnamed layers of the next model be numbered as those of the first."""

    @abstractmethod
    def _loss_scaled(self, optimizer):
        """Returns an optimizer that scales the loss, around another one."""

    @abstractmethod
    def stop_gradient(self, values):
        """Returns a tensor as it is, through which no gradient passes."""

    @abstractmethod
    def cast(self, values, dtype: str):
        """Returns a tensor of another type of numbers."""

    @abstractmethod
    def warmed_up(self, learning_rate, steps: int):
        """Returns a learning rate that rises in so many steps to another, a number or schedule."""

    # What follows from that, or is the same for all.

    @contextlib.contextmanager
    def devices(self, strategy: str, tpu: str | None = None) -> Iterator[Any]:
        """Gives a job its devices, for all that it does within the block.

        Args:
            strategy: As for `make_strategy`, of those that `check_served` lets pass.
            tpu: As for `make_strategy`.

        Yields:
            A `tf.distribute.Strategy`, or what has its `scope()` and `num_replicas_in_sync`.

        Raises:
            InputError: If there are no such devices.
        """
        yield make_strategy(strategy, tpu)

    def wrap(
        self,
        model,
        schedule,
        prunable: Prunable,
        criterion: Criterion,
        update: str = "shrink",
        copy: bool = True,
    ):
        """Returns a model that is ready for pruning; see `wrap_for_pruning`."""
        if not copy and not self.prunes_in_place:
            raise checks.refuse(
                "copy",
                copy,
                "True for tf_keras, whose wrappers replace layers: give layers that cannot be "
                "copied a get_config() that returns what their constructors take",
            )
        if not isinstance(schedule, self.schedule_kind):
            raise InputError(
                f"schedule is a {type(schedule).__name__}: expected "
                f"{self.schedule_kind.__name__} such as EarlyTicketPolynomialDecay()."
            )
        updated = resolve_update(update)
        updated.check(criterion)
        if updated.grows and not isinstance(schedule, EarlyTicketSchedule):
            expected = f"'shrink' with a {type(schedule).__name__}"
            raise checks.refuse("update", update, expected)
        self._check_model(model)
        choice = self.choose(model, prunable, criterion)
        if not choice.chosen:
            layers = self.named_layers(model)
            dense = [
                f"{n}: {why}" for n, why in choice.reasons.items() if kind_of(layers[n]).weights
            ]
            raise InputError(
                f"Model {model.name!r} has no prunable layer ({'; '.join(dense) or 'no kernel'}): "
                "expected a convolution or dense layer besides these, or prunable=..."
            )
        if isinstance(schedule, EarlyTicketSchedule):
            # A schedule that served one model must not begin early in the next.
            schedule = type(schedule).from_config(schedule.get_config())
        sizes = {
            name: math.prod(weight.shape)
            for name, weight in self.prunable_weights(model, choice.chosen).items()
        }
        for name in ("final_sparsity", "target_sparsity"):
            if hasattr(schedule, name):
                criterion.check_sparsity(name, getattr(schedule, name), final=True)
                criterion.check_layers(sizes, getattr(schedule, name))
        if criterion.of_channels:
            final = getattr(schedule, "final_sparsity", 0)
            self.check_channels(model, final, criterion, prunable)
        return self._wrapped(model, schedule, choice.chosen, criterion, update, copy)

    def choose(
        self, model, prunable: Prunable = None, criterion: Criterion | None = None
    ) -> Choice:
        """Returns which layers of a plain or wrapped model are pruned; see `wrap_for_pruning`.

        Args:
            model: A model.
            prunable: As for `wrap_for_pruning`.
            criterion: Of whole channels, all layers that make or read some take part; None: it is
                one of single weights.

        Raises:
            InputError: For a layer that is not of the model or cannot be pruned.
        """
        layers = self.named_layers(model)
        trained = {id(weight) for weight in model.trainable_weights}
        if criterion is None or not criterion.of_channels:
            return choose_layers(
                layers, prunable, trained, lambda: self._output_layers(model, layers)
            )
        graph, reasons = self._free_channels(model, prunable)
        chosen = {name.rpartition("/")[0] for name in graph.kernels()}
        other = "makes and reads no channel that can be taken out"
        reasons = {name: reasons.get(name, other) for name in layers if name not in chosen}
        return Choice([name for name in layers if name in chosen], reasons)

    def _free_channels(self, model, prunable: Prunable) -> tuple[ChannelGraph, dict[str, str]]:
        """Returns the graph in which what `prunable` leaves out is pinned, and why layers are."""
        graph, weights = self.channel_graph(model), self.named_weights(model)
        trained = {id(weight) for weight in model.trainable_weights}
        if prunable is not None:
            choice = choose_layers(self.named_layers(model), prunable, trained, lambda: ())
            return graph.only(self.prunable_weights(model, choice.chosen)), choice.reasons
        frozen = {name for name, weight in weights.items() if id(weight) not in trained}
        kernels = {use.weight for use in graph.uses if use.role != CARRIES} & frozen
        reasons = dict.fromkeys((name.rpartition("/")[0] for name in kernels), FROZEN)
        return graph.only(set(weights) - frozen, f"is {FROZEN}"), reasons

    def channels_of(self, model, criterion: Criterion, prunable: Prunable = None) -> Channels:
        """Returns the structure of whole channels of a plain model; see `wrap_for_pruning`."""
        graph, _ = self._free_channels(model, prunable)
        return criterion.bound(graph, _multiple(self.named_layers(model))).structure

    def channel_graph(self, model) -> ChannelGraph:
        """Returns the channels of a plain or wrapped model; see `et.channel_graph`."""
        return walk(model, self.named_layers(model), self.named_weights(model))

    def check_channels(
        self, model, final: float, criterion: Criterion, prunable: Prunable = None
    ) -> None:
        """Checks that channels can be pruned to a sparsity `final`, and says what is slow.

        Raises:
            InputError: If they cannot.
        """
        structure = self.channels_of(model, criterion, prunable)
        weights = {name: self.named_weights(model)[name] for name in structure.network.kernels()}
        highest, multiple = (
            structure.highest_sparsity(weights),
            _multiple(self.named_layers(model)),
        )
        if final > highest:
            # Rounded down: it will be given next.
            highest = math.floor(1000 * highest) / 1000
            expected = f"at most {highest}, where each family of channels is at its floor"
            raise checks.refuse("final_sparsity", final, expected)
        if multiple > 8 and structure.multiple % multiple:
            logger.warning(
                "Channels come in multiples of %d: training in bfloat16 is fast with multiples of "
                "%d only.",
                structure.multiple,
                multiple,
            )

    def _output_layers(self, model, layers: Mapping[str, Any]) -> set[int]:
        return output_layers(model, [layer for layer in layers.values() if kind_of(layer).default])

    def prunable_layers(self, model, prunable: Prunable = None) -> list[str]:
        """Returns the names of the layers that `wrap_for_pruning` would prune, in model order."""
        return self.choose(model, prunable).chosen

    def prunable_weights(self, model, chosen: list[str]) -> dict[str, Any]:
        """Returns the weights of the layers `chosen` that are pruned, by name, in model order."""
        layers, weights = self.named_layers(model), self.named_weights(model)
        wanted = {id(weight) for name in chosen for weight in prunable_weights(layers[name])}
        return {name: weight for name, weight in weights.items() if id(weight) in wanted}

    def left_dense(
        self, model, prunable: Prunable = None, criterion: Criterion | None = None
    ) -> dict[str, str]:
        """Returns why each kernel (a weight with two or more axes, no bias) is not pruned, by name.

        Args:
            model: A plain model, or a wrapped one.
            prunable: As for `wrap_for_pruning`, of a plain model.
            criterion: As for `choose`, of a plain model.
        """
        wrapped = kept_object(model)
        choice = self.choose(model, prunable, wrapped.criterion if wrapped else criterion)
        pruned = wrapped.masks() if wrapped else self.prunable_weights(model, choice.chosen)
        used = {name.rpartition("/")[0] for name in pruned}
        reasons = {}
        for name, weight in self.named_weights(model).items():
            layer = name.rpartition("/")[0]
            if is_kernel(name, weight.shape) and name not in pruned:
                reasons[name] = choice.reasons.get(layer, "not chosen by prunable")
                if layer in used:
                    reasons[name] = "another weight of its layer is pruned"
        return reasons

    def optimizer(self, name: str, learning_rate, *, loss_scale: bool = False, **options):
        """Returns an optimizer, a class of `keras.optimizers`, for float16 with a loss scale."""
        optimizer = getattr(self.keras.optimizers, name)(learning_rate, **options)
        return self._loss_scaled(optimizer) if loss_scale else optimizer

    def learning_rate_schedule(self, name: str, warmup_steps: int = 0, **arguments):
        """Returns a learning rate of `keras.optimizers.schedules`, with a linear rise before it."""
        schedule = getattr(self.keras.optimizers.schedules, name)(**arguments)
        return self.warmed_up(schedule, warmup_steps) if warmup_steps else schedule

    def classification_loss(self, label_smoothing: float = 0.0):
        """Returns the cross entropy of logits and labels 0 to n - 1.

        Args:
            label_smoothing: Part of each label that is spread evenly over all classes, in [0, 1).
        """
        losses = self.keras.losses
        if not label_smoothing:
            return losses.SparseCategoricalCrossentropy(from_logits=True)

        def smoothed(labels, logits):
            spread = 0 * logits + 1 / logits.shape[-1]
            label = losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            even = losses.categorical_crossentropy(spread, logits, from_logits=True)
            return (1 - label_smoothing) * label + label_smoothing * even

        return smoothed

    def set_random_seed(self, seed: int) -> None:
        """Seeds Python, NumPy and the framework."""
        self.keras.utils.set_random_seed(seed)
