"""`PPRProbe`: pseudo-prune, retrain a little, look at the accuracy, undo everything."""

import logging
import math
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.backends.probe_data import check_first_batch, probe_dataset, split_arrays
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.detectors.base import Observation
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.pruning.plan import LEARNING_RATE_SHARE, retraining_steps

logger = logging.getLogger(__name__)
# Ends of the names of metrics, as both Keras have them.
_LARGER = "acc|accuracy|auc|precision|recall|sensitivity|specificity|score|iou|io_u|similarity"
_SMALLER = "loss|error|crossentropy|hinge|poisson|divergence|mae|mse|rmse|mape|msle|cosh|huber"


def is_better_larger(monitor: str) -> bool | None:
    """Tells by the name of a metric whether a greater value is better; None: it does not tell."""
    # Keras numbers metrics of one name: "auc_1".
    name = re.sub(r"_\d+$", "", monitor)
    found = [re.search(f"({ends})$", name) for ends in (_LARGER, _SMALLER)]
    return found[0] is not None if any(found) else None


@dataclass(frozen=True)
class ProbeResult:
    """One probe: its epoch (from 1), what it saw and what it cost.

    Attributes:
        epoch: Epoch at whose end the probe ran.
        observation: Three values of the metric; of accuracies, fractions.
        cost_epochs: Passes over the training set that the retraining made.
        seconds: Wall time, evaluations included.
        diverged: Whether the retraining ended at weights or a metric that are not finite. There
            is then no PPR accuracy, and no detector takes the probe for a sign of saturation.
    """

    epoch: int
    observation: Observation
    cost_epochs: float
    seconds: float
    diverged: bool = False


