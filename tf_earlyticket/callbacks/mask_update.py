"""`MaskUpdate`: computes and writes masks at the steps that the schedule names."""

import logging

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.backends.probe_data import probe_dataset
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.pruning.masks import kept_count, mask_sparsity, sparsity_in_words
from tf_earlyticket.pruning.plan import check_frequency

logger = logging.getLogger(__name__)
# A layer that keeps a smaller share of its weights may pass on too little.
LEAST_DENSITY = 0.01
# Where an `EarlyStopping` that waits keeps the epoch from which it was to start.
_OWN_START = "_start_before_pruning"


class _Last(Callback):
    """Stands behind all other callbacks of a `fit` and has the last word."""

    def __init__(self, owner: "MaskUpdate"):
        super().__init__()
        self.owner = owner

    def on_train_end(self, logs=None):
        self.owner.restore_masks()


class MaskUpdate(Callback):
    """Prunes by the schedule of a wrapped model; `et.EarlyTicket` contains one.

    Steps are optimizer steps. Masks are computed on the host from all prunable weights, written
    at once; whether they only ever shrink is the model's `update`. Must stand before callbacks that
    save checkpoints.

    Epochs at another sparsity are no match for those that follow. So `EarlyStopping` waits until
    the final sparsity is reached, with its patience and its best weights, and what other callbacks
    remember as best, `ModelCheckpoint(save_best_only=True)` and `ReduceLROnPlateau`, begins anew
    whenever masks have changed. What callbacks write when training ends is masked again. A warning
    names layers that keep less than 1 % of their weights.

    What other callbacks write between epochs, such as averages of weights or the best so far, with
    the masks of that time, is masked as it was before, and a warning says so once.

    Args:
        train_data: Batches for rankings and updates that look at gradients, as for `et.PPRProbe`;
            None where they look at weights alone.

    Attributes:
        updates: [(step, sparsity reached)] of every mask update of this `fit`.

    Raises:
        InputError: When `fit` starts, if the model is not wrapped or not compiled, or the
            schedule's frequency is no multiple of `steps_per_execution`.
        RunError: If the steps of an epoch move pruned weights, or at its end, if training diverged
            and no other callback, such as `TerminateOnNaN`, ends it.

    Example:
        >>> schedule = et.EarlyTicketPolynomialDecay(0.8, begin_step=0, ramp_steps=500)
        >>> model = et.wrap_for_pruning(my_model, schedule)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> model.fit(train, epochs=10, callbacks=[et.MaskUpdate()])
    """

    def __init__(self, train_data=None):
        super().__init__()
        self._train_data = None
        if train_data is not None:
            self._train_data = probe_dataset(train_data, "train_data")
        self.adapter: PrunedModel | None = None
        self.updates: list[tuple[int, float]] = []
        # Whether something will begin the schedule while it trains, and whether to warn otherwise:
        # not where nothing is to be pruned, which then takes no data either.
        self.begins_later, self.warns = False, True

    def on_train_begin(self, logs=None):
        """Prepares the model; forgets the updates of an earlier `fit`."""
        self.adapter = pruned(self.model)
        self.adapter.prepare()
        # A teacher of a `fit` that was interrupted.
        self.adapter.add_to_loss(None)
        if self._train_data is not None:
            self.adapter.score_data = self._train_data
        self.updates = []
        self._asked, self._step, self._thin = 0.0, -1, set()
        self._masks = self.adapter.masks()
        self.adapter.note_masks()
        self._first_epoch, self._said, self._said_others = True, not self.warns, False
        self._waiting = {
            # Its own, also where a `fit` was interrupted that had it wait.
            stopping: vars(stopping).setdefault(_OWN_START, stopping.start_from_epoch)
            for stopping in self.callbacks
            if hasattr(stopping, "start_from_epoch") and hasattr(stopping, "best_weights")
        }
        self._remembering = [
            other
            for other in self.callbacks
            if hasattr(other, "monitor_op")
            and hasattr(other, "best")
            and other not in self._waiting
        ]
        self._changed = False
        if not any(isinstance(one, _Last) and one.owner is self for one in self.callbacks):
            self.callbacks.append(_Last(self))

    def on_epoch_begin(self, epoch, logs=None):
        """Reads the step, which a restored checkpoint may have set; masks restored weights."""
        self._per_call = self.adapter.steps_per_call()
        if self._first_epoch:
            self._first_epoch = False
            without_data = self.adapter.score_data is None
            if self.warns and self.adapter.update.needs_gradients and without_data:
                expected = "et.MaskUpdate(train_data=...) with it, or et.EarlyTicket"
                raise checks.refuse("update", self.adapter.update, expected)
            self.adapter.apply_masks()
            schedule = self.adapter.sparsity_schedule()
            if schedule is not None and schedule.begin_step < schedule.end_step:
                check_frequency(schedule.frequency, self._per_call)
            # What was due by now is due at once.
            self._step = -1
            self.update(self.adapter.step(), again=True)
            self._masks = self.adapter.masks()
            self.adapter.note_masks()
            if self.warns and without_data and self._is_short() and self.adapter.finite():
                # What the score looks at is asked for now, not at the first update.
                self.adapter.criterion.score(self.adapter.score_context())
            self._say_if_short(epoch)
            self._say_if_thin(self._masks)
        else:
            self.keep_masks()
        # Steps that a loss scale skips are no steps to the optimizer, but count here.
        step = self.adapter.step()
        self._epoch_step = self._step = max(step, self._step)
        self._skipped = self._step - step
        self._first_batch, self._checked = None, mask_sparsity(self._masks) == 0
        if self._changed:
            # Also what was best of an epoch in which they changed.
            self._changed = False
            self._forget_best()
        for stopping, start in self._waiting.items():
            stopping.start_from_epoch = max(start, epoch + 1) if self._is_short() else start

    def is_final(self) -> bool:
        """Tells whether the masks of the model are as sparse as its schedule ends."""
        return self.adapter.final_sparsity_in_force() is not None and not self._is_short()

    def _is_short(self, more: float | None = None) -> bool:
        """Tells whether masks, or ones of sparsity `more`, are not yet where the schedule ends."""
        final = self.adapter.final_sparsity_in_force()
        if final is None:
            return self.begins_later
        if more is None and self.adapter.masks_may_grow(self._step):
            return True
        # Then what is left stays, however many weights structures or layers keep together.
        if self._asked >= final:
            return False
        total = sum(mask.size for mask in self._masks.values())
        # As the schedule counts: multiply-adds, maybe.
        pruned_part = max(self.adapter.criterion.sparsity(self._masks), more or 0)
        kept = kept_count(total, min(pruned_part, 1 - 1e-12))
        # Each layer by itself may be rounded up.
        return kept > kept_count(total, final) + len(self._masks)

    def _say_if_short(self, epoch: int) -> None:
        # An EarlyTicket beside it has one as well.
        others = any(getattr(other, "mask_update", self) is not self for other in self.callbacks)
        if self.begins_later or self._said or others:
            return
        final, sparsity = self.adapter.final_sparsity_in_force(), mask_sparsity(self._masks)
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if final is None and not sparsity:
            self._said = True
            logger.warning(
                "Nothing will be pruned in this fit: the schedule has no begin. Give it a "
                "begin_step and ramp_steps, or use et.EarlyTicket, which finds the begin."
            )
        elif final is not None and steps and epochs:
            step = self.adapter.step()
            last = step + (epochs - epoch) * steps
            due = self.adapter.due_sparsity(step, last)
            if self._is_short(due):
                self._said = True
                logger.warning(
                    "This fit ends at step %d, at sparsity %.4f of the prunable weights: the "
                    "schedule's final sparsity %g is due %s.",
                    last,
                    max(sparsity, due or 0.0),
                    final,
                    self.adapter.final_step_in_words(),
                )

    def on_train_batch_begin(self, batch, logs=None):
        """Notes where the epoch begins: a resumed epoch may begin in its middle.

        Before the second call, checks that the first left pruned weights at zero.
        """
        if self._first_batch is None:
            self._first_batch = batch
        elif not self._checked:
            self._checked = True
            violations = self.adapter.violations()
            if violations and self.adapter.finite():
                raise RunError(
                    f"{violations} pruned weights are not zero after a step: the model's training "
                    "step, its optimizer or a callback writes them at every step."
                )

    def on_train_batch_end(self, batch, logs=None):
        """Updates masks if an update is due. Counts by itself: reading the step costs a wait."""
        step = self._epoch_step + batch + 1 - self._first_batch
        # The last call of an epoch may make fewer steps than the others, and Keras not say so.
        self.update(step if self._per_call == 1 else self.adapter.step() + self._skipped)

    def update(self, step: int, *, again: bool = False) -> None:
        """Brings the masks to the sparsity due at `step`, if an update is due since the last.

        Args:
            step: Training steps done.
            again: Whether it may have been made before, by the `fit` that this one goes on with.
        """
        sparsity = self.adapter.due_sparsity(self._step, step)
        self._step = step
        if sparsity is not None:
            self.prune_to(sparsity, step, again=again)

    def begin(self, ramp_steps: int, frequency: int) -> None:
        """Begins the model's schedule at the present step and makes the update due there."""
        step = self.adapter.step()
        self.adapter.begin_schedule(step, ramp_steps=ramp_steps, frequency=frequency)
        self._step = step - 1
        self.update(step)

    def prune_to(self, sparsity: float, step: int, *, again: bool = False) -> None:
        """Brings the masks to `sparsity`, a fraction, by the model's update."""
        # What has diverged is told at the epoch's end, where others have had their say.
        if not self.adapter.finite():
            return
        self._asked = sparsity
        present = self.adapter.masks()
        try:
            masks = self.adapter.updated_masks(sparsity, step, again=again)
        except InputError as error:
            raise RunError(f"No mask can be made at step {step}: {error}") from error
        if masks is None:
            return
        changed = any(np.any(masks[name] != present[name]) for name in present)
        if changed or self.adapter.update.latent:
            self.adapter.write_update(masks, step)
        if changed:
            self._changed = True
            self._forget_best()
            self.updates.append((step, mask_sparsity(masks)))
            self._say_if_thin(masks)

    def _forget_best(self) -> None:
        for other in self._remembering:
            # None before its first epoch; one of tf_keras may be a function with a margin.
            if other.monitor_op is not None:
                smaller = bool(other.monitor_op(-np.inf, np.inf))
                other.best = np.inf if smaller else -np.inf
            if hasattr(other, "wait"):
                other.wait = 0

    def _say_if_thin(self, masks) -> None:
        kept = {name: int(mask.sum()) for name, mask in masks.items()}
        thin = [n for n, mask in masks.items() if kept[n] < LEAST_DENSITY * mask.size]
        new = [f"{n} {kept[n]:,} of {masks[n].size:,}" for n in thin if n not in self._thin]
        self._thin.update(thin)
        if new:
            logger.warning(
                "Layers that keep less than %g %% of their weights: %s. Try a smaller sparsity, "
                "or leave them out by wrap_for_pruning(prunable=...).",
                100 * LEAST_DENSITY,
                ", ".join(new),
            )

    def keep_masks(self) -> None:
        """Prunes again what other callbacks wrote between epochs."""
        if self.adapter.keep_masks() and not self._said_others:
            self._said_others = True
            logger.warning(
                "Another callback wrote pruned weights or other masks between epochs; they were "
                "pruned again. What it measured with its own weights is not of a sparse network."
            )

    def on_epoch_end(self, epoch, logs=None):
        """Adds what is pruned to the logs.

        `sparsity` is the part of the prunable weights, `network_sparsity` of all kernels.
        """
        if not self.has_diverged(self.adapter, epoch):
            self.keep_masks()
        self._masks = self.adapter.masks()
        if logs is not None:
            logs["sparsity"] = mask_sparsity(self._masks)
            logs["network_sparsity"] = self.adapter.network_sparsity(self._masks)

    def on_train_end(self, logs=None):
        """Says so if training was stopped before the final sparsity."""
        self.restore_masks()
        for stopping, start in self._waiting.items():
            stopping.start_from_epoch = start
            vars(stopping).pop(_OWN_START, None)
        if not self._said and self._is_short():
            logger.warning(
                "Training stopped at sparsity %s, before the final one.", self._in_words()
            )
        # Gives the optimizer its own learning-rate schedule back.
        self.adapter.finish()

    def restore_masks(self) -> None:
        """Prunes again what other callbacks wrote when training ended."""
        if self.adapter.keep_masks():
            logger.warning(
                "Another callback wrote weights when training ended; they were pruned again to "
                "sparsity %s, without retraining. Evaluate the model before you use it.",
                self._in_words(),
            )

    def _in_words(self) -> str:
        network = self.adapter.network_sparsity(self._masks)
        return sparsity_in_words(mask_sparsity(self._masks), network)
