"""`MaskUpdate`: computes and writes masks at the steps that the schedule names."""

from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.backends.probe_data import probe_dataset
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.pruning.masks import kept_count, mask_sparsity
from tf_earlyticket.pruning.plan import check_frequency


class MaskUpdate(Callback):
    """Prunes by the schedule of a wrapped model; `et.EarlyTicket` contains one.

    Steps are optimizer steps. Masks are computed on the host from all prunable weights, written
    at once, and only ever shrink. Must stand before callbacks that save checkpoints.

    Args:
        train_data: Batches for rankings that look at gradients, as for `et.PPRProbe`; None where
            the ranking looks at weights alone.

    Attributes:
        updates: [(step, sparsity reached)] of every mask update of this `fit`.

    Raises:
        InputError: When `fit` starts, if the model is not wrapped or not compiled, or the
            schedule's frequency is no multiple of `steps_per_execution`.
        RunError: At the end of an epoch, if something else wrote a pruned weight.

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

    def on_train_begin(self, logs=None):
        """Prepares the model; forgets the updates of an earlier `fit`."""
        self.adapter = pruned(self.model)
        self.adapter.prepare()
        if self._train_data is not None:
            self.adapter.score_data = self._train_data
        self.updates = []
        self._first_epoch = True

    def on_epoch_begin(self, epoch, logs=None):
        """Reads the step, which a restored checkpoint may have set; masks restored weights."""
        if self._first_epoch:
            self._first_epoch = False
            self.adapter.apply_masks()
            schedule = self.adapter.sparsity_schedule()
            if schedule is not None and schedule.begin_step < schedule.end_step:
                check_frequency(schedule.frequency, self.adapter.steps_per_call())
            # A begin at the present step is due at once.
            self._step = self.adapter.step() - 1
            self.update(self.adapter.step())
        self._epoch_step = self._step = self.adapter.step()
        self._first_batch = None

    def on_train_batch_begin(self, batch, logs=None):
        """Notes where the epoch begins: a resumed epoch may begin in its middle."""
        if self._first_batch is None:
            self._first_batch = batch

    def on_train_batch_end(self, batch, logs=None):
        """Updates masks if an update is due. Counts by itself: reading the step costs a wait."""
        self.update(self._epoch_step + batch + 1 - self._first_batch)

    def update(self, step: int) -> None:
        """Brings the masks to the sparsity due at `step`, if an update is due since the last."""
        sparsity = self.adapter.due_sparsity(self._step, step)
        self._step = step
        if sparsity is not None:
            self.prune_to(sparsity, step)

    def begin(self, ramp_steps: int, frequency: int) -> None:
        """Begins the model's schedule at the present step and makes the update due there."""
        step = self.adapter.step()
        self.adapter.begin_schedule(step, ramp_steps=ramp_steps, frequency=frequency)
        self._step = step - 1
        self.update(step)

    def prune_to(self, sparsity: float, step: int) -> None:
        """Prunes to `sparsity`, a fraction, unless the masks are there already."""
        masks = self.adapter.masks()
        total = sum(mask.size for mask in masks.values())
        kept = sum(int(mask.sum()) for mask in masks.values())
        if kept <= kept_count(total, sparsity):
            return
        try:
            masks = self.adapter.ranked_masks(sparsity, masks)
        except InputError as error:
            raise RunError(f"No mask can be made at step {step}: {error}") from error
        self.adapter.set_masks(masks)
        self.updates.append((step, mask_sparsity(masks)))

    def on_epoch_end(self, epoch, logs=None):
        """Checks that pruned weights are zero and adds `sparsity` to the logs."""
        violations = self.adapter.violations()
        if violations:
            raise RunError(
                f"{violations} pruned weights are not zero after epoch {epoch + 1}: something "
                "other than the optimizer wrote weights during the epoch."
            )
        if logs is not None:
            logs["sparsity"] = mask_sparsity(self.adapter.masks())

    def on_train_end(self, logs=None):
        """Gives the optimizer its own learning-rate schedule back."""
        self.adapter.finish()
