"""`EarlyTicket`: one callback that finds the start epoch and prunes from there."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.distillation import Distillation
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.callbacks.ppr_probe import PPRProbe, ProbeResult
from tf_earlyticket.callbacks.weight_statistics import WeightStatistics
from tf_earlyticket.checks import refuse
from tf_earlyticket.detectors.base import (
    Decision,
    Detector,
    Observation,
    WeightSignals,
    makes_probes,
)
from tf_earlyticket.detectors.ppr_saturation import PPRSaturation
from tf_earlyticket.detectors.weight_signals import USUAL_WINDOW, SignalTracker
from tf_earlyticket.pruning.masks import mask_sparsity
from tf_earlyticket.pruning.plan import Plan, resolve_plan
from tf_earlyticket.pruning.schedule import PolynomialSparsity


@dataclass(frozen=True)
class SearchState:
    """What a search for the start epoch saw and decided, for a restart and for the report.

    Attributes:
        probes: Results of the probes, in order.
        probe_learning_rate: Of the probes' retraining; None where no probe was planned.
        probe_fraction: Part of an epoch that a probe was planned to retrain for.
        signals: What the weights alone told, by epoch (from 1).
        start_epoch: Epoch at whose end pruning started; None if it did not.
        start_reason: Why then.
        detected: Whether the detector decided.
        updates: (step, sparsity reached) of every mask update.
        weight_std: As `WeightStatistics.history`.
        recent_masks: What the signals of the next epoch are compared with, as arrays by name.
    """

    probes: tuple[ProbeResult, ...] = ()
    probe_learning_rate: float | None = None
    probe_fraction: float = 0.0
    signals: dict[int, WeightSignals] = field(default_factory=dict)
    start_epoch: int | None = None
    start_reason: str = ""
    detected: bool = False
    updates: tuple[tuple[int, float], ...] = ()
    weight_std: dict[str, Any] = field(default_factory=lambda: {"epochs": [], "layers": {}})
    recent_masks: dict[str, np.ndarray] = field(default_factory=dict)


class EarlyTicket(Callback):
    """Probes while the network trains dense, decides when to start, prunes, in the right order.

    `fit` ends at exactly the schedule's final sparsity. If no saturation is seen in time,
    pruning starts at the last epoch that leaves room for the ramp and for training at full
    sparsity, and `start_reason` says so. Must stand before callbacks that save checkpoints.

    Args:
        train_data: As for `et.PPRProbe`.
        validation_data: As for `et.PPRProbe`: held out from training, not the test set.
        batch_size: As for `et.PPRProbe`.
        validation_split: As for `et.PPRProbe`.
        detector: Decides from probes and weights; default `PPRSaturation` until the latest start
            epoch. Probes are made where it wants them and the plan below has one. A schedule over
            the whole training, such as "one_cycle", does not ask it.
        probe_every: Epochs between probes; default: at most 20 probes, evenly spaced.
        probe_first: Epoch of the first probe, from 1; default `probe_every`.
        probe_fraction: Part of an epoch that a probe retrains for; default: what keeps all
            probes together within 5 % of the run's epochs.
        probe_validation_fraction: Part of the held-out data that a probe evaluates on; default:
            as many batches as it retrains for.
        probe_learning_rate: Default a tenth of the rate when `fit` starts.
        ramp_epochs: Length of the ramp; 0 is one-shot; default: the schedule's, else a fifth of
            the epochs.
        hold_epochs: Epochs of training at the final sparsity; default 15 % of the epochs, half of
            them with whole channels.
        monitor: Metric of `compile`, or "loss", that the probes read.
        mode: Whether a "max" or "min" of it is best; "auto": as its name says. Of a metric to be
            small, detectors see the part of its first value that is gone: a tolerance of 0.01 is
            one percent of that. A larger one is taken for a fraction.
        rewind_epoch: Epochs after which weights are copied for the ticket; 0: initial weights.
            Pruning starts later than that.
        sparsity: Fraction that probes and signals look at; default: the final one of the model's
            schedule.
        before_start: Called with the start epoch when pruning is about to start.
        stop_at_start: Stop training at the start epoch instead of pruning (mode `rewind`).
        distillation: Lets the network of the start epoch teach the pruned one.
        fit_validates: As for `et.PPRProbe`.
        verbose: 1 prints the decision.

    Attributes:
        start_epoch: Epoch (from 1) at whose end pruning started; None before. 0 with a schedule
            over the whole training.
        start_reason: Why then, in words and numbers.
        signals: What the weights alone told, by epoch (from 1) until pruning started.
        detector: The detector in use; None before `fit` if none was given.
        detected: True if the detector decided, False if the fallback did.
        plan: The `Plan` of this `fit`; None if pruning began in an earlier one.

    Raises:
        InputError: For arguments out of range, and when `fit` starts, before training, if the
            epochs cannot suffice, the model is not wrapped, or its schedule is not an
            `EarlyTicketPolynomialDecay`.

    Example:
        >>> model.fit(train, validation_data=val, epochs=60, callbacks=[et.EarlyTicket(train, val)])
    """

    state_kind = SearchState

    def __init__(
        self,
        train_data,
        validation_data=None,
        *,
        batch_size: int | None = None,
        validation_split: float | None = None,
        detector: Detector | None = None,
        probe_every: int | None = None,
        probe_first: int | None = None,
        probe_fraction: float | None = None,
        probe_validation_fraction: float | None = None,
        probe_learning_rate: float | None = None,
        ramp_epochs: int | None = None,
        hold_epochs: int | None = None,
        monitor: str = "accuracy",
        mode: str = "auto",
        rewind_epoch: int = 0,
        sparsity: float | None = None,
        before_start: Callable[[int], None] | None = None,
        stop_at_start: bool = False,
        distillation: Distillation | None = None,
        fit_validates: bool = False,
        verbose: int = 1,
    ):
        super().__init__()
        self.probe = PPRProbe(
            train_data,
            validation_data,
            batch_size=batch_size,
            validation_split=validation_split,
            sparsity=sparsity,
            fraction=1.0 if probe_fraction is None else probe_fraction,
            learning_rate=probe_learning_rate,
            monitor=monitor,
            mode=mode,
            validation_fraction=probe_validation_fraction,
            fit_validates=fit_validates,
        )
        self.mask_update = MaskUpdate()
        self.mask_update.begins_later = self.mask_update.warns = not stop_at_start
        self.statistics = WeightStatistics()
        self.detector, self._own_detector = detector, detector is None
        self._verbose, self._rewind_epoch, self._sparsity = verbose, rewind_epoch, sparsity
        self._before_start, self._stop_at_start = before_start, stop_at_start
        self._distillation = distillation
        self._lengths = {
            "ramp_epochs": ramp_epochs,
            "hold_epochs": hold_epochs,
            "probe_every": probe_every,
            "probe_first": probe_first,
            "probe_fraction": probe_fraction,
            "rewind_epoch": rewind_epoch,
        }
        self._restored: SearchState | None = None
        self._forget()

    def _forget(self):
        self.plan: Plan | None = None
        self.signals: dict[int, WeightSignals] = {}
        self.start_epoch: int | None = None
        self.start_reason, self.detected = "", False
        self.statistics.history = {"epochs": [], "layers": {}}
        self._tracker: SignalTracker | None = None
        self._first_epoch = True

    @property
    def _parts(self):
        return (self.mask_update, self.probe, self.statistics)

    def set_model(self, model):
        """Hands the model to the parts."""
        super().set_model(model)
        for part in self._parts:
            part.set_model(model)
            part.callbacks = self.callbacks

    def set_params(self, params):
        super().set_params(params)
        for part in self._parts:
            part.set_params(params)

    def on_train_begin(self, logs=None):
        """Checks everything and plans the run; forgets an earlier `fit`."""
        self._forget()
        self.adapter = pruned(self.model)
        self.adapter.early_ticket_schedule()
        if self._distillation is not None:
            self._distillation.check(self.model)
            if self._begins_at_once() or self._stop_at_start:
                expected = "none where there is no start epoch, or no training after it"
                raise refuse("distillation", self._distillation, expected)
        self.probe.epochs = ()
        if self.adapter.sparsity_schedule() is None:
            self._begin_search()
        for part in self._parts:
            part.on_train_begin(logs)

    def _begin_search(self):
        adapter, plan = self.adapter, self._resolve_plan(self.params.get("steps"))
        self.plan, self.signals = plan, {}
        if self._begins_at_once():
            if self._stop_at_start:
                expected = "False with a schedule over the whole training, which has no start"
                raise refuse("stop_at_start", True, expected)
            if plan.steps_per_epoch is None:
                expected = "it in fit(...), with a schedule over the whole training"
                raise refuse("steps_per_epoch", None, expected)
            self.probe.epochs = ()
            return
        if self._own_detector:
            # Where training ends at the start, the mask is final there.
            lead = 0 if self._stop_at_start else plan.ramp_epochs
            self.detector = PPRSaturation(plan.latest_start_epoch, lead_epochs=lead)
        self.detector.reset()
        self.probe.fraction = plan.probe_fraction
        if makes_probes(self.detector):
            self.probe.epochs = plan.probe_epochs
        sparsity = adapter.final_sparsity() if self._sparsity is None else self._sparsity
        detectors = (self.detector, getattr(self.detector, "gate", None))
        window = max(USUAL_WINDOW, *(getattr(one, "window", 0) for one in detectors))
        self._tracker = SignalTracker(sparsity, adapter.criterion, window=window)

    def _resolve_plan(self, steps_per_epoch: int | None) -> Plan:
        schedule = self.adapter.early_ticket_schedule()
        return resolve_plan(
            self.params["epochs"],
            steps_per_epoch=steps_per_epoch,
            steps_per_execution=self.adapter.steps_per_call(),
            ramp_steps=schedule.ramp_steps,
            frequency=schedule.frequency,
            from_first_step=schedule.from_first_step,
            one_shot=schedule.one_shot,
            of_channels=self.adapter.criterion.of_channels,
            **self._lengths,
        )

    def on_epoch_begin(self, epoch, logs=None):
        """Continues where a restored run was; copies the weights to rewind to."""
        if self._first_epoch:
            self._first_epoch = False
            self._continue_from(epoch)
        self.mask_update.on_epoch_begin(epoch, logs)
        self.probe.on_epoch_begin(epoch, logs)
        wanted = epoch == self._rewind_epoch and not self._pruned_before
        if wanted or self.adapter.record.rewind_epoch is None:
            self.adapter.record_rewind_weights(epoch, self._rewind_epoch)

    def _continue_from(self, epoch: int):
        schedule = self.adapter.sparsity_schedule()
        if schedule is None and self.plan is None:
            # A checkpoint from before the start was restored since `on_train_begin`.
            self._begin_search()
        if self._restored is not None:
            searching = schedule is None and self._restored.start_epoch is None
            self._restore(self._restored, searching=searching)
            self._restored = None
        if schedule is None and self._begins_at_once():
            schedule = self._begin_at_once(epoch)
        elif schedule is not None and self._distillation is not None:
            self._distillation.resume(self.adapter)
        # Then the rewind weights of the earlier `fit` stay: the present ones are trained.
        self._pruned_before = mask_sparsity(self.adapter.masks()) > 0
        self._check_epochs_left(schedule, epoch)
        if schedule is not None and not self.start_reason:
            self.start_reason = "the schedule's begin_step was set before this fit"

    def _begins_at_once(self) -> bool:
        return self.adapter.early_ticket_schedule().from_first_step

    def _begin_at_once(self, epoch: int) -> PolynomialSparsity:
        """Begins a schedule over the whole training, for which nothing has to be found."""
        plan = self.plan
        if epoch:
            raise refuse("initial_epoch", epoch, "0 with a schedule over the whole training")
        self.start_epoch, self.start_reason = 0, "the schedule takes the whole training"
        self.adapter.record.start(0, self.start_reason)
        self.adapter.begin_schedule(
            self.adapter.step(), ramp_steps=plan.ramp_steps, frequency=plan.frequency
        )
        return self.adapter.sparsity_schedule()

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
        # A model compiled anew counts its steps from 0 again.
        if last_step < schedule.end_step and not self.mask_update.is_final():
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
        self.mask_update.keep_masks()
        searching = self.adapter.sparsity_schedule() is None
        if searching and not self.has_diverged(self.adapter, epoch):
            observation = self._look(epoch + 1, logs)
            if observation.ppr_accuracy is not None:
                logs["ppr_accuracy"] = observation.ppr_accuracy
            decision = self.detector.update(epoch + 1, self.probe.for_detector(observation))
            # The ticket's rewind weights come from before its mask.
            detected = decision.saturated and epoch + 1 > self._rewind_epoch
            if detected or epoch + 1 >= self.plan.latest_start_epoch:
                self._start(epoch + 1, decision, detected)
        self.mask_update.on_epoch_end(epoch, logs)
        self.statistics.on_epoch_end(epoch, logs)

    def _look(self, epoch: int, logs: dict) -> Observation:
        """Looks at the network at the end of `epoch` (from 1), which is left as it was."""
        signals = self.signals[epoch] = self._tracker.update(self.adapter.score_context())
        observation = Observation()
        if epoch in self.probe.epochs and self.detector.wants_probe(epoch, signals):
            observation = self.probe.probe(epoch, logs).observation
        return replace(observation, signals=signals)

    def _start(self, epoch: int, decision: Decision, detected: bool):
        plan, reason = self.plan, f"saturated: {decision.reason}"
        if not decision.saturated:
            reason = (
                f"no saturation seen by epoch {epoch}, the last that leaves room for "
                f"{plan.ramp_epochs} ramp and {plan.hold_epochs} further epochs "
                f"({decision.reason}; {self.probe.latest()})"
            )
        reason += self.probe.unit()
        self.start_epoch, self.start_reason, self.detected = epoch, reason, detected
        self.adapter.record.start(epoch, reason)
        if self._verbose:
            print(f"\nPruning starts after epoch {epoch}: {reason}.")
        if self._before_start is not None:
            self._before_start(epoch)
        if self._distillation is not None:
            self._distillation.begin(self.adapter)
        self._begin()

    def _begin(self):
        """Begins to prune, or leaves that to others."""
        plan = self.plan
        if self._stop_at_start:
            self.model.stop_training = True
            return
        if plan.steps_per_epoch is None:
            plan = self.plan = self._resolve_plan(self.probe.steps_of_epoch())
        self.mask_update.begin(plan.ramp_steps, plan.frequency)

    def on_train_end(self, logs=None):
        """Says so if training was stopped before the final sparsity."""
        self.mask_update.on_train_end(logs)
        if self._distillation is not None:
            self._distillation.end(self.adapter)

    def get_state(self) -> SearchState:
        """Returns what a restart needs besides the model."""
        if self._restored is not None:
            return self._restored
        searching = self._tracker is not None and self.start_epoch is None
        return SearchState(
            probes=tuple(self.probe.results),
            probe_learning_rate=self.probe.learning_rate,
            probe_fraction=self.probe.fraction,
            signals=dict(self.signals),
            start_epoch=self.start_epoch,
            start_reason=self.start_reason,
            detected=self.detected,
            updates=tuple(self.mask_update.updates),
            weight_std=copy.deepcopy(self.statistics.history),
            recent_masks=self._tracker.get_arrays() if searching else {},
        )

    def set_state(self, state: SearchState) -> None:
        """Takes the result of `get_state`; the next `fit` continues from there."""
        self._restored = state

    def _restore(self, state: SearchState, *, searching: bool):
        self.probe.results = list(state.probes)
        self.probe.learning_rate = state.probe_learning_rate
        self.probe.fraction = state.probe_fraction
        self.signals = dict(state.signals)
        self.start_epoch = state.start_epoch
        self.start_reason, self.detected = state.start_reason, state.detected
        if self.start_epoch is not None:
            self.adapter.record.start(self.start_epoch, self.start_reason)
        self.mask_update.updates = list(state.updates)
        self.statistics.history = copy.deepcopy(state.weight_std)
        if searching:
            # The detector has still to decide, and so has to see it all again.
            self._tracker.set_arrays(state.recent_masks)
            probed = {result.epoch: result.observation for result in state.probes}
            for epoch, signals in state.signals.items():
                observation = self.probe.for_detector(probed.get(epoch, Observation()))
                self.detector.update(epoch, replace(observation, signals=signals))
