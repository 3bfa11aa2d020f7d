"""`Callback`: what tf_keras and Keras 3 call while they train, without importing either."""

import sys

from tf_earlyticket.errors import RunError


class Callback:
    """Base of the callbacks that serve every Keras: hooks that do nothing.

    Attributes:
        model: The model in training.
        params: Keras' "epochs" and "steps" of the `fit`.
        callbacks: All callbacks of the `fit`, itself among them; empty where Keras does not call.
    """

    # tf_keras then need not fetch the metrics from the device after every step.
    _supports_tf_logs = True

    def __init__(self):
        self.model = None
        self.params: dict = {}
        self.callbacks: list = []

    def set_model(self, model):
        """Takes the model."""
        self.model = model
        # Keras tells a callback nothing of the others, but its list of all calls this.
        frame = sys._getframe(1)
        while frame.f_locals.get("self") is self:
            frame = frame.f_back
        self.callbacks = getattr(frame.f_locals.get("self"), "callbacks", [])

    def set_params(self, params):
        """Takes the parameters of the `fit`."""
        self.params = params

    def _implements_train_batch_hooks(self) -> bool:
        # tf_keras calls the hooks of batches only where one of these says so.
        kind = type(self)
        return (
            kind.on_train_batch_begin is not Callback.on_train_batch_begin
            or kind.on_train_batch_end is not Callback.on_train_batch_end
        )

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False

    def has_diverged(self, adapter, epoch: int) -> bool:
        """Tells at the end of `epoch`, from 0, whether there is nothing left to prune.

        Raises:
            RunError: If there is not, and no other callback has ended training for it.
        """
        if adapter.finite():
            return False
        if not self.model.stop_training:
            raise RunError(
                f"Training diverged: after epoch {epoch + 1} weights are NaN or infinite. Try a "
                "smaller learning rate."
            )
        return True

    def on_train_begin(self, logs=None):
        """Called before the first epoch."""

    def on_train_end(self, logs=None):
        """Called after the last epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        """Called before an epoch; epochs are counted from 0 here."""

    def on_epoch_end(self, epoch, logs=None):
        """Called after an epoch and its validation."""

    def on_train_batch_begin(self, batch, logs=None):
        """Called before a call of the training step."""

    def on_train_batch_end(self, batch, logs=None):
        """Called after it."""


def _nothing(self, *arguments, **options):
    """Does nothing."""


def _mark_default(hook):
    # Keras 3 overlaps steps with the hooks of batches where all of them are marked like this.
    hook._is_default = True
    return hook


for _name in ("on_train_batch_begin", "on_train_batch_end"):
    _mark_default(getattr(Callback, _name))
for _kind in ("batch", "test_batch", "predict_batch", "test", "predict"):
    for _moment in ("begin", "end"):
        setattr(Callback, f"on_{_kind}_{_moment}", _mark_default(_nothing))