class PPRProbe(Callback):
    """Measures PPR accuracy (paper section 3.3) and leaves the run bit for bit as it was.

    A probe prunes the present weights one-shot to `sparsity`, evaluates, retrains at a constant
    small learning rate with the optimizer's present state, evaluates again and restores weights,
    BatchNorm statistics, optimizer, counters, metrics and random state, also when it raises.
    Training and evaluation use the compiled steps of `fit`.

    Args:
        train_data: What to retrain on, as `fit` takes it: a batched `tf.data.Dataset`, arrays as
            (inputs, labels) or (inputs, labels, weights of the examples), dicts or lists of them
            for several inputs or outputs, a `Sequence` or `PyDataset`, a torch `DataLoader`; or a
            function that returns one of these for each probe. What training reads stays as it is.
            Batches should have the shapes that `fit` has, or the training step is compiled twice.
            What `fit(class_weight=...)` says, a callback is not told: give weights of examples.
        validation_data: Held-out data in the same form; never the test set.
        epochs: Epochs (from 1) at whose end to probe; None for every one.
        sparsity: Fraction to prune to; default: the final sparsity of the model's schedule.
        fraction: Part of an epoch to retrain for, in (0, 1]; at least 20 steps are made where
            the epoch has as many.
        learning_rate: Of the retraining; default a tenth of the rate when `fit` starts, which is
            the paper's 0.01 for 0.1.
        monitor: Metric of `compile`, or "loss", that is read.
        mode: Whether a "max" or "min" of it is best; "auto": as its name says.
        validation_fraction: Part of the held-out batches to evaluate on, in (0, 1]; default: as
            many batches as the retraining has steps, or all if there are fewer.
        fit_validates: Whether `fit` evaluates on the same `validation_data` at the end of each
            epoch: a probe that looks at all of it then takes the dense network's value from there.
        batch_size: Of arrays; None: 32, as in `fit`.
        validation_split: The last part of the arrays is held out, as `fit(validation_split=...)`
            does, in place of `validation_data`; a fraction in (0, 1).

    Attributes:
        results: [ProbeResult] of every probe of this `fit`.
        steps_per_epoch: Steps of the epoch so far, by Keras' count.

    Raises:
        InputError: For arguments out of range or endless validation data; when `fit` starts, if
            `monitor` is not a metric of the model, `mode` does not follow from its name, or the
            model's masks are sparser than what is probed.
        RunError: If training diverged and no other callback ends it.
    """

    def __init__(
        self,
        train_data,
        validation_data=None,
        *,
        batch_size: int | None = None,
        validation_split: float | None = None,
        epochs: Collection[int] | None = None,
        sparsity: float | None = None,
        fraction: float = 1.0,
        learning_rate: float | None = None,
        monitor: str = "accuracy",
        mode: str = "auto",
        validation_fraction: float | None = None,
        fit_validates: bool = False,
    ):
        super().__init__()
        checks.choice("mode", mode, ("auto", "min", "max"))
        for name, part in (("fraction", fraction), ("validation_fraction", validation_fraction)):
            if part is not None and not 0 < part <= 1:
                raise InputError(f"{name}={part}: expected a fraction in (0, 1].")
        if learning_rate is not None and not learning_rate > 0:
            raise InputError(f"learning_rate={learning_rate}: expected a number above 0.")
        if sparsity is not None and not 0 <= sparsity < 1:
            raise InputError(f"sparsity={sparsity}: expected a fraction in [0, 1).")
        if validation_split is not None:
            if validation_data is not None:
                expected = "None beside validation_data"
                raise checks.refuse("validation_split", validation_split, expected)
            train_data, validation_data = split_arrays(train_data, validation_split, "train_data")
        self._train_data = probe_dataset(train_data, "train_data", batch_size=batch_size)
        self._validation_data = probe_dataset(
            validation_data, "validation_data", batch_size=batch_size, shuffled=False
        )
        if getattr(validation_data, "cardinality", int)() == tf.data.INFINITE_CARDINALITY:
            raise InputError("validation_data never ends: expected a data set without repeat().")
        self.epochs, self._fit_validates = epochs, fit_validates
        self.fraction, self.validation_fraction = fraction, validation_fraction
        self.sparsity, self.learning_rate = sparsity, learning_rate
        self._wanted = sparsity, learning_rate
        self.monitor, self.mode = monitor, mode
        self.adapter: PrunedModel | None = None
        self.results: list[ProbeResult] = []
        self.steps_per_epoch: int | None = None
        # By epoch and batches: what several probes of one epoch may share.
        self.dense_values: dict[tuple[int, int], float] = {}

    def on_train_begin(self, logs=None):
        """Prepares the model and fixes the retraining's learning rate; forgets earlier results."""
        self.adapter = pruned(self.model)
        self.adapter.prepare()
        self.adapter.score_data = self._train_data
        for argument, data in (
            ("train_data", self._train_data),
            ("validation_data", self._validation_data),
        ):
            check_first_batch(self.model, data(), argument)
        self.results = []
        self.dense_values.clear()
        self.sparsity, self.learning_rate = self._wanted
        if self.sparsity is None:
            self.sparsity = self.adapter.final_sparsity()
        criterion, masks = self.adapter.criterion, self.adapter.masks()
        criterion.check_sparsity("sparsity", self.sparsity)
        criterion.check_layers({name: mask.size for name, mask in masks.items()}, self.sparsity)
        if self.learning_rate is None:
            self.learning_rate = LEARNING_RATE_SHARE * self.adapter.learning_rate()
            if self.learning_rate <= 0:
                expected = (
                    "one above 0, in et.EarlyTicket probe_learning_rate: that of the optimizer is "
                    "0 when fit starts"
                )
                raise checks.refuse("learning_rate", None, expected)
        if self.epochs is None or self.epochs:
            self._check()

    def _check(self) -> None:
        """Tries what a probe needs."""
        with self.adapter.sandbox():
            self._value(1)
        if not all(mask.all() for mask in self.adapter.masks().values()):
            self.adapter.ranked_masks(self.sparsity)

    @property
    def larger_is_better(self) -> bool:
        """Whether a greater value of the metric is better.

        Raises:
            InputError: If neither `mode` nor its name tells.
        """
        if self.mode != "auto":
            return self.mode == "max"
        larger = is_better_larger(self.monitor)
        if larger is None:
            raise checks.refuse("mode", self.mode, f"'min' or 'max' with monitor={self.monitor!r}")
        return larger

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self.adapter.step()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps of an epoch, which Keras may not know before its end."""
        self.steps_per_epoch = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        """Probes if this epoch is one to probe at; adds `ppr_accuracy` to the logs, else NaN."""
        probe_now = self.epochs is None or epoch + 1 in self.epochs
        probe_now = probe_now and not self.has_diverged(self.adapter, epoch)
        accuracy = self.probe(epoch + 1, logs).observation.ppr_accuracy if probe_now else None
        if logs is not None:
            logs["ppr_accuracy"] = float("nan") if accuracy is None else accuracy

    def on_train_end(self, logs=None):
        """Gives the optimizer its own learning-rate schedule back."""
        self.adapter.finish()

    def steps_of_epoch(self) -> int:
        """Returns the training steps of the epoch that has just ended."""
        if steps := self.params.get("steps"):
            return steps
        # Keras counts as if the last of several steps at once had been as many as the others.
        several = self.adapter.steps_per_call() > 1
        return self.adapter.step() - self._epoch_step if several else self.steps_per_epoch

    def probe(self, epoch: int, logs: Mapping[str, float] | None = None) -> ProbeResult:
        """Runs one probe at the end of `epoch` (from 1), appends it to `results`, returns it.

        Args:
            epoch: The epoch that has ended.
            logs: Of `fit` at its end.
        """
        started = time.perf_counter()
        adapter = self.adapter
        steps_per_epoch = self.steps_of_epoch()
        steps = retraining_steps(self.fraction, steps_per_epoch)
        batches = self._validation_batches(steps)
        with adapter.sandbox():
            dense_accuracy = self._validated(batches, logs or {})
            if dense_accuracy is None:
                place = epoch, batches
                if place not in self.dense_values:
                    self.dense_values[place] = self._value(batches)
                dense_accuracy = self.dense_values[place]
            adapter.set_masks(adapter.ranked_masks(self.sparsity))
            pruned_accuracy = self._value(batches)
            adapter.set_learning_rate(self.learning_rate)
            # Fewer where the data set is shorter.
            steps = adapter.train(self._train_data(), steps)
            ppr_accuracy = self._value(batches) if adapter.finite() else math.nan
        diverged = not math.isfinite(ppr_accuracy)
        if diverged:
            logger.warning(
                "The retraining of the probe at epoch %d diverged: try a smaller learning rate of "
                "the probe than %g.",
                epoch,
                self.learning_rate,
            )
        result = ProbeResult(
            epoch=epoch,
            observation=Observation(
                None if diverged else ppr_accuracy, pruned_accuracy, dense_accuracy
            ),
            cost_epochs=steps / steps_per_epoch,
            seconds=time.perf_counter() - started,
            diverged=diverged,
        )
        self.results.append(result)
        return result

    def latest(self) -> str:
        """Returns the latest result in words."""
        if not self.results:
            return "no probe was made"
        latest = self.results[-1]
        if latest.diverged:
            return f"the latest probe, at epoch {latest.epoch}, diverged"
        value = f"PPR {self.monitor} {latest.observation.ppr_accuracy:.4g}"
        if self.monitor == "accuracy":
            value = f"PPR accuracy {100 * latest.observation.ppr_accuracy:.1f} %"
        return f"{value} at epoch {latest.epoch}, the latest probe"

    def for_detector(self, observation: Observation) -> Observation:
        """Returns an observation of which larger is better, as detectors take it.

        Of a loss it is the part of the first probe's dense loss that is gone since, so that a
        detector's tolerance of 0.01 is one percent of that loss.
        """
        if observation.ppr_accuracy is None or self.larger_is_better:
            return observation
        first = self._first_loss()
        values = (observation.ppr_accuracy, observation.pruned_accuracy, observation.dense_accuracy)
        shares = ((first - value) / (abs(first) or 1.0) for value in values)
        return Observation(*shares, observation.signals)

    def unit(self) -> str:
        """Returns what a detector's "accuracy" stands for, in words; nothing for an accuracy."""
        if not self.results or self.larger_is_better:
            return ""
        return f"; accuracy is the part of the first {self.monitor}, {self._first_loss():.4g}, gone"

    def _first_loss(self) -> float:
        return self.results[0].observation.dense_accuracy

    def _validation_batches(self, retraining: int) -> int:
        if self.validation_fraction is None:
            return retraining
        batches = int(self._validation_data().cardinality())
        if batches < 0:
            raise InputError(
                f"validation_fraction={self.validation_fraction}: expected validation_data whose "
                "number of batches is known (tf.data.experimental.assert_cardinality), or None."
            )
        return max(1, round(self.validation_fraction * batches))

    def _validated(self, batches: int, logs: Mapping[str, float]) -> float | None:
        """Returns what `fit` has just measured, if it is what a probe of `batches` would."""
        # A size that is not known is negative.
        if self._fit_validates and 0 <= int(self._validation_data().cardinality()) <= batches:
            return logs.get(f"val_{self.monitor.removeprefix('val_')}")
        return None

    def _value(self, batches: int) -> float:
        logs = self.adapter.evaluate(self._validation_data(), batches)
        # Keras' callbacks have it before the names of what is held out.
        name = self.monitor if self.monitor in logs else self.monitor.removeprefix("val_")
        if name not in logs:
            expected = f"a metric of the model, {' or '.join(sorted(logs))}"
            if "accuracy" not in logs:
                expected += ", or another one given to model.compile(metrics=[...])"
            error = checks.refuse("monitor", self.monitor, expected)
            raise InputError(f"{error}{suggestion(self.monitor, logs)}")
        # Known before it is needed.
        self.larger_is_better  # noqa: B018
        return logs[name]
