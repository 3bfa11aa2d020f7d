"""`EarlyTicket`: one callback that finds the start epoch and prunes from there."""

import logging
import math
from collections.abc import Callable

from tf_earlyticket.adapters.select import adapter_for, training_record
from tf_earlyticket.callbacks import search_state
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.callbacks.ppr_probe import PPRProbe, default_fraction
from tf_earlyticket.callbacks.run_plan import plan_run
from tf_earlyticket.callbacks.weight_statistics import WeightStatistics
from tf_earlyticket.core.detector import Detector, PPRSaturation
from tf_earlyticket.core.masks import mask_sparsity
from tf_earlyticket.core.plan import RampPlan, probe_epochs
from tf_earlyticket.errors import InputError
from tf_earlyticket.keras_compat import keras

logger = logging.getLogger(__name__)


class EarlyTicket(keras.callbacks.Callback):
    """Probes while the network trains dense, decides when to start, prunes, in the right order.

    `fit` ends at exactly the schedule's final sparsity. If no saturation is seen in time,
    pruning starts at the last epoch that leaves room for the ramp and for training at full
    sparsity, and `start_reason` says so. Must stand before callbacks that save checkpoints.

    Args:
        train_data: As for `et.PPRProbe`.
        validation_data: As for `et.PPRProbe`: held out from training, not the test set.
        detector: Decides from the probes; default `PPRSaturation` until the latest start epoch.
        probe_every: Epochs between probes; default: at most 20 probes, evenly spaced.
        probe_first: Epoch of the first probe, from 1; default `probe_every`.
        probe_fraction: Part of an epoch that a probe retrains for; default: what keeps all
            probes together within 5 % of the run's epochs.
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
        plan: The `RampPlan` of this `fit`; None if pruning began in an earlier one.

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
        )
        self.mask_update = MaskUpdate()
        self.statistics = WeightStatistics()
        self.detector = detector
        self._own_detector = detector is None
        self._probe_every, self._probe_first = probe_every, probe_first
        self._probe_fraction, self._verbose = probe_fraction, verbose
        self._ramp_epochs, self._hold_epochs = ramp_epochs, hold_epochs
        self._rewind_epoch = rewind_epoch
        self._before_start, self._stop_at_start = before_start, stop_at_start
        self._restored: dict | None = None

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
        self.adapter = adapter_for(self.model)
        self._epochs = self.params["epochs"]
        self.adapter.early_ticket_schedule()
        begun = self.adapter.sparsity_schedule() is not None
        self.plan: RampPlan | None = None if begun else self._plan_run()
        for part in self._parts:
            part.on_train_begin(logs)
        self.start_epoch: int | None = None
        self.start_reason, self.detected = "", False
        self.statistics.history = {"epochs": [], "layers": {}}
        self._first_epoch = True

    def _plan_run(self) -> RampPlan:
        schedule = self.adapter.early_ticket_schedule()
        if schedule.frequency is not None and schedule.ramp_steps != 0:
            self.mask_update.check_frequency(schedule.frequency)
        plan = plan_run(
            schedule,
            epochs=self._epochs,
            steps_per_epoch=self.params.get("steps"),
            ramp_epochs=self._ramp_epochs,
            hold_epochs=self._hold_epochs,
            rewind_epoch=self._rewind_epoch,
        )
        latest = plan.latest_start_epoch
        self.probe.epochs = probe_epochs(latest, every=self._probe_every, first=self._probe_first)
        if self._probe_fraction is None:
            self.probe.fraction = default_fraction(self._epochs, len(self.probe.epochs))
        if self._own_detector:
            self.detector = PPRSaturation(latest)
        self.detector.reset()
        return plan

    def on_epoch_begin(self, epoch, logs=None):
        """Continues where a restored run was; copies the weights to rewind to."""
        if self._first_epoch:
            self._first_epoch = False
            self._continue_from(epoch)
        self.mask_update.on_epoch_begin(epoch, logs)
        record = training_record(self.model)
        known = record.rewind_epoch is not None
        if not known or (epoch == self._rewind_epoch and not self._pruned_before):
            if epoch > self._rewind_epoch:
                logger.warning("Rewind weights: those of epoch %d; earlier ones are gone.", epoch)
            record.rewind_weights = self.adapter.all_weights()
            record.rewind_epoch = epoch

    def _continue_from(self, epoch: int):
        schedule = self.adapter.sparsity_schedule()
        if schedule is None and self.plan is None:
            # A checkpoint from before the start was restored since `on_train_begin`.
            self.plan = self._plan_run()
        if self._restored is not None:
            search_state.restore(self, self._restored, searching=schedule is None)
            self._restored = None
        # Then the rewind weights of the earlier `fit` stay: the present ones are trained.
        self._pruned_before = mask_sparsity(self.adapter.masks()) > 0
        if schedule is None:
            if epoch >= self.plan.latest_start_epoch:
                raise InputError(
                    f"initial_epoch={epoch}: the final sparsity cannot be reached in the epochs "
                    f"left; expected at most {self.plan.latest_start_epoch - 1}, or more epochs."
                )
            return
        self.start_reason = self.start_reason or "the schedule's begin_step was set before this fit"
        steps_per_epoch = self.params.get("steps") or math.inf
        last_step = self.adapter.step() + (self._epochs - epoch) * steps_per_epoch
        if last_step < schedule.end_step:
            raise InputError(
                f"epochs={self._epochs}: training would end at step {last_step}, before the final "
                f"sparsity is reached at step {schedule.end_step}; expected more epochs."
            )

    def on_train_batch_begin(self, batch, logs=None):
        """Passes on to the mask update."""
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
            self._search(epoch + 1, logs)
        self.mask_update.on_epoch_end(epoch, logs)
        self.statistics.on_epoch_end(epoch, logs)

    def _search(self, number: int, logs):
        if number in self.probe.epochs:
            observation = self.probe.probe(number).observation
            logs["ppr_accuracy"] = observation.ppr_accuracy
            decision = self.detector.update(number, observation)
            # The ticket's rewind weights come from before its mask.
            if decision.saturated and number > self._rewind_epoch:
                self._start(number, f"saturated: {decision.reason}", detected=True)
                return
        if number >= self.plan.latest_start_epoch:
            self._start(
                number,
                f"no saturation seen by epoch {number}, the last that leaves room for "
                f"{self.plan.ramp_epochs} ramp and {self.plan.hold_epochs} further epochs "
                f"({self.probe.latest()})",
                detected=False,
            )

    def _start(self, number: int, reason: str, *, detected: bool):
        self.start_epoch, self.start_reason, self.detected = number, reason, detected
        search_state.record_start(self)
        if self._verbose:
            print(f"\nPruning starts after epoch {number}: {reason}.")
        if self._before_start is not None:
            self._before_start(number)
        if self._stop_at_start:
            self.model.stop_training = True
        else:
            self.mask_update.begin(self.plan.ramp_epochs * self.probe.steps_per_epoch)

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
        return search_state.get_state(self)

    def set_state(self, state: dict) -> None:
        """Takes the result of `get_state`; the next `fit` continues from there."""
        self._restored = state
