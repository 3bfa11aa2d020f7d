"""`EarlyTicket`: one callback that finds the start epoch and prunes from there."""

import copy
import logging
import math
from collections.abc import Callable, Mapping

import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.callbacks.ppr_probe import PPRProbe
from tf_earlyticket.callbacks.start_search import StartSearch
from tf_earlyticket.callbacks.weight_statistics import WeightStatistics
from tf_earlyticket.checks import refuse
from tf_earlyticket.detectors.base import Detector, WeightSignals
from tf_earlyticket.pruning.masks import mask_sparsity
from tf_earlyticket.pruning.plan import Plan, resolve_plan
from tf_earlyticket.pruning.schedule import PolynomialSparsity

logger = logging.getLogger(__name__)


class EarlyTicket(Callback):
    """Probes while the network trains dense, decides when to start, prunes, in the right order.

    `fit` ends at exactly the schedule's final sparsity. If no saturation is seen in time,
    pruning starts at the last epoch that leaves room for the ramp and for training at full
    sparsity, and `start_reason` says so. Must stand before callbacks that save checkpoints.

    Args:
        train_data: As for `et.PPRProbe`.
        validation_data: As for `et.PPRProbe`: held out from training, not the test set.
        detector: Decides from probes and weights; default `PPRSaturation` until the latest start
            epoch. Probes are made where it wants them and the plan below has one.
        probe_every: Epochs between probes; default: at most 20 probes, evenly spaced.
        probe_first: Epoch of the first probe, from 1; default `probe_every`.
        probe_fraction: Part of an epoch that a probe retrains for; default: what keeps all
            probes together within 5 % of the run's epochs.
        probe_validation_fraction: Part of the held-out data that a probe evaluates on; default:
            as many batches as it retrains for.
        probe_learning_rate: Default a tenth of the rate when `fit` starts.
        ramp_epochs: Length of the ramp; 0 is one-shot; default: the schedule's, else a fifth of
            the epochs.
        hold_epochs: Epochs of training at the final sparsity; default 15 % of the epochs.
        monitor: Metric of `compile` that the probes read.
        rewind_epoch: Epochs after which weights are copied for the ticket; 0: initial weights.
            Pruning starts later than that.
        before_start: Called with the start epoch when pruning is about to start.
        stop_at_start: Stop training at the start epoch instead of pruning (mode `rewind`).
        verbose: 1 prints the decision.

    Attributes:
        start_epoch: Epoch (from 1) at whose end pruning started; None before.
        start_reason: Why then, in words and numbers.
        detected: True if the detector decided, False if the fallback did.
        plan: The `Plan` of this `fit`; None if pruning began in an earlier one.

    Raises:
        InputError: For arguments out of range, and when `fit` starts, before training, if the
            epochs cannot suffice, the model is not wrapped, or its schedule is not an
            `EarlyTicketPolynomialDecay`.

    Example:
        >>> model.fit(train, validation_data=val, epochs=60, callbacks=[et.EarlyTicket(train, val)])
    """

    def __init__(
        self,
        train_data,
        validation_data,
        *,
        detector: Detector | None = None,
        probe_every: int | None = None,
        probe_first: int | None = None,
        probe_fraction: float | None = None,
        probe_validation_fraction: float | None = None,
        probe_learning_rate: float | None = None,
        ramp_epochs: int | None = None,
        hold_epochs: int | None = None,
        monitor: str = "accuracy",
        rewind_epoch: int = 0,
        before_start: Callable[[int], None] | None = None,
        stop_at_start: bool = False,
        verbose: int = 1,
    ):
        super().__init__()
        self.probe = PPRProbe(
            train_data,
            validation_data,
            fraction=1.0 if probe_fraction is None else probe_fraction,
            learning_rate=probe_learning_rate,
            monitor=monitor,
            validation_fraction=probe_validation_fraction,
        )
        self.mask_update = MaskUpdate()
        self.statistics = WeightStatistics()
        self._search = StartSearch(self.probe, detector=detector)
        self._verbose, self._rewind_epoch = verbose, rewind_epoch
        self._lengths = {
            "ramp_epochs": ramp_epochs,
            "hold_epochs": hold_epochs,
            "probe_every": probe_every,
            "probe_first": probe_first,
            "probe_fraction": probe_fraction,
            "rewind_epoch": rewind_epoch,
        }
        self._before_start, self._stop_at_start = before_start, stop_at_start
        self._restored: tuple[dict, Mapping[str, np.ndarray]] | None = None

    @property
    def detector(self) -> Detector | None:
        """The detector in use; None before `fit` if none was given."""
        return self._search.detector

    @property
    def signals(self) -> dict[int, WeightSignals]:
        """What the weights alone told, by epoch (from 1) until pruning started."""
        return self._search.signals

    @property
    def _parts(self):
        return (self.mask_update, self.probe, self.statistics)

    def set_model(self, model):
        """Hands the model to the parts."""
        super().set_model(model)
        for part in self._parts:
            part.set_model(model)

    def on_train_begin(self, logs=None):
        """Checks everything and plans the run; forgets an earlier `fit`."""
        self.adapter = pruned(self.model)
        self.adapter.early_ticket_schedule()
        begun = self.adapter.sparsity_schedule() is not None
        self._search.forget()
        self.plan: Plan | None = None if begun else self._begin_search()
        for part in self._parts:
            part.on_train_begin(logs)
        self.start_epoch: int | None = None
        self.start_reason, self.detected = "", False
        self.statistics.history = {"epochs": [], "layers": {}}
        self._first_epoch = True

    def _begin_search(self) -> Plan:
        plan = self._resolve_plan(self.params.get("steps"))
        self._search.begin(self.adapter, plan)
        return plan

    def _resolve_plan(self, steps_per_epoch: int | None) -> Plan:
        schedule = self.adapter.early_ticket_schedule()
        return resolve_plan(
            self.params["epochs"],
            steps_per_epoch=steps_per_epoch,
            steps_per_execution=self.adapter.steps_per_call(),
            ramp_steps=schedule.ramp_steps,
            frequency=schedule.frequency,
            **self._lengths,
        )

    def on_epoch_begin(self, epoch, logs=None):
        """Continues where a restored run was; copies the weights to rewind to."""
        if self._first_epoch:
            self._first_epoch = False
            self._continue_from(epoch)
        self.mask_update.on_epoch_begin(epoch, logs)
        wanted = epoch == self._rewind_epoch and not self._pruned_before
        if wanted or self.adapter.record.rewind_epoch is None:
            self.adapter.record_rewind_weights(epoch, self._rewind_epoch)

    def _continue_from(self, epoch: int):
        schedule = self.adapter.sparsity_schedule()
        if schedule is None and self.plan is None:
            # A checkpoint from before the start was restored since `on_train_begin`.
            self.plan = self._begin_search()
        if self._restored is not None:
            self._restore(*self._restored, searching=schedule is None)
            self._restored = None
        # Then the rewind weights of the earlier `fit` stay: the present ones are trained.
        self._pruned_before = mask_sparsity(self.adapter.masks()) > 0
        self._check_epochs_left(schedule, epoch)
        if schedule is not None and not self.start_reason:
            self.start_reason = "the schedule's begin_step was set before this fit"

    def _check_epochs_left(self, schedule: PolynomialSparsity | None, done: int) -> None:
        """Checks that a `fit` that continues training can still end at the final sparsity."""
        if schedule is None:
            if done >= self.plan.latest_start_epoch:
                last = self.plan.latest_start_epoch - 1
                expected = f"at most {last}, or more epochs, to reach the final sparsity"
                raise refuse("initial_epoch", done, expected)
            return
        epochs, step = self.params["epochs"], self.adapter.step()
        last_step = step + (epochs - done) * (self.params.get("steps") or math.inf)
        if last_step < schedule.end_step:
            expected = (
                f"more: training would end at step {last_step}, before the final sparsity is "
                f"reached at step {schedule.end_step}"
            )
            raise refuse("epochs", epochs, expected)

    def on_train_batch_begin(self, batch, logs=None):
        """For the mask update."""
        self.mask_update.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        """Updates masks if due, counts steps."""
        self.mask_update.on_train_batch_end(batch, logs)
        self.probe.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        """Probes, decides, starts; then checks the masks and records statistics."""
        logs = {} if logs is None else logs
        logs["ppr_accuracy"] = float("nan")
        if self.adapter.sparsity_schedule() is None:
            found = self._search.look(epoch + 1)
            logs.update(found.logs)
            # The ticket's rewind weights come from before its mask.
            detected = found.decision.saturated and epoch + 1 > self._rewind_epoch
            if detected or epoch + 1 >= self.plan.latest_start_epoch:
                self._start(epoch + 1, found.reason, detected=detected)
        self.mask_update.on_epoch_end(epoch, logs)
        self.statistics.on_epoch_end(epoch, logs)

    def _start(self, number: int, reason: str, *, detected: bool):
        self.start_epoch, self.start_reason, self.detected = number, reason, detected
        self.adapter.record.start(number, reason)
        if self._verbose:
            print(f"\nPruning starts after epoch {number}: {reason}.")
        if self._before_start is not None:
            self._before_start(number)
        if self._stop_at_start:
            self.model.stop_training = True
        else:
            if self.plan.steps_per_epoch is None:
                self.plan = self._resolve_plan(self.probe.steps_per_epoch)
            self.mask_update.begin(self.plan.ramp_steps, self.plan.frequency)

    def on_train_end(self, logs=None):
        """Says so if training was stopped before the final sparsity."""
        schedule = self.adapter.sparsity_schedule()
        complete = schedule is not None and self.adapter.step() >= schedule.end_step
        if not (complete or self._stop_at_start):
            sparsity = mask_sparsity(self.adapter.masks())
            logger.warning("Training stopped at sparsity %.4f, before the final one.", sparsity)
        self.adapter.finish()

    def get_state(self) -> dict:
        """Returns what a restart needs besides the model, as plain JSON values."""
        return {
            **self._search.get_state(),
            "start_epoch": self.start_epoch,
            "start_reason": self.start_reason,
            "detected": self.detected,
            "updates": [list(update) for update in self.mask_update.updates],
            "weight_std": copy.deepcopy(self.statistics.history),
        }

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Returns what a restart needs besides, as arrays of numbers."""
        return self._search.get_arrays() if self.start_epoch is None else {}

    def set_state(self, state: dict, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the results of `get_state` and `get_arrays`; the next `fit` continues there."""
        self._restored = state, arrays

    def _restore(self, state: dict, arrays: Mapping[str, np.ndarray], *, searching: bool):
        self._search.restore(state, arrays, searching=searching)
        self.start_epoch = state["start_epoch"]
        self.start_reason, self.detected = state["start_reason"], state["detected"]
        if self.start_epoch is not None:
            self.adapter.record.start(self.start_epoch, self.start_reason)
        self.mask_update.updates = [tuple(update) for update in state["updates"]]
        self.statistics.history = copy.deepcopy(state["weight_std"])
