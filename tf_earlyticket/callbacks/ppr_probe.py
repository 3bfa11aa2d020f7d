"""`PPRProbe`: pseudo-prune, retrain a little, look at the accuracy, undo everything."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from tf_earlyticket.adapters.base import PruningAdapter
from tf_earlyticket.adapters.datasets import probe_dataset
from tf_earlyticket.adapters.select import adapter_for
from tf_earlyticket.core.detector import Observation
from tf_earlyticket.core.masks import compute_masks
from tf_earlyticket.errors import InputError
from tf_earlyticket.keras_compat import keras

# Retraining for fewer steps tells little, however large the batch.
MINIMUM_STEPS = 20
# The paper probes at learning rate 0.01 in a training that starts at 0.1.
LEARNING_RATE_SHARE = 0.1


@dataclass(frozen=True)
class ProbeResult:
    """One probe: its epoch (from 1), what it saw and what it cost.

    Attributes:
        epoch: Epoch at whose end the probe ran.
        observation: The three accuracies, fractions.
        cost_epochs: Passes over the training set that the retraining made.
        seconds: Wall time, evaluations included.
    """

    epoch: int
    observation: Observation
    cost_epochs: float
    seconds: float


class PPRProbe(keras.callbacks.Callback):
    """Measures PPR accuracy (paper section 3.3) and leaves the run bit for bit as it was.

    A probe prunes the present weights one-shot to `sparsity`, evaluates, retrains at a constant
    small learning rate with the optimizer's present state, evaluates again and restores weights,
    BatchNorm statistics, optimizer, counters, metrics and random state, also when it raises.
    Training and evaluation use the compiled steps of `fit`.

    Args:
        train_data: Batched `tf.data.Dataset` to retrain on, of which an independent copy is
            made, or a function that returns a new one for each probe. Its batches should have
            the shapes that `fit` has, or the training step is compiled twice.
        validation_data: Held-out data in the same form; never the test set.
        epochs: Epochs (from 1) at whose end to probe; None for every one.
        sparsity: Fraction to prune to; default: the final sparsity of the model's schedule.
        fraction: Part of an epoch to retrain for, in (0, 1]; at least 20 steps are made where
            the epoch has as many.
        learning_rate: Of the retraining; default a tenth of the rate at the start of training,
            which is the paper's 0.01 for 0.1.
        monitor: Metric of `compile` that is read.

    Attributes:
        results: [ProbeResult] of every probe so far.

    Raises:
        InputError: For arguments out of range, and at the first probe if `monitor` is not a
            metric of the model.
    """

    def __init__(
        self,
        train_data,
        validation_data,
        *,
        epochs: Collection[int] | None = None,
        sparsity: float | None = None,
        fraction: float = 1.0,
        learning_rate: float | None = None,
        monitor: str = "accuracy",
    ):
        super().__init__()
        if not 0 < fraction <= 1:
            raise InputError(f"fraction={fraction}: expected a fraction in (0, 1].")
        if learning_rate is not None and not learning_rate > 0:
            raise InputError(f"learning_rate={learning_rate}: expected a number above 0.")
        if sparsity is not None and not 0 <= sparsity < 1:
            raise InputError(f"sparsity={sparsity}: expected a fraction in [0, 1).")
        self._train_data = probe_dataset(train_data, "train_data")
        self._validation_data = probe_dataset(validation_data, "validation_data")
        self.epochs = epochs
        self.sparsity = sparsity
        self.fraction = fraction
        self.learning_rate = learning_rate
        self.monitor = monitor
        self.adapter: PruningAdapter | None = None
        self.results: list[ProbeResult] = []
        self.steps_per_epoch: int | None = None

    def on_train_begin(self, logs=None):
        """Prepares the model and fixes the retraining's learning rate."""
        self.adapter = adapter_for(self.model)
        self.adapter.prepare()
        if self.sparsity is None:
            self.sparsity = self.adapter.final_sparsity()
        if self.learning_rate is None:
            self.learning_rate = LEARNING_RATE_SHARE * self.adapter.learning_rate()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps of an epoch, which Keras may not know before its end."""
        self._batches = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        """Probes if this epoch is one to probe at; adds `ppr_accuracy` to the logs, else NaN."""
        self.steps_per_epoch = self._batches
        probe_now = self.epochs is None or epoch + 1 in self.epochs
        accuracy = self.probe(epoch + 1).observation.ppr_accuracy if probe_now else float("nan")
        if logs is not None:
            logs["ppr_accuracy"] = accuracy

    def on_train_end(self, logs=None):
        """Gives the optimizer its own learning-rate schedule back."""
        self.adapter.finish()

    def probe(self, epoch: int) -> ProbeResult:
        """Runs one probe at the end of `epoch` (from 1), appends it to `results`, returns it."""
        started = time.perf_counter()
        adapter = self.adapter
        wanted = max(round(self.fraction * self.steps_per_epoch), MINIMUM_STEPS)
        with adapter.sandbox():
            dense_accuracy = self._accuracy()
            masks = compute_masks(
                adapter.weights(),
                self.sparsity,
                ranking=adapter.ranking,
                group_size=adapter.group_size,
                previous=adapter.masks(),
            )
            adapter.set_masks(masks)
            pruned_accuracy = self._accuracy()
            adapter.set_learning_rate(self.learning_rate)
            steps = adapter.train(self._train_data(), min(wanted, self.steps_per_epoch))
            ppr_accuracy = self._accuracy()
        result = ProbeResult(
            epoch=epoch,
            observation=Observation(ppr_accuracy, pruned_accuracy, dense_accuracy),
            cost_epochs=steps / self.steps_per_epoch,
            seconds=time.perf_counter() - started,
        )
        self.results.append(result)
        return result

    def _accuracy(self) -> float:
        logs = self.adapter.evaluate(self._validation_data())
        if self.monitor not in logs:
            raise InputError(
                f"monitor={self.monitor!r} is not a metric of the model: expected one of "
                f"{sorted(logs)}, such as by model.compile(..., metrics=['accuracy'])."
            )
        return logs[self.monitor]
